"""Histograms of oriented gradients of many maps at once, as scikit-image defines them."""

import torch
from torch import Tensor

BLOCK = 3  # cells along a side of a block
CELL = 8  # pixels along a side of a cell, unless said otherwise
_ORIENTATIONS = 9
_EPS, _MOST = 1e-5, 0.2


def oriented_gradients(maps: Tensor, cell: int) -> Tensor:
    """(B, F): 9 orientations per cell, in blocks of 3 x 3 cells normalised by L2-Hys [Dalal 2005], F = 81 per block.

    What `skimage.feature.hog` gives with `orientations=9, cells_per_block=(3, 3)`, pixel by pixel: central differences (0 at the
    border), each gradient's length added to the orientation it has, in [0, 180) degrees, of the cell it is in.

    Args:
        maps: (B, H, W) float64 of at least 3 cells along each side.
        cell: pixels along a side of a cell; pixels beyond the last whole cell are left out.
    """
    count, height, width = maps.shape
    rows, columns = height // cell, width // cell
    down, across = torch.zeros_like(maps), torch.zeros_like(maps)
    down[:, 1:-1] = maps[:, 2:] - maps[:, :-2]
    across[:, :, 1:-1] = maps[:, :, 2:] - maps[:, :, :-2]
    size = torch.hypot(down, across)[:, : rows * cell, : columns * cell]
    degrees = torch.rad2deg(torch.atan2(down, across))[:, : rows * cell, : columns * cell] % 180
    orientation = (degrees / (180 / _ORIENTATIONS)).long()
    size = torch.where(orientation < _ORIENTATIONS, size, 0)  # a tiny negative angle rounds to 180: it is counted nowhere
    at_row, at_column = torch.arange(rows * cell) // cell, torch.arange(columns * cell) // cell
    place = (at_row[:, None] * columns + at_column) * _ORIENTATIONS + orientation.clamp(max=_ORIENTATIONS - 1)
    cells = maps.new_zeros(count, rows * columns * _ORIENTATIONS).scatter_add_(1, place.flatten(1), size.flatten(1))
    cells = cells.view(count, rows, columns, _ORIENTATIONS) / cell**2
    blocks = cells.unfold(1, BLOCK, 1).unfold(2, BLOCK, 1).permute(0, 1, 2, 4, 5, 3).flatten(3)
    blocks = _normalised(_normalised(blocks).clamp(max=_MOST))
    return blocks.flatten(1)


def _normalised(blocks: Tensor) -> Tensor:
    return blocks / (blocks.square().sum(-1, keepdim=True) + _EPS**2).sqrt()
