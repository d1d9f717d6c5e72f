"""Infidelity: squared error between the map's sums over random squares and the falls of the score when they are removed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from .. import rng_streams
from ..checks import bad_type, bad_value, require_integer
from ..ops import philox_uniform
from ..perturbation import BoxMasks, Outputs
from ..protocols import MetricInfo
from ._perturbation_metric import PerturbationMetric
from .base import MetricOptions
from .context import Keys, MetricContext
from .result import OK, UNDEFINED, MetricResult


@dataclass(frozen=True)
class _Requested:
    keys: Keys
    sums: Tensor  # (N, squares) float64


@dataclass(frozen=True)
class Infidelity(PerturbationMetric):
    """Mean squared gap between the map's sum over a square and the fall of the score without it [Yeh 2019].

    For random squares B:  s = sum over p in B of map(p),  d = f(inputs) - f(inputs with the pixels of B replaced by infill)
        raw        = mean over B of (s - d)^2
        normalised = min over a >= 0 of mean (a s - d)^2 / mean d^2 = 1 - max(0, mean s d)^2 / (mean s^2 mean d^2)
    The raw value is not scale-invariant: twice the map is another value, the best map for it has the unit of the score, and the
    zero map beats most maps of a wrong scale. So it ranks methods by their scale first. The normalised value gives each map the
    factor that suits it best; a positive factor changes nothing.

    The source has perturbations I and the term (I . map - drop); here I is 1 in the square for a map that already tells what
    each pixel contributes, and inputs - infill for a gradient (hand in the product). Deviations: the factor must not be
    negative, else a map and its negation would be equally good (extras: normalised_any_sign, as in captum); divided by mean d^2.

    Squares: the side uniform between two shares of the shorter side of the image, the position uniform over all that meet the
    image and clipped at its border, so that every pixel is covered equally often. Keyed by the seed alone: all images of one size
    and all maps share them.

    Direction: lower is better. Unit: share of the mean squared fall; raw: squared score. Range: [0, 1]; raw >= 0. 0: the sums
    are the falls, as for the true terms of a model linear in the inputs, by logit. 1: no factor makes the map better than the
    zero map, as for a negated one. Polarity: larger saliency = more relevant, sign matters. No shift invariance: a constant map
    predicts falls proportional to the area, which may be a good prediction.

    Args:
        infill: what a removed pixel becomes.
        score: of the target.
        squares: how many.
        sides: smallest and largest side as shares of the shorter side of the image, in (0, 1]; at least one pixel.
        normalised: whether the value is the normalised one or the raw one. Both are in the extras.
        seed: of the squares.

    extras: raw, normalised, normalised_any_sign, factor (mean s d / mean s^2, the best factor of any sign; 0 for a zero map).

    Note:
        Traps: a perfect order with the wrong scale between regions scores badly: it judges sums, not order. Squares that remove
        most of an object measure damage too.
        Where no square moves the score, normalised is 0/0: NaN; the status is undefined where it is the value. Cost: one masked
        input per distinct square, image and draw of the infill, whatever the number of maps. Memory: one number per square and
        image, and two narrow matrices. Deterministic; neither batch nor chunk nor other maps change a bit.

    Example:
        >>> import torch
        >>> from saliency_ext.evaluation import evaluate
        >>> from saliency_ext.infill import Constant
        >>> images = torch.tensor([[[[3.0, 1.0], [0.0, 2.0]]]])
        >>> linear = lambda x: torch.stack([x.flatten(1).sum(1), torch.zeros(len(x))], 1)
        >>> maps = {"terms": images[:, 0], "twice": 2 * images[:, 0], "negated": -images[:, 0]}
        >>> results = evaluate(linear, images, 0, maps, [Infidelity(Constant(0.0), score="logit", squares=20)])
        >>> [round(results[name, "infidelity"].values.item(), 6) for name in maps]
        [0.0, 0.0, 1.0]
        >>> [results[name, "infidelity"].extras["raw"].item() > 1e-6 for name in maps]
        [False, True, True]

    References:
        Yeh, Hsieh, Suggala, Inouye, Ravikumar. On the (In)fidelity and Sensitivity of Explanations. NeurIPS 2019.
    """

    squares: int = 200
    sides: Sequence[float] = (0.05, 0.35)
    normalised: bool = True
    seed: int = 0

    info: ClassVar[MetricInfo] = MetricInfo(
        name="infidelity",
        direction="lower",
        unit="share of the mean squared fall",
        measures="sums of the map are falls of the score",
        reference="Yeh 2019",
        role="order",
        meaning="Does its sum over a square say how much the score falls without it? 0: perfectly; 1: no better than a blank "
        "map.",
    )

    @classmethod
    def from_options(cls, options: MetricOptions) -> Self:
        """The metric with those of the shared options that apply to it."""
        return cls(options.infill, options.score, seed=options.seed)

    def __post_init__(self) -> None:
        super().__post_init__()
        name = "Infidelity"
        require_integer(name, "squares", self.squares, 1, 2**14)
        require_integer(name, "seed", self.seed, 0, 2**63 - 1)
        if not isinstance(self.normalised, bool):
            bad_type(name, "normalised", "to be a bool", type(self.normalised).__name__)
        if not isinstance(self.sides, Sequence) or len(self.sides) != 2:
            bad_type(name, "sides", "to be two numbers", repr(self.sides))
        for side in self.sides:
            if isinstance(side, bool) or not isinstance(side, int | float):
                bad_type(name, "sides", "to be numbers", type(side).__name__)
        if not 0 < self.sides[0] <= self.sides[1] <= 1:
            bad_value(name, "sides", "0 < smallest <= largest <= 1", self.sides, "they are shares of the shorter side")
        object.__setattr__(self, "sides", tuple(self.sides))

    def request(self, context: MetricContext) -> _Requested:
        """Removals of the squares."""
        boxes = random_squares(context.shape, self.squares, self.sides, self.seed)
        return _Requested(
            context.request(BoxMasks(boxes.to(context.inputs.device)), self.infill), _sums_inside(context.saliency, boxes).cpu()
        )

    def compute(self, outputs: Outputs, requested: _Requested) -> MetricResult:
        """Values per image, from the model's outputs."""
        s, d = requested.sums, self.drops(outputs, requested.keys)
        raw = (s - d).square().mean(1)
        # Shares of the largest, whose squares stay in range; the zero map stays 0.
        tiny = torch.finfo(torch.float64).tiny
        s_size, d_size = (each.abs().amax(1).clamp(min=tiny) for each in (s, d))
        s, d = s / s_size[:, None], d / d_size[:, None]
        ss, sd, dd = (product.mean(1) for product in (s * s, s * d, d * d))
        slope = torch.where(ss > 0, sd / ss, 0.0)
        any_sign, unlike = ((1 - slope * product / dd).clamp(min=0) for product in (sd, sd.clamp(min=0)))
        extras = {"raw": raw, "normalised": unlike, "normalised_any_sign": any_sign, "factor": slope * d_size / s_size}
        if not self.normalised:
            info = MetricInfo("infidelity_raw", "lower", "squared score", self.info.measures, self.info.reference)
            return MetricResult(info, raw, self.parameters, extras=extras)
        status = [UNDEFINED if moved == 0 else OK for moved in dd.tolist()]
        return MetricResult(self.info, unlike, self.parameters, status, extras=extras)


