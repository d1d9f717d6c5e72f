"""The kernels as functions. Each file holds one op: the function, its fake kernel, its autograd and its fallback."""

from . import native
from .blend_boxes import blend_boxes
from .blend_dense import blend_dense
from .blend_grids import blend_grids
from .blend_rank import blend_rank
from .blend_rank_update import blend_rank_
from .blend_segments import blend_segments
from .gaussian_blur import gaussian_blur
from .linear_infill import linear_infill
from .mask_state import MaskRule, MaskState, Resizing
from .mask_step import mask_step_
from .noise import philox_normal, philox_uniform
from .rank import rank
from .smooth_maximum import smooth_maximum
from .topk_mask import topk_mask
from .total_variation import total_variation, total_variation_with_grad

__all__ = [
    "MaskRule",
    "MaskState",
    "Resizing",
    "blend_boxes",
    "blend_dense",
    "blend_grids",
    "blend_rank",
    "blend_rank_",
    "blend_segments",
    "gaussian_blur",
    "linear_infill",
    "mask_step_",
    "native",
    "philox_normal",
    "philox_uniform",
    "rank",
    "smooth_maximum",
    "topk_mask",
    "total_variation",
    "total_variation_with_grad",
]
