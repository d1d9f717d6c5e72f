"""What an evaluation found: values per image, means with intervals, and whether two maps can be told apart."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from ..checks import bad_value
from ..metrics.result import MetricResult
from ..ops import philox_uniform
from ..probing import Counters

_RESAMPLES = 2000


@dataclass(frozen=True)
class Summary:
    """Mean of a metric over the images that have a value, with a bootstrap 95 % interval (NaN for fewer than two)."""

    mean: float
    low: float
    high: float
    images: int
    left_out: int


@dataclass(frozen=True)
class Comparison:
    """Mean paired difference between two maps under one metric, with a bootstrap 95 % interval."""

    difference: Summary
    better: str | None  # name of the better map, None where they cannot be told apart

    def __str__(self) -> str:
        low, high = self.difference.low, self.difference.high
        verdict = f"{self.better} is better" if self.better else "cannot be told apart"
        return f"{self.difference.mean:+.4f} [{low:+.4f}, {high:+.4f}] over {self.difference.images} images: {verdict}"


class Results:
    """Results by (map name, metric name).

    Example: `results["gradcam", "deletion"].values`, `results.summary("gradcam", "deletion")`,
    `results.compare("gradcam", "random", "deletion")`, `results.rows()`.
    """

    def __init__(self, results: Mapping[tuple[str, str], MetricResult], counters: Counters) -> None:
        self._results = dict(results)
        self.counters = counters

    def __getitem__(self, names: tuple[str, str]) -> MetricResult:
        if names not in self._results:
            known = ", ".join(map(repr, self._results))
            bad_value("Results", "(map, metric)", f"to be one of {known}", repr(names))
        return self._results[names]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    def summary(self, map_name: str, metric: str) -> Summary:
        """Mean and interval of one map under one metric."""
        result = self[map_name, metric]
        return _summarise(result.values[result.valid], len(result.values))

    def compare(self, first: str, second: str, metric: str) -> Comparison:
        """Paired difference first - second, image by image; better by the metric's direction if the interval excludes 0."""
        a, b = self[first, metric], self[second, metric]
        both = a.valid & b.valid
        difference = _summarise((a.values - b.values)[both], len(both))
        sign = {"higher": 1, "lower": -1, "none": 0}[a.info.direction]
        if sign * difference.low > 0 and sign * difference.high > 0:
            return Comparison(difference, first)
        if sign * difference.low < 0 and sign * difference.high < 0:
            return Comparison(difference, second)
        return Comparison(difference, None)

    def rows(self) -> list[dict[str, object]]:
        """Long format: one row per map, metric and image, with status and parameters."""
        return [
            {
                "map": map_name,
                "metric": metric,
                "image": index,
                "value": float(value),
                "status": result.status[index],
                "direction": result.info.direction,
                **result.parameters,
            }
            for (map_name, metric), result in self._results.items()
            for index, value in enumerate(result.values)
        ]

    def __str__(self) -> str:
        lines = [f"{'map':<20} {'metric':<12} {'mean':>9}  {'95 % interval':<20} {'images':>6}  better"]
        for map_name, metric in self._results:
            s, direction = self.summary(map_name, metric), self._results[map_name, metric].info.direction
            interval = f"[{s.low:.4f}, {s.high:.4f}]"
            lines.append(f"{map_name:<20} {metric:<12} {s.mean:>9.4f}  {interval:<20} {s.images:>6}  {direction}")
        return "\n".join(lines)


def _summarise(values: torch.Tensor, total: int) -> Summary:
    """Percentile bootstrap over images; the resamples are keyed, so the same values give the same interval."""
    count = len(values)
    if count == 0:
        return Summary(math.nan, math.nan, math.nan, 0, total)
    mean = float(values.mean())
    if count == 1:
        return Summary(mean, math.nan, math.nan, 1, total - 1)
    draws = philox_uniform((1, 1, count), torch.arange(_RESAMPLES), seed=0)[:, 0, 0]
    means = values[(draws * count).long().clamp(max=count - 1)].mean(1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=means.dtype)).tolist()
    return Summary(mean, low, high, count, total - count)
