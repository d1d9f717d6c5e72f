"""Infill by the mean colour of each image."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..protocols import InfillInfo
from .base import BaseInfill


@dataclass(frozen=True)
class ImageMean(BaseInfill):
    """Infill of each image's own mean colour.

    infill[n, c, h, w] = sum over u, v of inputs[n, c, u, v] / (H W), of the clean image, once: it does not follow what was
    removed already.

    Returns:
        `fill`: (N, C, 1, 1), dtype and device of the inputs.

    Raises:
        TypeError, ValueError: as `fill`.

    Note:
        Deterministic: summed in float64 by halving, in an order that depends on H W alone, so neither batch, strides, threads
        nor device change the bits. Memory: one float64 copy of the inputs. A non-finite pixel makes its channel's mean
        non-finite.

    Example:
        >>> import torch
        >>> ImageMean().fill(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]), torch.arange(1)).flatten()
        tensor([3.])
    """

    info: ClassVar[InfillInfo] = InfillInfo("image_mean", "the mean colour of the image itself")

    def _fill(self, inputs: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        sums = inputs.flatten(2).to(torch.float64, copy=True)
        pixels = size = sums.shape[2]
        while size > 1:
            half = (size + 1) // 2
            sums[..., : size - half] += sums[..., half:size]
            size = half
        return (sums[..., :1] * (1.0 / max(pixels, 1))).to(inputs.dtype)[..., None]
