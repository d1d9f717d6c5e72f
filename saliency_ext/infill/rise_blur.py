"""The blurred infill that the published RISE code uses for insertion."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from ..ops.gaussian_blur import gaussian_blur
from ..protocols import InfillInfo
from .base import BaseInfill

_SIDE, _SIGMA = 11, 5.0


@dataclass(frozen=True)
class RiseBlur(BaseInfill):
    """Infill of the published RISE insertion curve: the image convolved with an 11 x 11 kernel, zeros outside the image.

    infill[n, c, h, w] = sum over i, j in -5 .. 5 of k[i] k[j] inputs[n, c, h + i, w + j]  [Petsiuk 2018, code], with
    k[i] = sum over integers m of g(i + 11 m), g the Gaussian of sigma 5 cut at 4 sigma and divided by its sum.

    k is what filtering an impulse in the middle of 11 pixels gives, when the picture is mirrored at its borders (the border
    pixel repeated) and so the tails are folded back in. It is therefore no Gaussian: nearly flat, centre over corner 1.14
    where a Gaussian of sigma 5 has 2.72; it sums to 1. A constant image keeps 0.55 of
    its value at an edge and 0.30 in a corner. For a plain blur see `Blur`.

    Returns:
        `fill`: (N, C, H, W), dtype and device of the inputs.

    Raises:
        TypeError, ValueError: as `fill`.

    Note:
        Deterministic: a sum in fixed order, so the batch does not change the bits, and no TF32. The published code rounds the
        kernel to float32 and sums in the order of its convolution: results agree to float32 rounding. Memory: three images'
        worth per input.

    Example:
        >>> import torch
        >>> dot = torch.zeros(1, 1, 11, 11)
        >>> dot[0, 0, 5, 5] = 1
        >>> kernel = RiseBlur().fill(dot, torch.arange(1))[0, 0]
        >>> round(float(kernel.sum()), 4), round(float(kernel[5, 5] / kernel[0, 0]), 2)
        (1.0, 1.14)

    References:
        Petsiuk, Das, Saenko: RISE, randomized input sampling for explanation of black-box models, 2018 (arXiv 1806.07421).
    """

    info: ClassVar[InfillInfo] = InfillInfo("rise_blur", "the insertion infill of the published RISE code", "Petsiuk 2018")

    def _fill(self, inputs: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        return _along(_along(inputs, 2), 3)


def _along(values: Tensor, dim: int) -> Tensor:
    """Convolution with k along one axis. Product and sum are two roundings everywhere: a fused one would depend on the place."""
    size, radius = values.shape[dim], _SIDE // 2
    padding = (radius, radius) if dim == 3 else (0, 0, radius, radius)
    padded = torch.nn.functional.pad(values, padding)
    result = torch.zeros_like(values, memory_format=torch.contiguous_format)
    for offset, weight in enumerate(_kernel()):
        result += padded.narrow(dim, offset, size) * weight
    return result


@lru_cache(maxsize=1)
def _kernel() -> tuple[float, ...]:
    """The 11 weights k. An impulse in the middle of 11 mirrored pixels is an impulse in every 11th pixel of a line."""
    line = torch.zeros(1, 1, 1, 5 * _SIDE, dtype=torch.float64)
    line[..., _SIDE // 2 :: _SIDE] = 1
    return tuple(gaussian_blur(line, _SIGMA).flatten()[2 * _SIDE : 3 * _SIDE].tolist())
