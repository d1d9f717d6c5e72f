"""What all curve metrics share: which probes a perturbation curve needs, and how its scores are read.

A curve removes (or inserts) pixels in one order. Both orders and both directions are keep-masks of the same ranks:
    remove the k most relevant   = keep the tail at k          (deletion, MoRF, MIF)
    remove the k least relevant  = keep the head at n - k      (LeRF, LIF)
    insert the k most relevant   = keep the head at k          (insertion)
so removing the least relevant is inserting the most relevant, read backwards, and costs nothing once the other was asked.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..checks import require_choice
from ..probing import Answers, EqualFractions, Plan, Ranked, RankMasks, Schedule
from ..probing.answers import SCORES
from ..protocols import Infill

Keys = list[list[Hashable]]  # per draw, per step


@dataclass(frozen=True)
class CurveMetric:
    """Choices of a curve metric, recorded with each result.

    Args:
        infill: what a removed pixel becomes.
        schedule: counts of pixels per step; default 20 equal fractions, both ends.
        score: "probability", "logit", "log_probability" or "accuracy" of the target.
        ties: "random" (keyed by seed, sample id and pixel) or "index".
        seed: of the tie-break.
    """

    infill: Infill
    schedule: Schedule = field(default_factory=EqualFractions)
    score: str = "probability"
    ties: str = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        name = type(self).__name__
        require_choice(name, "score", self.score, SCORES)
        require_choice(name, "ties", self.ties, ("random", "index"))
        if not isinstance(self.infill, Infill):
            raise TypeError(f"{name}: expected infill to be an Infill, got {type(self.infill).__name__}; see saliency_ext.infill")

    @property
    def parameters(self) -> dict[str, object]:
        """Every choice, as plain values."""
        return {
            "infill": self.infill.name,
            **{f"infill_{name}": value for name, value in self.infill.parameters.items()},
            "schedule": repr(self.schedule),
            "score": self.score,
            "ties": self.ties,
            "seed": self.seed,
        }

    def fractions(self, pixels: int) -> Tensor:
        """(S,) true fractions of the schedule, float64."""
        return torch.tensor(self.schedule.counts(pixels), dtype=torch.float64) / max(pixels, 1)

    def ask_most_relevant_removed(self, plan: Plan, ranked: Ranked) -> Keys:
        """Probes of the curve that removes the most relevant pixels first."""
        return plan.ask(RankMasks(ranked, self.schedule.counts(ranked.pixels), keep="tail"), self.infill)

    def ask_least_relevant_removed(self, plan: Plan, ranked: Ranked) -> Keys:
        """Probes of the curve that removes the least relevant pixels first."""
        counts = [ranked.pixels - count for count in self.schedule.counts(ranked.pixels)]
        return plan.ask(RankMasks(ranked, counts, keep="head"), self.infill)

    def ask_most_relevant_inserted(self, plan: Plan, ranked: Ranked) -> Keys:
        """Probes of the curve that inserts the most relevant pixels first."""
        return plan.ask(RankMasks(ranked, self.schedule.counts(ranked.pixels), keep="head"), self.infill)

    def read(self, answers: Answers, keys: Keys) -> Tensor:
        """Scores (N, S) of a curve, averaged over draws."""
        return answers.mean_score(keys, self.score)
