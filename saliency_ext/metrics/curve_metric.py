"""What all curve metrics share: which perturbed inputs a curve needs, and how its scores are read.

A curve removes (or inserts) pixels in one order. Both orders and both directions are keep-masks of the same ranks:
    remove the k most relevant   = keep the tail at k          (deletion, MoRF, MIF)
    remove the k least relevant  = keep the head at n - k      (LeRF, LIF)
    insert the k most relevant   = keep the head at k          (insertion)
so removing the least relevant is inserting the most relevant, read backwards, and costs nothing once the other was asked.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from ..checks import bad_type, bad_value, require_choice, require_integer
from ..infill.base import require_infill
from ..perturbation import AdaptiveSteps, EqualFractions, Order, Outputs, RankMasks, Schedule, StratifiedSteps
from ..perturbation.curve_integration import BOUNDED_RULES, RULES, area_under
from ..perturbation.outputs import SCORES
from ..protocols import Infill, MaskedInfill
from .base import MetricOptions, ModelMetric
from .context import TIES, Keys, MetricContext


@dataclass(frozen=True)
class CurveMetric(ModelMetric):
    """Choices of a curve metric, recorded with each result.

    Args:
        infill: what a removed pixel becomes.
        schedule: counts of pixels per step; default 20 equal fractions, both ends. With `StratifiedSteps` each image has counts
            of its own, and the area is an unbiased estimate of that of a fine grid; with `AdaptiveSteps`, where a metric takes
            them, each image chooses its counts, and the area is within a tolerance of the grid's if the curve is monotone.
        score: "probability", "logit", "log_probability", "sigmoid" or "accuracy" of the target.
        ties: "random" (keyed by seed, sample id and pixel), "index" or "last_index".
        seed: of the tie-break and other draws.
        area: how the curve becomes a number; see `perturbation.curve_integration.area_under`.
        unit: "pixel" (all channels together) or "channel_value" (every value of every channel by itself; the map is repeated).
    """

    infill: Infill
    schedule: Schedule | StratifiedSteps | AdaptiveSteps = field(default_factory=EqualFractions)
    score: str = "probability"
    ties: str = "random"
    seed: int = 0
    area: str = "trapezoid"
    unit: str = "pixel"

    takes_adaptive: ClassVar[bool] = False

    def __post_init__(self) -> None:
        name = type(self).__name__
        require_choice(name, "score", self.score, SCORES)
        require_choice(name, "ties", self.ties, TIES)
        require_choice(name, "area", self.area, RULES)
        require_choice(name, "unit", self.unit, ("pixel", "channel_value"))
        require_integer(name, "seed", self.seed, 0, 2**63 - 1)
        if isinstance(self.schedule, StratifiedSteps) and self.area != "trapezoid":
            bad_value(name, "area", "'trapezoid' where steps are drawn", repr(self.area))
        if isinstance(self.schedule, AdaptiveSteps):
            if not self.takes_adaptive:
                remedy = "use a schedule such as EqualFractions"
                bad_type(name, "schedule", "to give counts that do not depend on scores", "AdaptiveSteps", remedy)
            if self.area != "trapezoid":
                bad_value(name, "area", "'trapezoid' where steps are adaptive", repr(self.area))
        require_infill(name, self.infill)
        if self.unit == "channel_value" and isinstance(self.infill, MaskedInfill):
            bad_value(name, "unit", "'pixel' with an infill made from the pixels around", "'channel_value'")

    @classmethod
    def from_options(cls, options: MetricOptions) -> Self:
        """The metric with those of the shared options that apply to it."""
        return cls(options.infill, EqualFractions(options.steps), score=options.score, seed=options.seed)

    @property
    def value_range(self) -> tuple[float, float] | None:
        """That of `info`, where the score is bounded and the area is a mean of scores."""
        bounded = self.score in ("probability", "accuracy") and self.area in BOUNDED_RULES
        return self.info.range if bounded else None

    @property
    def sampling(self) -> Schedule | StratifiedSteps | AdaptiveSteps:
        """The schedule."""
        return self.schedule

    @property
    def parameters(self) -> dict[str, object]:
        """All parameters, as plain values."""
        return {
            **infill_parameters(self.infill),
            "schedule": repr(self.schedule),
            "score": self.score,
            "ties": self.ties,
            "seed": self.seed,
            "area": self.area,
            "unit": self.unit,
        }

    def order(self, context: MetricContext, label: int | None = None) -> Order:
        """The order of the map, in this metric's unit and with its tie rule."""
        return context.ranked(self.ties, self.seed, label=label, per_channel=self.unit == "channel_value")

    def places(self, context: MetricContext) -> int:
        """What the fractions are of: pixels, or channel values."""
        return context.pixels * (context.inputs.shape[1] if self.unit == "channel_value" else 1)

    def fractions(self, places: int) -> Tensor:
        """(S,) true fractions of the schedule, float64; their means where steps are drawn."""
        if isinstance(self.schedule, StratifiedSteps):
            return self.schedule.mean_counts(places) / max(places, 1)
        return self._shared_counts(places).double() / max(places, 1)

    def counts(self, context: MetricContext, places: int) -> Tensor:
        """Counts (S,) of the schedule, or (N, S) where steps are drawn; int64, beside the images."""
        if isinstance(self.schedule, StratifiedSteps):
            return self.schedule.drawn(places, context.sample_ids)
        return self._shared_counts(places).to(context.inputs.device)

    def _shared_counts(self, places: int) -> Tensor:
        """(S,) int64, those of the schedule; of the whole grid where each image has steps of its own."""
        given = self.schedule
        schedule = EqualFractions(given.grid) if isinstance(given, StratifiedSteps | AdaptiveSteps) else given
        return torch.tensor(schedule.counts(places), dtype=torch.int64)

    def request_most_relevant_removed(self, context: MetricContext, order: Order) -> Keys:
        """Probes of the curve that removes the first of an order."""
        return context.request(RankMasks(order, self.counts(context, order.pixels), keep="tail"), self.infill)

    def request_least_relevant_removed(self, context: MetricContext, order: Order) -> Keys:
        """Probes of the curve that removes the last of an order."""
        return context.request(RankMasks(order, order.pixels - self.counts(context, order.pixels), keep="head"), self.infill)

    def request_most_relevant_inserted(self, context: MetricContext, order: Order) -> Keys:
        """Probes of the curve that inserts the first of an order."""
        return context.request(RankMasks(order, self.counts(context, order.pixels), keep="head"), self.infill)

    def read(self, outputs: Outputs, keys: Keys) -> Tensor:
        """Scores (N, S) of a curve, averaged over draws."""
        return outputs.mean_score(keys, self.score)

    def summarise(self, curve: Tensor, fractions: Tensor, places: int) -> Tensor:
        """The area (N,) under a curve, by this metric's rule, or its estimate where steps are drawn."""
        if isinstance(self.schedule, StratifiedSteps):
            return self.schedule.area(curve, places)
        return area_under(curve, fractions, self.area)


def require_same_counts(function: str, schedule: object) -> None:
    """Refuses a schedule whose counts are drawn for each image."""
    if not isinstance(schedule, Schedule):
        remedy = "use a schedule such as EqualFractions"
        bad_type(function, "schedule", "to give the same counts to all images", type(schedule).__name__, remedy)


def infill_parameters(infill: Infill) -> dict[str, object]:
    """Name and parameters of an infill, for a metric's record."""
    return {"infill": infill.name, **{f"infill_{name}": value for name, value in infill.parameters.items()}}
