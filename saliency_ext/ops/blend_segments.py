"""The renderer for coalitions: whole segments are kept or removed."""

import torch
from torch import Tensor

from .. import reference
from ..checks import require_device, require_dtype, require_range, require_shape, require_tensor
from ._arguments import Channels, per_step, refuse_vmap, rendering
from .native import Definition, call, define


def blend_segments(
    inputs: Tensor,
    infill: Tensor | float,
    segments: Tensor,
    coalitions: Tensor,
    *,
    mean: Channels | None = None,
    std: Channels | None = None,
    dtype: torch.dtype | None = None,
    memory_format: torch.memory_format = torch.contiguous_format,
    out: Tensor | None = None,
) -> Tensor:
    """The masked inputs of LIME, SHAP and their kin: at each step a coalition of segments is kept, the others are infill.

    Pixel p of image n is kept where coalitions[s, segments[n, p]] is True. Label -1 belongs to no segment: always kept.

    Args:
        inputs, infill, mean, std, dtype, memory_format, out: as in `blend_rank`.
        segments: (N, H, W) int32 or int64 labels in [-1, K).
        coalitions: (S, K) or per image (N, S, K) bool, True = kept.

    Returns:
        (S, N, C, H, W).

    Raises:
        As `blend_rank`; TypeError: labels are not integers or coalitions not bool. ValueError: a label out of [-1, K), where
        labels are on the host.

    Note:
        As `blend_rank`. Labels on an accelerator are not read back; there an unknown label is always kept.
        Reference: `saliency_ext.reference.blend` of `segment_weights`.

    Example:
        >>> import torch
        >>> labels = torch.tensor([[[0, 1, 1, -1]]])
        >>> blend_segments(torch.ones(1, 1, 1, 4), 0.0, labels, torch.tensor([[True, False]])).flatten()
        tensor([1., 0., 0., 1.])
    """
    function = "blend_segments"
    task = rendering(function, inputs, infill, mean=mean, std=std, dtype=dtype, memory_format=memory_format)
    require_tensor(function, "segments", segments)
    require_dtype(function, "segments", segments, (torch.int32, torch.int64))
    require_shape(function, "segments", segments, "(N, H, W)", (inputs.shape[0], *inputs.shape[2:]))
    require_device(function, "segments", segments, inputs, "inputs")
    require_dtype(function, "coalitions", require_tensor(function, "coalitions", coalitions), (torch.bool,))
    bits = per_step(function, "coalitions", coalitions, torch.uint8, inputs.shape[0], "K", inputs)
    require_range(function, "segments", segments, -1, coalitions.shape[-1] - 1)
    refuse_vmap(function, segments, coalitions)
    result = task.output(function, coalitions.shape[-2], out, {"segments": segments, "coalitions": coalitions})
    # What int32 cannot hold is no segment either.
    labels = segments if segments.dtype == torch.int32 else segments.clamp(-1, 2**31 - 1).int()
    call(function, task.inputs, task.infill, labels, bits, task.mean, task.std, result)
    return result


def _fake(*_: object) -> None:
    pass


def _reference(
    inputs: Tensor,
    infill: Tensor,
    segments: Tensor,
    coalitions: Tensor,
    mean: Tensor | None,
    std: Tensor | None,
    out: Tensor,
) -> None:
    weights = reference.segment_weights(segments, coalitions)
    out.copy_(reference.blend(inputs, infill, weights, mean, std))


define("blend_segments", Definition(fake=_fake, reference=_reference))
