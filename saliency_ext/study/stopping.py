"""Stopping rules of a study, and their state after each chunk."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import torch
from torch import Tensor

from ..checks import bad_value, require_integer, require_number
from ..evaluation.stop_report import ALL, BUDGET, SEPARATED, TIME, StopReport
from ..metrics.base import MapMetric, ModelMetric, checked_range, require_within
from ..perturbation import AdaptiveSteps, StratifiedSteps
from ..stats.pairwise_tests import PairwiseComparisons

_RULE = "StopRule"
_CONTROL = "control"


@dataclass(frozen=True)
class StopRule:
    """When a study stops; if several of the three criteria are given, at the first that is met.

    The samples are then evaluated in random order, keyed by (seed of the study, sample id), and the rule is checked after each
    finished chunk, in order from the first. The results are those of the shortest prefix of chunks at which it is met.

    Args:
        separated: name of a metric whose steps are the same for all images: stop when every two methods, and every method and
            control, are distinguishable under it, or equivalent within the margin. Two controls are not compared. A sample
            without a value for one of two counts as no difference.
        alpha: familywise error probability, in (0, 1), of these verdicts about the mean over all samples.
        margin: >= 0, differences of the metric within it are equivalent; 0: no early verdict of equivalence.
        bounds: the smallest and largest value of the metric. None: those of the metric where they are certain, else refused.
        budget: stop once so many masked inputs were forwarded. Forwards of methods for their maps are not counted.
        seconds: stop once the chunks took so many seconds of compute time, summed over all processes.

    Raises:
        TypeError, ValueError: no criterion; alpha, margin, budget or seconds out of range. The study refuses a metric that it
            does not have, or whose bounds are not certain; fewer than two methods; a budget that one chunk may exceed.

    Note:
        With `separated` and `budget` the decision depends on the data alone, not on the number of processes or interruptions.
        Seconds are not reproducible; those of finished chunks are recorded, so a resumed study continues with them, and a
        study that has stopped does not change. The last chunk may exceed a budget.

    Example:
        >>> StopRule("fidelity", margin=0.02, budget=200_000).budget
        200000
    """

    separated: str | None = None
    alpha: float = 0.05
    margin: float = 0.0
    bounds: tuple[float, float] | None = None
    budget: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.separated is None and self.budget is None and self.seconds is None:
            bad_value(_RULE, "separated, budget or seconds", "at least one", "none", "name the metric of the pairwise tests")
        if not 0 < require_number(_RULE, "alpha", self.alpha) < 1:
            bad_value(_RULE, "alpha", "in (0, 1)", self.alpha)
        require_number(_RULE, "margin", self.margin)
        if self.budget is not None:
            require_integer(_RULE, "budget", self.budget, 1, 2**62)
        if self.seconds is not None:
            require_number(_RULE, "seconds", self.seconds, above=0.0)

    def monitor(
        self, metrics: Mapping[str, MapMetric | ModelMetric], families: Mapping[str, str], images: int, chunk: int
    ) -> "StopMonitor":
        """The monitor of a study with these metrics and methods, whose chunks have so many images."""
        ends = 2 * min(chunk, images)
        if self.budget is not None and not any(isinstance(metric, ModelMetric) for metric in metrics.values()):
            bad_value(_RULE, "budget", "none where no metric masks inputs", self.budget, "stop after seconds")
        if self.budget is not None and self.budget < ends:
            expected = f"at least {ends}, both ends of a curve for each of the {ends // 2} images of a chunk"
            bad_value(_RULE, "budget", expected, self.budget, "allow more, or make chunks smaller")
        if self.separated is None:
            return StopMonitor(self, None, (0.0, 1.0), False, images)
        if self.separated not in metrics:
            bad_value(_RULE, "separated", f"to be one of {', '.join(metrics)}", repr(self.separated))
        metric = metrics[self.separated]
        schedule = metric.sampling if isinstance(metric, ModelMetric) else None
        if isinstance(schedule, StratifiedSteps | AdaptiveSteps):
            remedy = "use EqualFractions, or for drawn steps rank_methods, which observes images repeatedly with other steps"
            bad_value(_RULE, "separated", "a metric whose value of an image is not random", type(schedule).__name__, remedy)
        low, high = checked_range(_RULE, metric, self.bounds)
        methods = [name for name, family in families.items() if family != _CONTROL]
        if len(methods) < 2:
            bad_value(_RULE, "separated", "at least two methods to distinguish", len(methods), "leave it out, or add a method")
        pairs = [*combinations(methods, 2), *product(methods, [name for name in families if name not in methods])]
        comparisons = PairwiseComparisons(pairs, high - low, self.margin, max(images, 1), self.alpha)
        return StopMonitor(self, comparisons, (low, high), metric.info.direction == "lower", images)


class StopMonitor:
    """The state of a rule after the first chunks of a study."""

    def __init__(
        self, rule: StopRule, comparisons: PairwiseComparisons | None, bounds: tuple[float, float], lower: bool, population: int
    ) -> None:
        self._rule, self._comparisons, self._bounds, self._lower, self._population = rule, comparisons, bounds, lower, population
        self.chunks = self.images = 0
        self._left_out = self._masked = 0
        self._seconds = 0.0

    @property
    def metric(self) -> str | None:
        """Name of the metric whose values are needed, or None."""
        return self._rule.separated

    @property
    def over(self) -> str | None:
        """The criterion that is met, or None."""
        if self._comparisons is not None and self._comparisons.decided:
            return SEPARATED
        if self.images >= self._population:
            return ALL
        if self._rule.budget is not None and self._masked >= self._rule.budget:
            return BUDGET
        return TIME if self._rule.seconds is not None and self._seconds >= self._rule.seconds else None

    def see(self, values: Mapping[str, Tensor], took: Mapping[str, Any]) -> None:
        """Updates the state with the next chunk: (n,) values of each method, NaN where there is none, and the record of its cost.

        Raises:
            ValueError: a value is outside the bounds.
        """
        for name, scores in values.items():
            require_within(_RULE, f"maps[{name!r}]", scores, self._bounds)
        if self._comparisons is not None:
            self._left_out += int(torch.stack(list(values.values())).isnan().any(0).sum())
            self._comparisons.see(values)
        self.chunks += 1
        self.images += took["samples"]
        self._masked += took["samples"] * took["counters"]["unique"] + took["counters"]["refined"]
        self._seconds += took["seconds"]

    def stopped(self) -> StopReport:
        """The report of the current state."""
        times = self._population / max(self.images, 1)
        return StopReport(
            why=self.over or ALL,
            metric=self.metric,
            alpha=self._rule.alpha,
            pairs=() if self._comparisons is None else self._comparisons.verdicts(self._lower),
            chunks=self.chunks,
            images=self.images,
            population=self._population,
            left_out=self._left_out,
            masked_inputs=self._masked,
            full=round(self._masked * times),
            seconds=self._seconds,
            full_seconds=self._seconds * times,
        )
