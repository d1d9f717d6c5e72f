"""Insertion: how fast the score rises when the most relevant pixels come."""

from dataclasses import dataclass
from typing import ClassVar

from ..probing import Answers, Plan, Ranked
from ..probing.curve import area_under
from ..protocols import MetricInfo
from .curve_metric import CurveMetric, Keys
from .result import OK, MetricResult


@dataclass(frozen=True)
class Insertion(CurveMetric):
    """Area under the score while the most relevant pixels are put into the pure infill [Petsiuk 2018, Sec. 3.3].

    AUC = trapezoid over the true fraction t of f(infill with the t n most relevant pixels of the image). Higher is better.
    Unit: that of the score. With the infill of `LeRF` it is that curve read backwards, so the two share all probes.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        "insertion", "higher", "area under the score over [0, 1]", "sufficiency of what is ranked first", "Petsiuk 2018"
    )

    def ask(self, plan: Plan, ranked: Ranked) -> Keys:
        """The probes needed."""
        return self.ask_most_relevant_inserted(plan, ranked)

    def finish(self, answers: Answers, keys: Keys, pixels: int) -> MetricResult:
        """Turns answers into values."""
        fractions, curve = self.fractions(pixels), self.read(answers, keys)
        values = area_under(curve, fractions)
        return MetricResult(self.info, values, [OK] * len(values), self.parameters, fractions, {"insertion": curve})
