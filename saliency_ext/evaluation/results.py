"""Results of an evaluation: values per image, means with intervals, and paired comparisons of maps."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..checks import bad_value
from ..metrics.result import MetricResult
from ..perturbation import Counters
from ..protocols import MethodInfo
from ..stats.intervals import Summary, summarise, unpaired
from .stop_report import StopReport


@dataclass(frozen=True)
class Comparison:
    """Mean paired difference between two maps under one metric, with its 95 % interval."""

    difference: Summary
    better: str | None  # name of the better map, None where they are not distinguishable, or the images are too few

    def __str__(self) -> str:
        low, high = self.difference.low, self.difference.high
        if self.difference.too_few:
            return f"{self.difference.mean:+.4f} over {self.difference.images} images: too few images for a comparison"
        verdict = f"{self.better} is better" if self.better else "not distinguishable"
        return f"{self.difference.mean:+.4f} [{low:+.4f}, {high:+.4f}] over {self.difference.images} images: {verdict}"


class Results:
    """Results by (map name, metric name).

    Example: `results["gradcam", "deletion"].values`, `results.summary("gradcam", "deletion")`,
    `results.compare("gradcam", "random", "deletion")`, `results.rows()`.
    `results.stopped`: the `StopReport` of a study with a stop rule.
    `results.methods`: name of a map -> `MethodInfo` of the method that made it, where one did.
    """

    def __init__(
        self,
        results: Mapping[tuple[str, str], MetricResult],
        counters: Counters,
        stopped: StopReport | None = None,
        methods: Mapping[str, MethodInfo] | None = None,
    ) -> None:
        self._results = dict(results)
        self.counters = counters
        self.stopped = stopped
        self.methods = dict(methods or {})

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
        return summary_of(self[map_name, metric])

    def unpaired_summary(self, map_name: str, metric: str) -> Summary:
        """A fidelity with the interval that takes its two areas as independent, as published; `summary` has the paired one."""
        result = self[map_name, metric]
        if "auc_lif" not in result.extras:
            bad_value("Results.unpaired_summary", "metric", "the name of a Fidelity", repr(metric))
        ok = result.valid
        return unpaired(result.extras["auc_lif"][ok], result.extras["auc_mif"][ok], len(ok))

    def compare(self, first: str, second: str, metric: str) -> Comparison:
        """Paired difference first - second, image by image; better by the metric's direction if the interval excludes 0.

        The false-positive rate for two maps of equal mean is at most 5 %, also with few images; below six images no pair is
        distinguishable. See `simultaneous_intervals`.
        """
        a, b = self[first, metric], self[second, metric]
        both = a.valid & b.valid
        difference = summarise((a.values - b.values)[both], len(both))
        sign = a.info.sign
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

    def to_dict(self) -> dict[str, dict[str, dict[str, object]]]:
        """Plain values, map -> metric -> values, statuses, curves, extras, parameters, mean and interval."""
        plain_values: dict[str, dict[str, dict[str, object]]] = {}
        for (map_name, metric), result in self._results.items():
            plain_values.setdefault(map_name, {})[metric] = {
                "info": asdict(result.info),
                "parameters": {name: plain(value) for name, value in result.parameters.items()},
                "summary": asdict(self.summary(map_name, metric)),
                "values": result.values.tolist(),
                "status": list(result.status),
                "fractions": None if result.fractions is None else result.fractions.tolist(),
                "curves": {name: curve.tolist() for name, curve in result.curves.items()},
                "extras": {name: extra.tolist() for name, extra in result.extras.items()},
            }
        return plain_values

    def to_parquet(self, path: str | Path) -> None:
        """Writes the long format, one row per map, metric and image; parameters as JSON. Needs pyarrow.

        Raises:
            ModuleNotFoundError: pyarrow is not installed.
        """
        import pyarrow
        import pyarrow.parquet

        rows = [
            {
                "map": map_name,
                "metric": metric,
                "image": index,
                "value": value,
                "status": result.status[index],
                "direction": result.info.direction,
                "unit": result.info.unit,
                "parameters": json.dumps({name: plain(item) for name, item in result.parameters.items()}, sort_keys=True),
            }
            for (map_name, metric), result in self._results.items()
            for index, value in enumerate(result.values.tolist())
        ]
        kinds = {"image": pyarrow.int64(), "value": pyarrow.float64()}
        names = ("map", "metric", "image", "value", "status", "direction", "unit", "parameters")
        schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in names])
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), path)

    def __str__(self) -> str:
        wide, long = (max([3, *(len(pair[place]) for pair in self._results)]) for place in (0, 1))
        lines = [f"{'map':<{wide}}  {'metric':<{max(long, 6)}} {'mean':>9}  {'95 % interval':<20} {'images':>6}  better"]
        for map_name, metric in self._results:
            s, direction = self.summary(map_name, metric), self._results[map_name, metric].info.direction
            interval = "too few images" if s.too_few else f"[{s.low:.4f}, {s.high:.4f}]"
            lines.append(
                f"{map_name:<{wide}}  {metric:<{max(long, 6)}} {s.mean:>9.4f}  {interval:<20} {s.images:>6}  {direction}"
            )
        return "\n".join(lines if self.stopped is None else [*lines, "", str(self.stopped)])


def summary_of(result: MetricResult) -> Summary:
    """Mean and interval of a result; of values that are all 0 or 1, that of a proportion."""
    negative = result.info.range is not None and result.info.range[0] < 0  # a difference, not a proportion
    return summarise(result.values[result.valid].double(), len(result.values), share=not negative)


def plain(value: Any) -> object:
    """Numbers, strings, flags and lists of them as they are; anything else by its repr."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return [plain(item) for item in value] if isinstance(value, tuple | list) else repr(value)
