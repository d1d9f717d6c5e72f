"""The renderer for occlusion: everything but a window is kept."""

import torch
from torch import Tensor

from .. import reference
from ..checks import bad_value, require_dtype, require_tensor
from ._arguments import Channels, per_step, refuse_vmap, rendering
from .native import Definition, call, define


def blend_boxes(
    inputs: Tensor,
    infill: Tensor | float,
    boxes: Tensor,
    *,
    mean: Channels | None = None,
    std: Channels | None = None,
    dtype: torch.dtype | None = None,
    memory_format: torch.memory_format = torch.contiguous_format,
    out: Tensor | None = None,
) -> Tensor:
    """The masked inputs of an occlusion: at each step one window is infill, the rest is the image.

    Pixel (y, x) is removed where top <= y < bottom and left <= x < right. A window may stick out of the image (it is clipped)
    or be empty (nothing is removed).

    Args:
        inputs, infill, mean, std, dtype, memory_format, out: as in `blend_rank`.
        boxes: (S, 4) or per image (N, S, 4) integers: top, left, bottom, right.

    Returns:
        (S, N, C, H, W).

    Raises:
        As `blend_rank`; TypeError: boxes are not int32 or int64.

    Note:
        As `blend_rank`. Reference: `saliency_ext.reference.blend` of `box_weights`.

    Example:
        >>> import torch
        >>> blend_boxes(torch.ones(1, 1, 2, 2), 0.0, torch.tensor([[0, 1, 2, 2]])).flatten()
        tensor([1., 0., 1., 0.])
    """
    function = "blend_boxes"
    task = rendering(function, inputs, infill, mean=mean, std=std, dtype=dtype, memory_format=memory_format)
    require_dtype(function, "boxes", require_tensor(function, "boxes", boxes), (torch.int32, torch.int64))
    windows = per_step(function, "boxes", boxes, boxes.dtype, inputs.shape[0], "4", inputs)
    if boxes.shape[-1] != 4:
        bad_value(function, "boxes", "of shape (S, 4) or (N, S, 4)", tuple(boxes.shape))
    refuse_vmap(function, boxes)
    result = task.output(function, boxes.shape[-2], out, {"boxes": windows})
    limit = 2**30  # far outside any image, well inside int32
    call(function, task.inputs, task.infill, windows.clamp(-limit, limit).int(), task.mean, task.std, result)
    return result


def _fake(*_: object) -> None:
    pass


def _reference(inputs: Tensor, infill: Tensor, boxes: Tensor, mean: Tensor | None, std: Tensor | None, out: Tensor) -> None:
    height, width = inputs.shape[2:]
    weights = reference.box_weights(boxes, height, width)
    out.copy_(reference.blend(inputs, infill, weights, mean, std))


define("blend_boxes", Definition(fake=_fake, reference=_reference))
