"""Half the gap between keeping the most and keeping the least relevant pixels, cut at percentiles of the map."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from ..checks import bad_type, bad_value
from ..perturbation import Outputs, RankMasks
from ..protocols import MetricInfo
from ._levels import levelled
from ._perturbation_metric import PerturbationMetric
from .base import MetricOptions
from .context import Keys, MetricContext
from .result import MetricResult

_Requested = tuple[Keys, Keys, Tensor]  # MoRF, LeRF, share of masks that keep nothing


@dataclass(frozen=True)
class PercentileGap(PerturbationMetric):
    """Mean over percentiles of (LeRF - MoRF) / 2, with p % of the pixels KEPT in both orders [Gildenblat 2021, ROADCombined].

    morf(p) = f(image with only {u : s(u) < q_p(s)} kept),   lerf(p) = f(image with only {u : -s(u) < q_p(-s)} kept)
    value = mean over p of (lerf(p) - morf(p)) / 2

    with q_p the percentile, linear between order statistics: of n pixels without ties ceil(p (n - 1) / 100) are kept. Higher is
    better. Unit: half of that of the score; half of `Fidelity` on a coarse grid without ends. Polarity: larger = more relevant.

    A percentile reads values, not only their order: "<" removes ALL pixels that tie with it. Of a map with 60 % zeros MoRF keeps
    nothing up to p = 60: `kept_nothing` is the share of all masks that keep no pixel.

    Args:
        infill: what a removed pixel becomes; the published one is the noisy linear imputation.
        score: "probability", "logit", "log_probability", "sigmoid" or "accuracy" of the target.
        percentiles: p, in [0, 100], in any order.

    extras: auc_morf, auc_lerf (plain means), kept_nothing. curves: morf, lerf over the share KEPT.

    Traps: maps with many equal values, such as those behind a ReLU, keep nothing at most percentiles in one order: compare such
    maps with `Fidelity`.

    Note:
        Deterministic; no tie rule is needed. Cost: twice as many masked inputs as percentiles. Deviation: LeRF negates the map
        where the published code takes 1 - map, whose rounding can make ties.

    References:
        Gildenblat. PyTorch library for CAM methods. 2021. Rong et al. arXiv 2202.00449.
    """

    percentiles: Sequence[float] = (10, 20, 30, 40, 50, 60, 70, 80, 90)

    info: ClassVar[MetricInfo] = MetricInfo(
        name="percentile_gap",
        direction="higher",
        unit="half a mean difference of scores",
        measures="order of relevance at percentiles",
        reference="Gildenblat 2021",
        role="order",
        meaning="Half the gap between keeping what is relevant and what is not.",
        horizontal="share of pixels kept",
        curve_labels=(("morf", "least relevant kept (MoRF)"), ("lerf", "most relevant kept (LeRF)")),
    )

    @classmethod
    def from_options(cls, options: MetricOptions) -> Self:
        """The metric with those of the shared options that apply to it."""
        return cls(options.infill, options.score)

    def __post_init__(self) -> None:
        super().__post_init__()
        name = "PercentileGap"
        if not self.percentiles:
            bad_value(name, "percentiles", "to hold at least one", "none")
        for value in self.percentiles:
            if isinstance(value, bool) or not isinstance(value, int | float):
                bad_type(name, "percentiles", "to be numbers", type(value).__name__)
            if not 0 <= value <= 100:
                bad_value(name, "percentiles", "in [0, 100]", value)
        object.__setattr__(self, "percentiles", tuple(sorted(self.percentiles)))

    def request(self, context: MetricContext) -> _Requested:
        """The images with only the least, and with only the most relevant pixels kept."""
        saliency = levelled(context.saliency).flatten(1).double()
        shares = torch.tensor(self.percentiles, dtype=torch.float64, device=saliency.device) / 100
        least, most = _below(saliency, shares), _below(-saliency, shares)
        order = context.ranked("index")  # a cut never parts tied pixels, so any rule gives the same masks
        morf = context.request(RankMasks(order, context.pixels - least, keep="tail"), self.infill)
        lerf = context.request(RankMasks(order, most, keep="head"), self.infill)
        return morf, lerf, (torch.cat([least, most], 1) == 0).double().mean(1).cpu()

    def compute(self, outputs: Outputs, requested: _Requested) -> MetricResult:
        """Values per image, from the model's outputs."""
        morf, lerf = (outputs.mean_score(keys, self.score) for keys in requested[:2])
        extras = {"auc_morf": morf.mean(1), "auc_lerf": lerf.mean(1), "kept_nothing": requested[2]}
        kept = torch.tensor(self.percentiles, dtype=torch.float64) / 100
        values = (lerf - morf).mean(1) / 2
        return MetricResult(
            self.info, values, self.parameters, fractions=kept, curves={"morf": morf, "lerf": lerf}, extras=extras
        )


def _below(values: Tensor, shares: Tensor) -> Tensor:
    """(N, S) how many of each row's values lie strictly below each of its quantiles."""
    ordered = values.sort(1).values
    at = shares * (values.shape[1] - 1)  # torch.quantile takes no rows of more than 2^24 values
    low = at.floor().long()
    above = ordered[:, at.ceil().long()]
    return torch.searchsorted(ordered, torch.lerp(ordered[:, low], above, at - low).contiguous())
