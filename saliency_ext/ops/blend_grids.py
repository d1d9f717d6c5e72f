"""The renderer for RISE: random low-resolution grids, upsampled and shifted, never stored."""

import math

import torch
from torch import Tensor

from .. import reference
from ..checks import bad_value, require_choice, require_dtype, require_range, require_tensor
from ._arguments import Channels, per_step, refuse_vmap, rendering
from .native import Definition, call, define

_BORDERS = ("mirror", "clamp")


def blend_grids(
    inputs: Tensor,
    infill: Tensor | float,
    grids: Tensor,
    shifts: Tensor,
    *,
    border: str = "mirror",
    mean: Channels | None = None,
    std: Channels | None = None,
    dtype: torch.dtype | None = None,
    memory_format: torch.memory_format = torch.contiguous_format,
    out: Tensor | None = None,
) -> Tensor:
    """The masked inputs of RISE [Petsiuk 2018, Sec. 3.2]: image * m + infill * (1 - m), m made from a few grid bits.

    m is the grid (h, w), resized bilinearly with half-pixel centres to ((h + 1) ceil(H / h), (w + 1) ceil(W / w)) and cropped
    to (H, W) at the shift. A mask is h w bits and two shifts; it is computed where it is used and never stored.

    Args:
        inputs, infill, mean, std, dtype, memory_format, out: as in `blend_rank`.
        grids: (S, h, w) or per image (N, S, h, w) bool, True = kept.
        shifts: (S, 2) or (N, S, 2) integers: y in [0, ceil(H / h)), x in [0, ceil(W / w)).
        border: what lies outside the grid: "mirror" (as the published masks: the border cell is not repeated) or "clamp".

    Returns:
        (S, N, C, H, W).

    Raises:
        As `blend_rank`; TypeError: grids are not bool. ValueError: an empty grid; shifts out of range (where on the host) or
        not per image exactly when grids are; unknown border.

    Note:
        As `blend_rank`, but mixing is arithmetic in float32: equal on CPU and CUDA, equal to the reference within rounding.
        Reference: `saliency_ext.reference.blend` of `grid_weights`.

    Example:
        >>> import torch
        >>> grid = torch.tensor([[[True, False]]])
        >>> blend_grids(torch.ones(1, 1, 1, 4), 0.0, grid, torch.tensor([[0, 0]]), border="clamp").flatten()
        tensor([1.0000, 1.0000, 0.6667, 0.3333])
    """
    function = "blend_grids"
    task = rendering(function, inputs, infill, mean=mean, std=std, dtype=dtype, memory_format=memory_format)
    mirror = require_choice(function, "border", border, _BORDERS) == 0
    require_dtype(function, "grids", require_tensor(function, "grids", grids), (torch.bool,))
    bits = per_step(function, "grids", grids, torch.uint8, inputs.shape[0], "h, w", inputs)
    rows, columns = grids.shape[-2:]
    if rows == 0 or columns == 0:
        bad_value(function, "grids", "of at least one cell", tuple(grids.shape))
    require_dtype(function, "shifts", require_tensor(function, "shifts", shifts), (torch.int32, torch.int64))
    offsets = per_step(function, "shifts", shifts, torch.int32, inputs.shape[0], "2", inputs)
    if shifts.shape != (*grids.shape[:-2], 2):
        bad_value(function, "shifts", f"of shape {(*grids.shape[:-2], 2)} to match grids", tuple(shifts.shape))
    for axis, (size, cells) in enumerate(zip(inputs.shape[2:], (rows, columns), strict=True)):
        require_range(function, "shifts", shifts[..., axis], 0, max(math.ceil(size / cells) - 1, 0))
    refuse_vmap(function, grids, shifts)
    result = task.output(function, grids.shape[-3], out, {"grids": grids, "shifts": shifts})
    call(function, task.inputs, task.infill, bits, offsets, mirror, task.mean, task.std, result)
    return result


def _fake(*_: object) -> None:
    pass


def _reference(
    inputs: Tensor,
    infill: Tensor,
    grids: Tensor,
    shifts: Tensor,
    mirror: bool,
    mean: Tensor | None,
    std: Tensor | None,
    out: Tensor,
) -> None:
    height, width = inputs.shape[2:]
    weights = reference.grid_weights(grids, shifts, height, width, mirror)
    out.copy_(reference.blend(inputs, infill, weights.to(inputs.dtype), mean, std))


define("blend_grids", Definition(fake=_fake, reference=_reference))
