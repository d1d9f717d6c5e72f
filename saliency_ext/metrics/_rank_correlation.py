"""Spearman correlation of two maps, exact in integers."""

import torch
from torch import Tensor

from .. import ops
from ..nonfinite import finite_rows
from ._levels import levelled

# Sums of products of ranks stay below 2^63 up to here.
_MOST_PIXELS = 3_000_000


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman correlation of each pair of maps: the Pearson correlation of their ranks, tied pixels sharing their mean rank;
    values that differ by rounding alone tie.

    Args:
        first, second: (N, H, W) floating.

    Returns:
        (N,) float64 in [-1, 1]; 1 for two constant maps, 0 where one of the two is constant; NaN where a map is not finite.
        Exactly 1 where the two have one order. Sums are taken in integers, so neither batch nor device changes a bit.

    Example:
        >>> rank_correlation(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[10.0, 9.0, 20.0]]]))
        tensor([0.5000], dtype=torch.float64)
    """
    exact = torch.int64 if first[0:1].numel() <= _MOST_PIXELS else torch.float64
    a, b = (centred_ranks(levelled(values)).to(exact) for values in (first, second))
    aa, bb, ab = (product.sum(1).double() for product in (a * a, b * b, a * b))
    correlation = ab / (aa * bb).sqrt()
    correlation = torch.where((aa == 0) | (bb == 0), ((aa == 0) & (bb == 0)).double(), correlation)
    finite = finite_rows(first) & finite_rows(second)
    return torch.where(finite, correlation, torch.nan)


def centred_ranks(maps: Tensor, known: Tensor | None = None) -> Tensor:
    """(N, P) int32, twice the mean rank less P - 1 of maps (N, H, W): whole numbers that sum to 0, larger for larger values.

    Of pixels that tie, the order by index and the order by index from the end add up to the same for all. known: the former,
    `ops.rank` of the maps as (N, P), where it is at hand.
    """
    first = ops.rank(maps, nan="last").flatten(1) if known is None else known
    last = ops.rank(maps.flip(1, 2), nan="last").flatten(1).flip(1)
    return (first.shape[1] - 1) - (first + last)
