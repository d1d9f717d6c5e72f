"""Similarity measures of two maps: the features of a map, and their comparison for pairs."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from .. import ops
from ..metrics._rank_correlation import centred_ranks
from ._hog import oriented_gradients
from ._ssim import all_ssim, each_ssim

_SHARES = {"iou_5": 0.05, "iou_10": 0.10, "iou_25": 0.25}
# Name -> direction of similarity, and definition.
MEASURES: dict[str, tuple[str, str]] = {
    "spearman": ("higher", "correlation of the ranks of the pixels, equal values sharing their mean rank"),
    "pearson": ("higher", "correlation of the values"),
    "kendall": ("higher", "tau-b of the means over a grid of 14 x 14"),
    "ssim": ("higher", "structural similarity of the maps scaled to [0, 1]"),
    "ssim_abs": ("higher", "structural similarity of the sizes of the values, scaled to [0, 1]"),
    "iou_5": ("higher", "intersection over union of the highest 5 % of the pixels"),
    "iou_10": ("higher", "intersection over union of the highest 10 % of the pixels"),
    "iou_25": ("higher", "intersection over union of the highest 25 % of the pixels"),
    "cosine": ("higher", "cosine of the values"),
    "centre_distance": ("lower", "distance of the centres of mass (value less the smallest), as a share of the diagonal"),
    "hog": ("higher", "correlation of histograms of oriented gradients of the maps scaled to [0, 1]"),
}


@dataclass(frozen=True)
class Options:
    """Sizes that measures depend on: the window of ssim, pixels of a cell of hog, cells of the pooled grid."""

    window: int
    cell: int
    grid: int


Features = tuple[Tensor, ...]  # what a measure needs of n x M maps, each (n, M, ...)


@dataclass
class Stack:
    """M maps of each of n images, (n, M, H, W) float64, finite; what several measures need of a map is made once."""

    maps: Tensor
    options: Options

    @cached_property
    def scaled(self) -> Tensor:
        """(n, M, H, W) in [0, 1], from each map's smallest to its largest value."""
        return _unit(self.maps)

    @cached_property
    def largest_one(self) -> Tensor:
        """(n, M, P) over the largest size, so that squares neither overflow nor vanish."""
        flat = self.maps.flatten(2)
        return flat / flat.abs().amax(2, keepdim=True)

    @cached_property
    def ranks(self) -> Tensor:
        """(n, M, P) int32, 0 = the highest pixel, pixels that tie by their index."""
        return self.each(ops.rank)

    @cached_property
    def descending(self) -> Tensor:
        """(n, M, P) int64, the pixels from the highest to the lowest."""
        order = self.ranks.long()
        return torch.empty_like(order).scatter_(2, order, torch.arange(order.shape[2]).expand_as(order))

    def each(self, function: Callable[[Tensor], Tensor], maps: Tensor | None = None) -> Tensor:
        """The function on all maps as one batch, as (n, M, F)."""
        given = self.maps if maps is None else maps
        made = function(given.flatten(0, 1))
        return made.reshape(*given.shape[:2], -1)


def features(measure: str, stack: Stack) -> Features:
    """What a measure needs of each map."""
    if measure in ("ssim", "ssim_abs"):
        return (stack.scaled if measure == "ssim" else _unit(stack.maps.abs()),)
    if measure in _SHARES:
        return _highest(stack, _SHARES[measure])
    if measure == "centre_distance":
        return (_centres(stack.scaled) / math.hypot(*stack.maps.shape[2:]),)
    if measure == "kendall":
        height, width = stack.maps.shape[2:]
        size = (min(stack.options.grid, height), min(stack.options.grid, width))
        pooled = functional.adaptive_avg_pool2d(stack.maps.flatten(0, 1)[:, None], size)[:, 0]
        ranks = centred_ranks(pooled).float().view(*stack.maps.shape[:2], -1)
        return _directed(_orders(ranks))
    if measure == "spearman":
        return _directed(stack.each(lambda maps: centred_ranks(maps, stack.ranks.flatten(0, 1))).double())
    if measure == "hog":
        return _directed(_centred(stack.each(lambda maps: oriented_gradients(maps, stack.options.cell), stack.scaled)))
    return _directed(stack.largest_one if measure == "cosine" else _centred(stack.largest_one))


