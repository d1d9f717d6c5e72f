"""MoRF and LeRF: the perturbation curves in both orders, as area or as mean drop (AOPC)."""

from dataclasses import dataclass
from typing import ClassVar

from ..checks import bad_value, require_choice
from ..perturbation import AdaptiveSteps, Outputs, StratifiedSteps
from ..protocols import MetricInfo
from ._refinable import Curve, RefinableMetric
from .context import MetricContext
from .result import MetricResult

_SUMMARIES = ("auc", "aopc")


@dataclass(frozen=True)
class _OrderedCurve(RefinableMetric):
    """A curve and its summary: "auc", or "aopc" = mean over the steps of (clean score - score) [Samek 2017, Eq. 12]."""

    summary: str = "auc"

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        require_choice(name, "summary", self.summary, _SUMMARIES)
        if self.summary == "aopc" and isinstance(self.schedule, StratifiedSteps):
            bad_value(name, "summary", "'auc' where steps are drawn", "'aopc'")
        if self.summary == "aopc" and isinstance(self.schedule, AdaptiveSteps):
            bad_value(name, "summary", "'auc' where steps are adaptive", "'aopc'")

    @property
    def parameters(self) -> dict[str, object]:
        """Every choice, as plain values."""
        return {**super().parameters, "summary": self.summary}

    def _result(self, info: MetricInfo, outputs: Outputs, requested: Curve, places: int) -> MetricResult:
        fractions, ((curve,), extras) = self.fractions(places), self.read_curves(outputs, [requested])
        values = self.summarise(curve, fractions, places) if self.summary == "auc" else (curve[:, :1] - curve).mean(1)
        if self.summary == "aopc":
            turned = {"lower": "higher", "higher": "lower"}[info.direction]
            info = MetricInfo(f"{info.name}_aopc", turned, "mean drop of the score", info.measures, info.reference)
        return MetricResult(info, values, self.parameters, fractions=fractions, curves={info.name: curve}, extras=extras)


@dataclass(frozen=True)
class MoRF(_OrderedCurve):
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

    def request(self, context: MetricContext) -> tuple[Curve, int]:
        """The probes needed."""
        return self.curve_most_removed(context, self.order(context)), self.places(context)

    def compute(self, outputs: Outputs, requested: tuple[Curve, int]) -> MetricResult:
        """Turns answers into values."""
        return self._result(self.info, outputs, *requested)


@dataclass(frozen=True)
class LeRF(_OrderedCurve):
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

    def request(self, context: MetricContext) -> tuple[Curve, int]:
        """The probes needed."""
        return self.curve_least_removed(context, self.order(context)), self.places(context)

    def compute(self, outputs: Outputs, requested: tuple[Curve, int]) -> MetricResult:
        """Turns answers into values."""
        return self._result(self.info, outputs, *requested)
