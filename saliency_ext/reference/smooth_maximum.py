"""Reference of `smooth_maximum`, differentiable by autograd."""

import math

import torch
from torch import Tensor


def smooth_maximum(values: Tensor, size: tuple[int, int], step: int, sigma: float, inverse_temperature: float = 20.0) -> Tensor:
    """Smooth maximum of weighted neighbours, (N, C, H + 2 m, W + 2 m); see `saliency_ext.ops.smooth_maximum`."""
    away = torch.arange(step * (2 + math.ceil(sigma / step)), dtype=torch.float64, device=values.device)
    apart = (away[:, None] ** 2 + away**2).sqrt() / sigma
    weights = torch.exp(-2 * (apart - 0.5).clamp(min=0) ** 2).to(values.dtype)
    terms = weighted_neighbours(values, weights, size, step, round(sigma))
    return (terms * (inverse_temperature * terms).softmax(0)).sum(0)


def weighted_neighbours(values: Tensor, weights: Tensor, size: tuple[int, int], step: int, margin: int) -> Tensor:
    """(neighbours, N, C, H + 2 m, W + 2 m): the values of the cells around each pixel times their weights."""
    reach = len(weights) // step - 1
    y, x = (torch.arange(-margin, length + margin, device=values.device) for length in size)
    grid = values if values.shape[2] * values.shape[3] > 0 else values.new_zeros(*values.shape[:2], 1, 1)
    result = []
    for down in range(-reach, reach + 1):
        for across in range(-reach, reach + 1):
            row, column = (torch.div(at, step, rounding_mode="floor") + shift for at, shift in ((y, down), (x, across)))
            inside = ((row >= 0) & (row < values.shape[2]))[:, None] & (column >= 0) & (column < values.shape[3])
            rows, columns = row.clamp(0, grid.shape[2] - 1)[:, None], column.clamp(0, grid.shape[3] - 1)
            weight = weights[(y - step * row).abs()[:, None], (x - step * column).abs()]
            result.append(torch.where(inside, weight * grid[:, :, rows, columns], 0))
    return torch.stack(result)
