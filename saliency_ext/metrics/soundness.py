"""Soundness: do the most relevant pixels of some label's map raise its probability above that of the whole image?"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..perturbation import Outputs
from ..protocols import MetricInfo
from ._masked_probability import MaskedProbability, Requested
from ._masked_scores import label_summaries, soundness
from .result import MetricResult


@dataclass(frozen=True)
class Soundness(MaskedProbability):
    """Worst case over labels of how much the kept pixels exaggerate the model's probability [Gupta 2022].

    beta_a = min(max(eps_p, p_a) / g_a, 1),   value = min over labels a of beta_a

    with p_a the clean and g_a the masked probability of `MaskedProbability`. Higher is better; 1: for no label do its most
    relevant pixels alone make the model more certain of it than the whole image did. Range [0, 1], 0 only without floors.
    "Worst" is over labels, each with its own map; there is no search for a misleading set of pixels.

    extras: beta_wrong_mean, beta_wrong_min (over labels other than the predicted one), beta_second (the model's second label),
    g_wrong_mean, masked_argmax_agrees (1 where argmax_a g_a is the predicted label), labels_collapsed (labels whose map is
    constant: such a label is sound for the wrong reason), tie_share. curves: masked_worst (of the label with the least beta).

    Note:
        Traps: a random map is quite sound, and on an easy model fairly complete: read the pair, beside controls. A plain map
        (not one per label) is used for every label: parameters say class_blind.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="soundness",
        direction="higher",
        unit="ratio of probabilities, worst label",
        measures="no evidence for labels that the model rejects",
        reference="Gupta 2022",
        role="pair",
        meaning="Can the map of a label that the model does not believe be used to prove it? A random map proves nothing and "
        "is sound: read it beside completeness.",
        horizontal="share of pixels kept",
        class_specific=True,
    )

    def compute(self, outputs: Outputs, requested: Requested) -> MetricResult:
        """Values per image, from the model's outputs."""
        clean, masked, curves = self.curves_of(outputs, requested)
        beta = soundness(masked, clean, self.floor_clean)
        summary, g = label_summaries(beta, clean), label_summaries(masked, clean)
        worst = beta.argmin(1)[:, None, None].expand(-1, 1, curves.shape[2])
        extras = {
            "beta_wrong_mean": summary.wrong_mean,
            "beta_wrong_min": summary.wrong_min,
            "beta_second": summary.second,
            "g_wrong_mean": g.wrong_mean,
            "masked_argmax_agrees": torch.where(masked.isnan().any(1), torch.nan, (masked.argmax(1) == clean.argmax(1)).double()),
            "labels_collapsed": requested.collapsed.double(),
            "tie_share": requested.tied,
        }
        parameters = {**self.parameters, "class_blind": requested.class_blind}
        curve = curves.gather(1, worst)[:, 0]
        return MetricResult(
            self.info, beta.amin(1), parameters, fractions=requested.fractions, curves={"masked_worst": curve}, extras=extras
        )
