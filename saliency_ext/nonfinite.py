"""Which images hold a NaN or an infinity, and zeros in their place: two passes over the values, no copy of good ones."""

import torch
from torch import Tensor


def finite_rows(values: Tensor) -> Tensor:
    """(N,) bool: whether all values of a row (N, ...) are finite. Extremes show it, and are faster than a test of each value."""
    if values.numel() == 0 or not values.is_floating_point():
        return torch.ones(len(values), dtype=torch.bool, device=values.device)
    rows = values.flatten(1)
    return rows.amax(1).isfinite() & rows.amin(1).isfinite()


def with_zeros(values: Tensor, good: Tensor) -> Tensor:
    """The values (N, ...), with zeros in the rows that are not good (N,). The values themselves where all are."""
    if bool(good.all()):
        return values
    return torch.where(good.view(-1, *[1] * (values.ndim - 1)), values, 0)
