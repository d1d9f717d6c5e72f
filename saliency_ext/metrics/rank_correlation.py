"""Spearman correlation of two maps, exact in integers."""

import torch
from torch import Tensor

from ..finite import finite_rows

# Sums of products of ranks stay below 2^63 up to here.
_MOST_PIXELS = 3_000_000


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman correlation of each pair of maps: the Pearson correlation of their ranks, tied pixels sharing their mean rank.

    Args:
        first, second: (N, H, W) floating.

    Returns:
        (N,) float64 in [-1, 1]; 1 for two constant maps, 0 where one of the two is constant; NaN where a map is not finite.
        Exactly 1 where the two have one order. Sums are taken in integers, so neither batch nor device changes a bit.

    Example:
        >>> rank_correlation(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[10.0, 9.0, 20.0]]]))
        tensor([0.5000], dtype=torch.float64)
    """
    a, b = (_centred_ranks(values.flatten(1)) for values in (first, second))
    aa, bb, ab = (product.sum(1).double() for product in (a * a, b * b, a * b))
    correlation = ab / (aa * bb).sqrt()
    correlation = torch.where((aa == 0) | (bb == 0), ((aa == 0) & (bb == 0)).double(), correlation)
    finite = finite_rows(first) & finite_rows(second)
    return torch.where(finite, correlation, torch.nan)


def _centred_ranks(values: Tensor) -> Tensor:
    """(N, P) twice the mean rank less P - 1, integers that sum to 0."""
    pixels = values.shape[1]
    ordered, order = values.sort(1)
    places = torch.arange(pixels, device=values.device).expand_as(order)
    edge = torch.ones_like(order[:, :1], dtype=torch.bool)
    step = ordered[:, 1:] != ordered[:, :-1]
    begins, ends = torch.cat([edge, step], 1)[:, :pixels], torch.cat([step, edge], 1)[:, :pixels]
    first = torch.where(begins, places, 0).cummax(1).values
    last = torch.where(ends, places, pixels).flip(1).cummin(1).values.flip(1)
    ranks = torch.empty_like(order).scatter_(1, order, first + last - (pixels - 1))
    return ranks if pixels <= _MOST_PIXELS else ranks.double()
