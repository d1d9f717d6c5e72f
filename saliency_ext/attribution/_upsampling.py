"""Upsampling of a layer's cells to the pixels of the image."""

import torch
from torch import Tensor


def upsampled(coarse: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (N, T, h, w) at (H, W): bilinear, half-pixel centres, the border held.

    As torch.nn.functional.interpolate(mode="bilinear", align_corners=False), but exact where cells are equal: a + w (b - a) is a
    where b = a, while (1 - w) a + w b is a to rounding, and not equally on every processor. So the flat border of a map is flat.

    Example:
        >>> upsampled(torch.tensor([[[[0.1, 0.3]]]]), (2, 4))[0, 0, 0]
        tensor([0.1000, 0.1500, 0.2500, 0.3000])
    """
    return _along(_along(coarse, 2, size[0]), 3, size[1])


def _along(values: Tensor, dim: int, length: int) -> Tensor:
    cells = values.shape[dim]
    at = (torch.arange(length, dtype=torch.float64, device=values.device) + 0.5) * (cells / length) - 0.5
    at = at.clamp(0, cells - 1)
    low = at.floor().long()
    weight = (at - low).to(values.dtype).view(-1, *[1] * (values.ndim - 1 - dim))
    return torch.lerp(values.index_select(dim, low), values.index_select(dim, (low + 1).clamp(max=cells - 1)), weight)
