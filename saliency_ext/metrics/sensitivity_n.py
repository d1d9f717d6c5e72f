"""Sensitivity-n: does the map's sum over some pixels say how much the score falls when they are removed?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from ..checks import bad_type, bad_value, require_integer
from ..perturbation import Outputs, RankMasks
from ..protocols import MetricInfo
from ._perturbation_metric import PerturbationMetric, min_max
from .base import MetricOptions
from .context import Keys, MetricContext
from .result import OK, UNDEFINED, MetricResult


@dataclass(frozen=True)
class _Requested:
    keys: list[Keys]  # per subset
    sums: Tensor  # (N, sizes, subsets) float64
    fractions: Tensor  # (sizes,)


@dataclass(frozen=True)
class SensitivityN(PerturbationMetric):
    """Correlation between the map's sum over a random set of pixels and the fall of the score without it [Ancona 2018].

    For each size n, over random sets S of n pixels:
        r(n) = Pearson correlation of  sum over p in S of map(p)  and  f(inputs) - f(inputs with the pixels of S as infill)
    value = mean of r(n) over the sizes. Set number d is the first n pixels of random order d of the image, so sets of different
    sizes are nested; the order is keyed by (seed, sample id, d).

    No variance. Where the score falls equally for all sets (n = 0, n = all pixels, a model that ignores the pixels) nothing is to
    be predicted: r(n) is NaN and left out of the mean. Where only the map's sums do not vary (a constant map) it predicts
    nothing: r(n) = 0. An image without any r(n) has no value, status undefined.

    Direction: higher is better; 1 if the score is a sum of the map over the pixels that are there (a model linear in the inputs
    and its true terms, by logit). Unit: correlation. Range: [-1, 1]. Polarity: larger saliency = more relevant, sign matters; the
    negated map has the negated value. A positive factor or a shift of the map changes nothing.

    Args:
        infill: what a removed pixel becomes.
        score: of the target; the source reads the logit.
        sizes: sizes of the sets as shares of the pixels, in [0, 1]; n = floor(share H W + 1/2).
        subsets: random sets per size, at least 2. The standard error of r(n) near 0 is about 1 / sqrt(subsets - 1).
        seed: of the orders.

    curves, over the sizes if there are several: sensitivity_n, r(n); mean_drop, the mean fall of the score.
    extras: sizes_left_out.

    Note:
        Cost: sizes x subsets masked inputs per image and draw of the infill, whatever the number of maps: all maps share the
        sets, also with the random references of `Fidelity` where seeds and counts agree. The orders are drawn again for each map,
        to sum over them (one sort of the pixels per set). Memory: a key per perturbed input, one number per set, size and image.
        Deterministic; neither batch nor chunk nor other maps change a bit.
        Traps: single pixels scattered over a natural image hardly move some models: r(n) is then noise; compare the curve with
        that of a random map. A set of half the pixels is far from any image.

    Example:
        >>> import torch
        >>> from saliency_ext.evaluation import evaluate
        >>> from saliency_ext.infill import Constant
        >>> images = torch.tensor([[[[3.0, 1.0], [0.0, 2.0]]]])
        >>> linear = lambda x: torch.stack([x.flatten(1).sum(1), torch.zeros(len(x))], 1)
        >>> metric = SensitivityN(Constant(0.0), score="logit", sizes=(0.25, 0.5), subsets=20)
        >>> results = evaluate(linear, images, 0, {"terms": images[:, 0], "negated": -images[:, 0]}, [metric])
        >>> [round(results[name, "sensitivity_n"].values.item(), 6) for name in ("terms", "negated")]
        [1.0, -1.0]

    References:
        Ancona, Ceolini, Oztireli, Gross. Towards better understanding of gradient-based attribution methods. ICLR 2018.
    """

    sizes: Sequence[float] = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
    subsets: int = 100
    seed: int = 0

    info: ClassVar[MetricInfo] = MetricInfo(
        name="sensitivity_n",
        direction="higher",
        unit="correlation",
        measures="sums of the map predict falls of the score",
        reference="Ancona 2018",
        role="order",
        meaning="Does the map's sum over a random set of pixels predict how much the score falls without them?",
    )

    @classmethod
    def from_options(cls, options: MetricOptions) -> Self:
        """The metric with those of the shared options that apply to it."""
        return cls(options.infill, options.score, seed=options.seed)

    def __post_init__(self) -> None:
        super().__post_init__()
        name = "SensitivityN"
        if not isinstance(self.sizes, Sequence) or isinstance(self.sizes, str):
            bad_type(name, "sizes", "to be a sequence of numbers", type(self.sizes).__name__)
        for size in self.sizes:
            if isinstance(size, bool) or not isinstance(size, int | float):
                bad_type(name, "sizes", "to be numbers", type(size).__name__)
            if not 0 <= size <= 1:
                bad_value(name, "sizes", "in [0, 1]", size, "they are shares of the pixels")
        if not self.sizes:
            bad_value(name, "sizes", "to hold at least one share", "none")
        object.__setattr__(self, "sizes", tuple(sorted(self.sizes)))  # hashable, and out of the caller's reach
        require_integer(name, "subsets", self.subsets, 2, 2**14)
        require_integer(name, "seed", self.seed, 0, 2**63 - 1)

    def request(self, context: MetricContext) -> _Requested:
        """Removals of the first pixels of random orders, and the map's sums over them."""
        counts = [int(size * context.pixels + 0.5) for size in self.sizes]
        values = min_max(context.saliency)  # constant maps become exactly 0, and no sum overflows
        # Allocated once: small tensors kept between large temporary ones would fragment the heap.
        sums = torch.empty(len(values), len(counts), self.subsets, dtype=torch.float64)
        keys = []
        for draw in range(self.subsets):
            order = context.random_order(self.seed, draw)
            keys.append(context.request(RankMasks(order, counts, keep="tail"), self.infill))
            ranks = order.of(slice(0, len(values)))
            for column, count in enumerate(counts):
                sums[:, column, draw] = _sum_of_first(ranks, values, count)
        fractions = torch.tensor(counts, dtype=torch.float64) / max(context.pixels, 1)
        return _Requested(keys, sums, fractions)

    def compute(self, outputs: Outputs, requested: _Requested) -> MetricResult:
        """Values per image, from the model's outputs."""
        drops = torch.stack([self.drops(outputs, keys) for keys in requested.keys], 2)
        curve = _correlation(requested.sums, drops)
        nothing_to_predict = _constant(drops)
        defined = (~nothing_to_predict).sum(1)
        total = torch.where(nothing_to_predict, 0.0, curve).sum(1)
        values = torch.where(defined > 0, total / defined, torch.nan)
        status = [UNDEFINED if count == 0 else OK for count in defined.tolist()]
        curves = {"sensitivity_n": torch.where(nothing_to_predict, torch.nan, curve), "mean_drop": drops.mean(2)}
        extras = {"sizes_left_out": (curve.shape[1] - defined).double()}
        return MetricResult(self.info, values, self.parameters, status, requested.fractions, curves, extras)


def _sum_of_first(ranks: Tensor, values: Tensor, count: int) -> Tensor:
    """(N,) sums of the values (N, H, W) over the first `count` pixels of an order."""
    # Rows first: torch may split a single long sum between threads, so that its rounding would depend on the batch.
    return torch.where(ranks < count, values, 0.0).sum(2).sum(1)


def _constant(values: Tensor) -> Tensor:
    """Whether all of the last dimension are equal. A tested mean would be off by rounding."""
    return values.amax(-1) == values.amin(-1)


def _correlation(sums: Tensor, drops: Tensor) -> Tensor:
    """Pearson correlation over the last dimension; 0 where the sums are constant."""
    drops = drops / drops.abs().amax(-1, keepdim=True)  # squares stay in range
    s, d = (each - each.mean(-1, keepdim=True) for each in (sums, drops))
    size = (s.square().sum(-1) * d.square().sum(-1)).sqrt()
    correlation = ((s * d).sum(-1) / size).clamp(-1, 1)
    return torch.where(_constant(sums) & ~drops.isnan().any(-1), 0.0, correlation)
