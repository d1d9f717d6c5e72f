"""Plateaus of a map: values that differ by rounding alone count as one, so that the last bit decides nothing."""

import torch
from torch import Tensor

from .. import ops

# In units of the last place of float32 (float64 for float64 maps): how far neighbours in order, and both ends of a plateau, are.
_STEPS, _EXTENT = (4, 1), 8


def levelled(saliency: Tensor) -> Tensor:
    """The map with one value per plateau; the map itself where no values are that close.

    A plateau: in descending order each value is within 4 units in the last place of the one before, and the last within 8 of the
    first. Of a longer run, parts in which each value is within 1 unit of the one before: a plateau beside a slope. What is still
    longer are values that lie close together, as in a large smooth map, and stay. Upsampling, sums in another order and other
    instruction sets move values that are mathematically equal by 1 or 2 units. Around 0, where units are small, rounding of
    larger values that cancel is not seen. Half-precision maps have no values that close but equal ones.

    Args:
        saliency: (N, H, W) floating.

    Returns:
        (N, H, W), float32 for half precision, else of the map's dtype; members of a plateau have its largest value.

    Example:
        >>> up = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
        >>> levelled(torch.tensor([[[1.0, up, 0.5]]])) == up
        tensor([[[ True,  True, False]]])
    """
    values = saliency if saliency.dtype == torch.float64 else saliency.float()
    if values.numel() == 0 or values[0].numel() < 2:
        return values
    places = ops.rank(values, ties="index", nan="last").flatten(1).long()
    ordered = torch.empty_like(places, dtype=values.dtype).scatter_(1, places, values.flatten(1))
    result = ordered
    for step in _STEPS:
        result = _levelled_runs(result, step)
    return values if result is ordered else result.gather(1, places).view(values.shape)


def _levelled_runs(ordered: Tensor, step: int) -> Tensor:
    """Rows (N, P) in descending order with one value per run of at most the extent of a plateau; the rows where there is none."""
    high, low = ordered[:, :-1], ordered[:, 1:]
    near = _apart(high, low) <= step
    if not bool((near & (high != low)).any()):
        return ordered
    begins = torch.cat([torch.ones_like(near[:, :1]), ~near], 1)
    run = begins.cumsum(1) - 1
    first = torch.zeros_like(ordered).scatter_reduce_(1, run, ordered, "amax", include_self=False)
    last = torch.zeros_like(ordered).scatter_reduce_(1, run, ordered, "amin", include_self=False)
    short = (_apart(first, last) <= _EXTENT).gather(1, run)
    return torch.where(short, first.gather(1, run), ordered)


def constant_rows(saliency: Tensor) -> Tensor:
    """(N,) bool: maps (N, H, W) that are one plateau. True for maps of one pixel; without meaning where there is none."""
    if saliency.numel() == 0:
        return torch.ones(len(saliency), dtype=torch.bool, device=saliency.device)
    values = saliency.flatten(1) if saliency.dtype == torch.float64 else saliency.flatten(1).float()
    return _apart(values.amax(1), values.amin(1)) <= _EXTENT


def score_dtype(saliency: Tensor) -> torch.dtype:
    """Of values of a map: float64 for float64 maps, else float32; half precision would round them."""
    return torch.float64 if saliency.dtype == torch.float64 else torch.float32


def _apart(high: Tensor, low: Tensor) -> Tensor:
    """(high - low) in units of the last place of the larger magnitude; 0 where they are equal, NaN where one is not finite."""
    unit = torch.finfo(high.dtype).eps * torch.maximum(high.abs(), low.abs())
    return torch.where(high == low, 0.0, (high - low) / unit)
