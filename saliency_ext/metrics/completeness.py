"""Completeness: how much of each label's probability do the most relevant pixels of its map recover?"""

from dataclasses import dataclass
from typing import ClassVar

from ..perturbation import Outputs
from ..protocols import MetricInfo
from ._masked_probability import MaskedProbability, Requested
from ._masked_scores import completeness, label_summaries
from .result import MetricResult


@dataclass(frozen=True)
class Completeness(MaskedProbability):
    """Worst case over labels of how much of the model's probability the kept pixels recover [Gupta 2022].

    alpha_a = min(max(eps_g, g_a) / min(cap, p_a), 1),   value = min over labels a of alpha_a

    with p_a the clean and g_a the masked probability of `MaskedProbability`. Higher is better; 1: no label loses probability
    when only its own most relevant pixels are kept. Range [0, 1], 0 only without floors. Read it beside `Soundness`, which
    shares all its masked inputs, and beside controls. Traps: either one alone is easy to win: on an easy
    model a random map keeps much of the probability. The worst label of many is often one that the model hardly believes.

    extras: alpha_predicted (at the predicted label), alpha_wrong_min (worst over the other labels), g_predicted,
    labels_collapsed (labels whose map is constant), tie_share. curves: masked_predicted.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="completeness",
        direction="higher",
        unit="ratio of probabilities, worst label",
        measures="evidence kept for the predicted label",
        reference="Gupta 2022",
        role="pair",
        meaning="How much of the model's probability comes back when only the most relevant pixels are kept, for its worst "
        "label. A map that keeps everything is complete: read it beside soundness.",
        horizontal="share of pixels kept",
    )

    def compute(self, outputs: Outputs, requested: Requested) -> MetricResult:
        """Values per image, from the model's outputs."""
        clean, masked, curves = self.curves_of(outputs, requested)
        alpha = completeness(masked, clean, self.floor_masked, self.cap)
        summary = label_summaries(alpha, clean)
        predicted = clean.argmax(1, keepdim=True)
        extras = {
            "alpha_predicted": summary.predicted,
            "alpha_wrong_min": summary.wrong_min,
            "g_predicted": masked.gather(1, predicted)[:, 0],
            "labels_collapsed": requested.collapsed.double(),
            "tie_share": requested.tied,
        }
        curve = curves.gather(1, predicted[:, :, None].expand(-1, 1, curves.shape[2]))[:, 0]
        parameters = {**self.parameters, "class_blind": requested.class_blind}
        return MetricResult(
            self.info, alpha.amin(1), parameters, fractions=requested.fractions, curves={"masked_predicted": curve}, extras=extras
        )
