"""Fidelity: the gap between removing the least and the most relevant pixels, in which shared artifacts cancel."""

from dataclasses import dataclass
from typing import ClassVar

from ..probing import Answers, Plan, Ranked
from ..probing.curve import area_under
from ..protocols import MetricInfo
from .curve_metric import CurveMetric, Keys
from .result import OK, MetricResult


@dataclass(frozen=True)
class Fidelity(CurveMetric):
    """F = AUC_LIF - AUC_MIF, per image [Brocki 2022; the same quantity as the symmetric relevance gain of Bluecher 2024].

    A score falls because information goes and because the image leaves what the model was trained on. Where the second part
    depends on how many pixels are gone, not on which, it is the same in both orders and cancels exactly in F. Higher is better;
    a random order has F = 0 in expectation; F of the negated map is -F (without ties). In [-1, 1] for probability and accuracy.

    extras: auc_mif, auc_lif; `normalised` = F / clean score; `artifact_half` = max(0, clean - LIF) at the last fraction <= 1/2:
    an upper bound on the artifact there if the removed half carries no counter-evidence (it fails for signed maps).
    curves: mif, lif, and `artifact` = max(0, clean - LIF).

    Note:
        What F cannot correct: scattered and solid masks of one size may disturb the model differently.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        "fidelity", "higher", "difference of areas under the score", "order of relevance, artifacts cancelled", "Brocki 2022"
    )

    def ask(self, plan: Plan, ranked: Ranked) -> tuple[Keys, Keys]:
        """The probes needed: both orders."""
        return self.ask_most_relevant_removed(plan, ranked), self.ask_least_relevant_removed(plan, ranked)

    def finish(self, answers: Answers, keys: tuple[Keys, Keys], pixels: int) -> MetricResult:
        """Turns answers into values."""
        fractions = self.fractions(pixels)
        mif, lif = self.read(answers, keys[0]), self.read(answers, keys[1])
        auc_mif, auc_lif = area_under(mif, fractions), area_under(lif, fractions)
        values = auc_lif - auc_mif
        artifact = (lif[:, :1] - lif).clamp(min=0)
        half = int((fractions <= 0.5).sum()) - 1
        extras = {
            "auc_mif": auc_mif,
            "auc_lif": auc_lif,
            "normalised": values / mif[:, 0],
            "artifact_half": artifact[:, half],
        }
        curves = {"mif": mif, "lif": lif, "artifact": artifact}
        return MetricResult(self.info, values, [OK] * len(values), self.parameters, fractions, curves, extras)
