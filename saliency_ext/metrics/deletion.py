"""Deletion: how fast the score falls when the most relevant pixels go."""

from dataclasses import dataclass
from typing import ClassVar

from ..protocols import MetricInfo
from .perturbation_curve import MostRelevantFirst


@dataclass(frozen=True)
class Deletion(MostRelevantFirst):
    """Area under the score while the most relevant pixels are replaced by infill [Petsiuk 2018, Sec. 3.3].

    AUC = trapezoid over the true fraction t of f(image with the t n most relevant pixels removed). Lower is better: a faithful
    map names the pixels the score depends on. Unit: that of the score. A constant model gives its constant; fraction 0 is the
    clean score, fraction 1 that of the pure infill. Deviation from the published code: both ends, one infill for all metrics,
    ties at random; see `CurveMetric` for the choices.

    Note:
        Traps: cannot tell whether a map is about the class or merely about contrast, nor lost evidence from mere damage: compare
        with controls and with `Fidelity`.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="deletion",
        direction="lower",
        unit="area under the score over [0, 1]",
        measures="relevance of what is ranked first",
        reference="Petsiuk 2018",
        role="order",
        range=(0.0, 1.0),
        meaning="The most relevant pixels are removed first. The faster the score falls, the smaller the area under its "
        "curve. Part of the fall is due to damage, not to lost evidence: look at fidelity and at the controls.",
        conformance="deletion",
        default=2,
    )
