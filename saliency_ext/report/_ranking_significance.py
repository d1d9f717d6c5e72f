"""The ranking of the maps under one metric, its significance, and which maps beat the controls."""

from dataclasses import dataclass

import torch

from ..metrics.result import MetricResult
from ..stats.intervals import distinguishable_pairs, fewest_images
from ..stats.kendall import kendall_tau
from .data import MetricLine, ReportData

_FEW_VALUES = 0.5  # a map with a value on a smaller share of the images is not compared


@dataclass(frozen=True)
class RankingSignificance:
    """The ranking of the maps under one metric, and its significance.

    Attributes:
        metric: which.
        order: the compared maps, best mean first, controls among them.
        means: of the compared maps, larger = better whatever the direction, on the images that are compared.
        images: how many these are: those on which every compared map has a value.
        decided: distinguishable pairs (better, worse), with 95 % confidence for all pairs simultaneously.
        enough: whether there are enough images to distinguish any pair.
        left_out: maps with too few values.
        controls: the compared controls.
    """

    metric: MetricLine
    order: list[str]
    means: dict[str, float]
    images: int
    decided: frozenset[tuple[str, str]]
    enough: bool
    left_out: list[str]
    controls: frozenset[str]

    @property
    def methods(self) -> list[str]:
        """The compared maps that are no controls, best mean first."""
        return [name for name in self.order if name not in self.controls]

    @property
    def leaders(self) -> list[str]:
        """The method with the best mean, and those that are not distinguishable from it."""
        return [name for name in self.methods if (self.methods[0], name) not in self.decided]

    @property
    def failing(self) -> dict[str, list[str]]:
        """Methods that do not beat every control, with these controls, the best first."""
        controls = [name for name in self.order if name in self.controls]
        unbeaten = {name: [c for c in controls if (name, c) not in self.decided] for name in self.methods}
        return {name: result for name, result in unbeaten.items() if result}


def can_be_ranked(result: MetricResult) -> bool:
    """Whether a map has a value on half of the images, and on one at least."""
    return int(result.valid.sum()) >= max(1, _FEW_VALUES * len(result.values))


def significance(data: ReportData, metric: MetricLine) -> RankingSignificance | None:
    """The ranking of all maps under one metric; None where no direction is better, or nothing was measured."""
    if metric.info.sign == 0:
        return None
    result = {line.name: data.result(line.name, metric.name) for line in data.methods}
    rows = {name: row for name, row in result.items() if row is not None and len(row.values) == data.images}
    compared = [name for name, row in rows.items() if can_be_ranked(row)]
    if not compared:
        return None
    common = torch.stack([rows[name].valid for name in compared]).all(0)
    values = metric.info.sign * torch.stack([rows[name].values[common] for name in compared], 1)
    means = values.mean(0)
    images, pairs = int(common.sum()), len(compared) * (len(compared) - 1) // 2
    return RankingSignificance(
        metric=metric,
        order=[compared[place] for place in means.nan_to_num(nan=-torch.inf).argsort(descending=True, stable=True).tolist()],
        means=dict(zip(compared, means.tolist(), strict=True)),
        images=images,
        decided=distinguishable_pairs(values, compared),
        enough=images >= fewest_images(pairs),
        left_out=[name for name in result if name not in compared],
        controls=frozenset(data.controls) & frozenset(compared),
    )


def kendall(first: RankingSignificance, second: RankingSignificance) -> float | None:
    """Kendall's tau-b of the order of the methods under two metrics; None for fewer than three methods, or only ties."""
    names = [name for name in first.methods if name in second.methods]
    if len(names) < 3:
        return None
    tau = float(kendall_tau(*(torch.tensor([result.means[name] for name in names]).double() for result in (first, second))))
    return tau if tau == tau else None
