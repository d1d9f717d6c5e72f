"""MoRF and LeRF: the perturbation curves in both orders, as area or as mean drop (AOPC)."""

from dataclasses import dataclass
from typing import ClassVar

from ..protocols import MetricInfo
from .perturbation_curve import LeastRelevantFirst, MostRelevantFirst


@dataclass(frozen=True)
class MoRF(MostRelevantFirst):
    """Most relevant first: the curve of `Deletion`, lower is better as area; as AOPC higher is better [Samek 2017].

    value = area under f(image without its t n most relevant pixels) over t;  as AOPC mean over steps of f(image) - f(at t)

    AOPC needs the clean image as its first point: use a schedule that begins with 0. Traps: as `Deletion`; an AOPC over few early
    steps and one over all of them rank methods differently.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="morf",
        direction="lower",
        unit="area under the score over [0, 1]",
        measures="relevance of what is ranked first",
        reference="Samek 2017",
        role="order",
        range=(0.0, 1.0),
        conformance="deletion",
        meaning="Most relevant first: the curve of deletion.",
        curve_labels=(("morf", "most relevant first (MoRF)"),),
    )


@dataclass(frozen=True)
class LeRF(LeastRelevantFirst):
    """Least relevant first: higher is better as area (irrelevant pixels may go), lower as AOPC [Samek 2017].

    value = area under f(image without its t n least relevant pixels) over t;  as AOPC mean over steps of f(image) - f(at t)

    Traps: the least relevant pixels of a signed map speak against the target, and without them the score may even rise.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="lerf",
        direction="higher",
        unit="area under the score over [0, 1]",
        measures="irrelevance of what is ranked last",
        reference="Samek 2017",
        role="order",
        range=(0.0, 1.0),
        conformance="insertion",
        meaning="Least relevant first: pixels that do not matter may go without harm.",
        curve_labels=(("lerf", "least relevant first (LeRF)"),),
    )
