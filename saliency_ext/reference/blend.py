"""Reference of the renderer: each mask family as weights (N, S, H, W), and one formula for all."""

import math

import torch
from torch import Tensor


def blend(inputs: Tensor, infill: Tensor, weights: Tensor, mean: Tensor | None = None, std: Tensor | None = None) -> Tensor:
    """(keep * image + (1 - keep) * infill - mean) / std, as (S, N, C, H, W). weights: (S, H, W) or (N, S, H, W).

    Boolean weights choose (a hidden inf or nan stays hidden), float weights are arithmetic (0 * inf is nan).
    """
    keep = weights if weights.ndim == 4 else weights[None]
    keep = keep.transpose(0, 1)[:, :, None]
    mixed = torch.where(keep, inputs, infill) if keep.dtype == torch.bool else keep * inputs + (1 - keep) * infill
    return mixed if mean is None or std is None else (mixed - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)


def rank_weights(ranks: Tensor, counts: Tensor, head: bool) -> Tensor:
    """Keep rank < count (head) or rank >= count (tail). counts: (S,) or (N, S)."""
    kept = ranks[:, None] < (counts if counts.ndim == 2 else counts[None])[:, :, None, None]
    return kept if head else ~kept


def box_weights(boxes: Tensor, height: int, width: int) -> Tensor:
    """Keep what is outside [top, bottom) x [left, right). boxes: (..., 4)."""
    top, left, bottom, right = (edge[..., None, None] for edge in boxes.unbind(-1))
    y = torch.arange(height, device=boxes.device).view(-1, 1)
    x = torch.arange(width, device=boxes.device)
    return ~((y >= top) & (y < bottom) & (x >= left) & (x < right))


def segment_weights(segments: Tensor, coalitions: Tensor) -> Tensor:
    """Keep the segments whose bit is set, and pixels of no segment (label -1)."""
    bits = coalitions if coalitions.ndim == 3 else coalitions.expand(segments.shape[0], *coalitions.shape)
    always = bits.new_ones((*bits.shape[:2], 1))
    table = torch.cat([always, bits], -1)  # label -1 -> column 0
    labels = (segments.long() + 1).flatten(1)[:, None].expand(-1, bits.shape[1], -1)
    return table.gather(2, labels).reshape(*bits.shape[:2], *segments.shape[1:]).bool()


def grid_weights(grids: Tensor, shifts: Tensor, height: int, width: int, mirror: bool) -> Tensor:
    """Bits (..., h, w) upsampled to ((h + 1) ceil(H / h), ...) bilinearly with half-pixel centres, then cropped at the shift."""
    rows, columns = grids.shape[-2:]
    down = _interpolation(rows, height, shifts[..., 0], mirror)
    across = _interpolation(columns, width, shifts[..., 1], mirror)
    return down @ (grids != 0).float() @ across.transpose(-1, -2)


def _interpolation(cells: int, size: int, shift: Tensor, mirror: bool) -> Tensor:
    """Matrix (..., size, cells) that reads `size` pixels from `shift` on out of the upsampled axis."""
    cell = max(math.ceil(size / cells), 1)
    at = torch.arange(size, device=shift.device) + shift[..., None]
    place = (at.float() + 0.5) * (cells / ((cells + 1) * cell)) - 0.5
    below = place.floor().long()
    fraction = (place - below)[..., None]
    one_hot = torch.eye(cells, device=shift.device)

    def column(index: Tensor) -> Tensor:
        if mirror and cells > 1:
            index = torch.where(index < 0, -index, index)
            index = torch.where(index >= cells, 2 * cells - 2 - index, index)
        return one_hot[index.clamp(0, cells - 1)]

    return (1 - fraction) * column(below) + fraction * column(below + 1)
