"""The ops in naive torch: specification, test oracle, and the kernel for devices we have none for.

Written to be read, not to be fast.
"""

from .blend import blend, box_weights, grid_weights, rank_weights, segment_weights
from .gaussian_blur import gaussian_blur
from .linear_infill import linear_infill
from .mask_step import mask_step
from .noise import philox_normal, philox_uniform, philox_words
from .rank import rank, topk_mask
from .smooth_maximum import smooth_maximum, weighted_neighbours
from .total_variation import total_variation

__all__ = [
    "blend",
    "box_weights",
    "gaussian_blur",
    "grid_weights",
    "linear_infill",
    "mask_step",
    "philox_normal",
    "philox_uniform",
    "philox_words",
    "rank",
    "rank_weights",
    "segment_weights",
    "smooth_maximum",
    "topk_mask",
    "total_variation",
    "weighted_neighbours",
]
