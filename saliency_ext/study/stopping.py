"""When a study has seen enough: rules, and what is known at the moment they hold."""

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
    """When a study stops; where several of the three are given, the first that holds.

    The samples are then looked at in random order, keyed by (seed of the study, sample id), and the rule looks at the finished
    chunks from the first on, in order. The results are those of the shortest such row of chunks at which it holds.

    Args:
        separated: name of a metric whose steps are the same for all images: stop when any two methods, and any method and
            control, are told apart under it, or alike within the margin. Two controls are not compared. A sample without a value
            for one of two is no difference.
        alpha: chance, in (0, 1), that any of these verdicts is wrong about the mean over all samples.
        margin: >= 0, differences of the metric that do not matter; 0: pairs are never called alike early.
        bounds: the smallest and largest value of the metric. None: [0, 1] or [-1, 1] where these are certain, else refused.
        budget: stop once so many masked inputs were run. Forwards that methods spend on their maps are not counted.
        seconds: stop once the chunks took so many seconds of work, of all processes together.

    Raises:
        TypeError, ValueError: nothing to stop at; alpha, margin, budget or seconds out of range. The study refuses a metric that
            it has not, or whose bounds are not certain; fewer than two methods; a budget that one chunk may exceed.

    Note:
        With `separated` and `budget` the decision is a function of the data alone: another number of processes, a kill and a
        resume change nothing. Seconds are not the same twice; those of finished chunks are recorded, so a resume goes on with
        them, and a study that has stopped stays as it is. The last chunk may go beyond a budget.

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
            bad_value(_RULE, "separated, budget or seconds", "one at least", "none", "name the metric that is to decide")
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
        """The rule at work on a study with these metrics and methods, whose chunks have so many images."""
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
            remedy = "use EqualFractions, or for drawn steps rank_methods, which looks at images again with other steps"
            bad_value(_RULE, "separated", "a metric that knows each image for certain", type(schedule).__name__, remedy)
        low, high = checked_range(_RULE, metric, self.bounds)
        methods = [name for name, family in families.items() if family != _CONTROL]
        if len(methods) < 2:
            bad_value(_RULE, "separated", "at least two methods to tell apart", len(methods), "leave it out, or add a method")
        pairs = [*combinations(methods, 2), *product(methods, [name for name in families if name not in methods])]
        comparisons = PairwiseComparisons(pairs, high - low, self.margin, max(images, 1), self.alpha)
        return StopMonitor(self, comparisons, (low, high), metric.info.direction == "lower", images)


class StopMonitor:
    """A rule, and the chunks that it has looked at, one after the other from the first."""

    def __init__(
        self, rule: StopRule, comparisons: PairwiseComparisons | None, bounds: tuple[float, float], lower: bool, population: int
    ) -> None:
        self._rule, self._comparisons, self._bounds, self._lower, self._population = rule, comparisons, bounds, lower, population
        self.chunks = self.images = 0
        self._left_out = self._masked = 0
        self._seconds = 0.0

    @property
    def metric(self) -> str | None:
        """Of which values are needed, if any."""
        return self._rule.separated

    @property
    def over(self) -> str | None:
        """Why it is over, None if it is not."""
        if self._comparisons is not None and self._comparisons.decided:
            return SEPARATED
        if self.images >= self._population:
            return ALL
        if self._rule.budget is not None and self._masked >= self._rule.budget:
            return BUDGET
        return TIME if self._rule.seconds is not None and self._seconds >= self._rule.seconds else None

    def see(self, values: Mapping[str, Tensor], took: Mapping[str, Any]) -> None:
        """The next chunk: (n,) values of each method under the metric, NaN where there is none, and what is noted of it.

        Raises:
            ValueError: a value is outside the bounds.
        """
        for name, own in values.items():
            require_within(_RULE, f"maps[{name!r}]", own, self._bounds)
        if self._comparisons is not None:
            self._left_out += int(torch.stack(list(values.values())).isnan().any(0).sum())
            self._comparisons.see(values)
        self.chunks += 1
        self.images += took["samples"]
        self._masked += took["samples"] * took["counters"]["unique"] + took["counters"]["refined"]
        self._seconds += took["seconds"]

    def stopped(self) -> StopReport:
        """What is known where it is over."""
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