def random_squares(shape: tuple[int, int], count: int, sides: Sequence[float], seed: int) -> Tensor:
    """(count, 4) int64 top, left, bottom, right of squares that meet an image (H, W), clipped at its border."""
    height, width = shape
    shorter = min(shape)
    low, high = (max(1, int(share * shorter + 0.5)) for share in sides)
    u = philox_uniform((1, count, 3), torch.zeros(1, dtype=torch.int64), seed=seed, stream=rng_streams.SQUARE)[0, 0].double()
    side = low + (u[:, 0] * (high - low + 1)).long()
    # The first row may lie anywhere from side - 1 above the image to its last row.
    top, left = ((u[:, 1 + axis] * (size + side - 1)).long() - side + 1 for axis, size in enumerate((height, width)))
    ends = ((top + side).clamp(max=height), (left + side).clamp(max=width))
    return torch.stack([top.clamp(min=0), left.clamp(min=0), *ends], 1)


def _sums_inside(saliency: Tensor, boxes: Tensor) -> Tensor:
    """(N, S) float64 sums of maps (N, H, W) inside boxes (S, 4)."""
    if saliency.numel() == 0:
        return saliency.new_zeros(len(saliency), len(boxes), dtype=torch.float64)
    top, left, bottom, right = boxes.to(saliency.device)[:, :, None].unbind(1)
    rows, columns = (torch.arange(size, device=saliency.device) for size in saliency.shape[1:])
    down = ((rows >= top) & (rows < bottom)).double()
    across = ((columns >= left) & (columns < right)).double()
    # One map at a time: its rounding must not depend on the batch.
    return torch.stack([((down @ values) * across).sum(1) for values in saliency.double().contiguous()])
