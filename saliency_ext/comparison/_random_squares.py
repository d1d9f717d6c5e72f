"""Random squares of an image that miss its object."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from .. import rng_streams
from ..ops import philox_uniform


def away_from(
    truth: Tensor | None, sample_ids: Tensor, size: tuple[int, int], area: float, squares: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Keep-masks (N, R, H, W) float32 of random squares that miss the truth (N, H, W), and (N,) whether any square does.

    Every place where a square misses the object is as likely; an image without such a place gets squares anywhere.
    """
    height, width = size
    side = max(1, min(round(math.sqrt(area * height * width)), height, width))
    rows, columns = height - side + 1, width - side + 1
    if truth is None:
        free = torch.ones(len(sample_ids), rows * columns, dtype=torch.bool)
    else:
        free = functional.max_pool2d(truth[:, None].float(), side, 1)[:, 0].flatten(1) == 0
    fits = free.any(1)
    counted = (free | ~fits[:, None]).long().cumsum(1)
    u = philox_uniform((1, 1, squares), sample_ids, seed=seed, stream=rng_streams.REGION)[:, 0, 0].double()
    wanted = (u * counted[:, -1:]).long() + 1
    place = torch.searchsorted(counted, wanted)
    top, left = (place // columns)[..., None, None], (place % columns)[..., None, None]
    down, across = torch.arange(height)[:, None], torch.arange(width)
    inside = (down >= top) & (down < top + side) & (across >= left) & (across < left + side)
    return (~inside).float(), fits
