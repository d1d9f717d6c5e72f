"""Reference of `gaussian_blur`: a sum over shifted copies, one axis after the other, in float64."""

import math

import torch
from torch import Tensor


def gaussian_blur(inputs: Tensor, sigma: float, border: str = "reflect") -> Tensor:
    """Blurred (N, C, H, W); see `saliency_ext.ops.gaussian_blur` for the kernel and the borders."""
    if sigma == 0:
        return inputs.clone()
    return _along(_along(inputs.double(), 2, sigma, border), 3, sigma, border).to(inputs.dtype)


def _along(values: Tensor, dim: int, sigma: float, border: str) -> Tensor:
    size, radius = values.shape[dim], int(4 * sigma + 0.5)
    kernel = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)]
    result = torch.zeros_like(values)
    inside = torch.zeros(size, dtype=torch.float64, device=values.device)
    for offset, weight in zip(range(-radius, radius + 1), kernel, strict=True):
        index = torch.arange(size, device=values.device) + offset
        valid = (index >= 0) & (index < size)
        if border == "reflect":  # ... 2 1 | 0 1 2 ... : period 2 (size - 1), the border pixel is not repeated
            period = max(2 * (size - 1), 1)
            index = index % period
            index = torch.where(index >= size, period - index, index)
        shifted = values.index_select(dim, index.clamp(0, size - 1))
        share = weight / sum(kernel)
        if border in ("zero", "renormalise"):
            shape = [1] * values.ndim
            shape[dim] = size
            shifted = shifted * valid.view(shape)
        inside += share * valid.double()
        result += share * shifted
    if border == "renormalise":
        shape = [1] * values.ndim
        shape[dim] = size
        result /= inside.view(shape)
    return result