def all_pairs(measure: str, of: Features, options: Options) -> Tensor:
    """(n, M, M) of every two maps of an image, image by image: a matrix product of another shape may round otherwise."""
    if measure in ("ssim", "ssim_abs"):
        return all_ssim(of[0], options.window)
    if measure in _SHARES:
        common = torch.stack([_common(*image) for image in zip(*of[:3], strict=True)])
        size = of[3]
        return common / (size[:, :, None] + size[:, None, :] - common)
    if measure == "centre_distance":
        return torch.hypot(*(of[0][:, :, None] - of[0][:, None]).unbind(3))
    rows, squares = of
    return (_grams(rows, rows) / (squares[:, :, None] * squares[:, None, :]).sqrt()).clamp(-1, 1)


def each_pair(measure: str, one: Features, other: Features, options: Options) -> Tensor:
    """(n, M) of each map with the one at its place among others."""
    if measure in ("ssim", "ssim_abs"):
        return each_ssim(one[0], other[0], options.window)
    if measure in _SHARES:
        common = _common_of_each(one, other)
        return common / (one[3] + other[3] - common)
    if measure == "centre_distance":
        return torch.hypot(*(one[0] - other[0]).unbind(2))
    return ((one[0] * other[0]).sum(2).double() / (one[1] * other[1]).sqrt()).clamp(-1, 1)


def _directed(rows: Tensor) -> Features:
    """Rows (n, M, F) and their squares' sums (n, M): their cosine is the measure."""
    return rows, rows.square().sum(2).double()


def _highest(stack: Stack, share: float) -> Features:
    """Which pixels are surely among the highest share; which tie at the edge; what part of these belongs; how many in all."""
    flat = stack.maps.flatten(2)
    count = max(1, round(share * flat.shape[2]))
    edge = flat.gather(2, stack.descending[..., count - 1 : count])
    above, tied = flat > edge, flat == edge
    part = (count - above.sum(2)).double() / tied.sum(2)
    return above, tied, part, torch.full_like(part, count)


def _orders(ranks: Tensor) -> Tensor:
    """(n, M, C (C - 1) / 2) signs of the differences of every two of C values (n, M, C); whole numbers, exact in float32.

    Each value less those that follow it, as on a ring, 1, 2, ... places further: half a turn meets every pair once.
    """
    count = ranks.shape[2]
    ring = torch.cat([ranks, ranks], 2).unfold(2, count, 1)[:, :, 1 : count // 2 + 1]  # (n, M, C / 2, C), no copy
    signs = (ranks[:, :, None] - ring).sign_()
    return signs.flatten(2)[..., : count * (count - 1) // 2]


def _centres(scaled: Tensor) -> Tensor:
    """(n, M, 2) centre of mass: row and column in pixels, each pixel weighing what it is above the smallest."""
    height, width = scaled.shape[2:]
    weight = scaled / scaled.sum((2, 3), keepdim=True)
    down, across = torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64)
    return torch.stack([(weight.sum(3) * down).sum(2), (weight.sum(2) * across).sum(2)], 2)


def _common(above: Tensor, tied: Tensor, part: Tensor) -> Tensor:
    """(M, M) pixels that two of an image's maps have in common: of pixels that tie in both, the smaller part."""
    if bool((part == 1).all()):
        belongs = (above | tied).float()
        return (belongs @ belongs.T).double()
    surely, undecided = above.double(), tied.double()
    mixed = (surely @ undecided.T) * part
    return surely @ surely.T + mixed + mixed.T + torch.minimum(part[:, None], part) * (undecided @ undecided.T)


def _common_of_each(one: Features, other: Features) -> Tensor:
    """(n, M) pixels that each map has in common with the one at its place."""
    if bool((one[2] == 1).all()) and bool((other[2] == 1).all()):
        return ((one[0] | one[1]) & (other[0] | other[1])).sum(2).double()
    return torch.minimum(*(above + part[..., None] * (tied & ~above) for above, tied, part, _ in (one, other))).sum(2)


def _grams(first: Tensor, second: Tensor) -> Tensor:
    return torch.stack([a @ b.T for a, b in zip(first, second, strict=True)]).double()


def _centred(rows: Tensor) -> Tensor:
    return rows - rows.mean(2, keepdim=True)


def _unit(maps: Tensor) -> Tensor:
    """From the smallest value of each map to its largest; 0 where it is constant."""
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return torch.where(high > low, (maps - low) / (high - low), 0.0)
