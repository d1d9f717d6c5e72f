"""The renderer for float masks, differentiable in mask, inputs and infill."""

from typing import Any

import torch
from torch import Tensor

from .. import reference
from ..checks import bad_value, require_dtype, require_shape, require_tensor
from ._arguments import Channels, derivative_of, per_step, refuse_vmap, rendering
from .native import Definition, call, define


def blend_dense(
    inputs: Tensor,
    infill: Tensor | float,
    mask: Tensor,
    *,
    mean: Channels | None = None,
    std: Channels | None = None,
    dtype: torch.dtype | None = None,
    memory_format: torch.memory_format = torch.contiguous_format,
    out: Tensor | None = None,
) -> Tensor:
    """Image and infill mixed by a float mask: (mask * inputs + (1 - mask) * infill - mean) / std.

    Args:
        inputs, infill, mean, std, dtype, memory_format, out: as in `blend_rank`; inputs and infill may require grad.
        mask: (S, H, W) or per image (N, S, H, W), dtype of the inputs; 1 = the image shows. Not clamped to [0, 1].

    Returns:
        (S, N, C, H, W).

    Raises:
        As `blend_rank`, but gradients are welcome; ValueError: `out` given while a gradient is needed.

    Note:
        Deterministic. Differentiable once in mask, inputs and infill, in reverse mode (sums in a fixed order, no atomics; the
        upstream gradient is taken in the inputs' dtype) and in forward mode; a second derivative is refused. Backward memory:
        one gradient per operand. mean and std are constants. Reference: `saliency_ext.reference.blend`.

    Example:
        >>> import torch
        >>> mask = torch.full((1, 1, 1), 0.25, requires_grad=True)
        >>> blend_dense(torch.full((1, 1, 1, 1), 8.0), 4.0, mask).sum().backward()
        >>> mask.grad
        tensor([[[4.]]])
    """
    function = "blend_dense"
    task = rendering(function, inputs, infill, mean=mean, std=std, dtype=dtype, memory_format=memory_format, differentiable=True)
    require_dtype(function, "mask", require_tensor(function, "mask", mask), (inputs.dtype,), "the mask has the inputs' dtype")
    mask = per_step(function, "mask", mask, mask.dtype, inputs.shape[0], "H, W", inputs)
    require_shape(function, "mask", mask, "(..., H, W)", (*mask.shape[:-2], *inputs.shape[2:]))
    if out is None:
        return call(  # type: ignore[no-any-return]
            function, task.inputs, task.infill, mask, task.mean, task.std, task.dtype, task.channels_last
        )
    if derivative_of(mask, task.inputs, task.infill) is not None:
        bad_value(function, "out", "None where a gradient is needed", "a tensor", "call it under torch.no_grad()")
    refuse_vmap(function, mask, task.inputs, task.infill)
    result = task.output(function, mask.shape[-3], out, {"mask": mask})
    call("blend_dense_out", task.inputs, task.infill, mask, task.mean, task.std, result)
    return result


def _fake(
    inputs: Tensor,
    infill: Tensor,
    mask: Tensor,
    mean: Tensor | None,
    std: Tensor | None,
    dtype: torch.dtype,
    channels_last: bool,
) -> Tensor:
    n, c, h, w = inputs.shape
    if channels_last:
        return inputs.new_empty((mask.shape[-3], n, h, w, c), dtype=dtype).permute(0, 1, 4, 2, 3)
    return inputs.new_empty((mask.shape[-3], n, c, h, w), dtype=dtype)


def _reference(
    inputs: Tensor,
    infill: Tensor,
    mask: Tensor,
    mean: Tensor | None,
    std: Tensor | None,
    dtype: torch.dtype,
    channels_last: bool,
) -> Tensor:
    out = _fake(inputs, infill, mask, mean, std, dtype, channels_last)
    return out.copy_(reference.blend(inputs, infill, mask, mean, std))


def _fake_out(*_: object) -> None:
    pass


def _reference_out(inputs: Tensor, infill: Tensor, mask: Tensor, mean: Tensor | None, std: Tensor | None, out: Tensor) -> None:
    out.copy_(reference.blend(inputs, infill, mask, mean, std))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    images, infill, mask, _mean, std, _dtype, _channels_last = inputs
    ctx.save_for_backward(images, infill, mask, std)


def _tangent(result: Tensor, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Tensor:
    """d out = (dm (image - infill) + m d image + (1 - m) d infill) / std."""
    images, infill, mask, _mean, std, _dtype, _channels_last = primals
    parts = []
    if tangents[2] is not None:
        parts.append(_per_step(tangents[2]) * (images - infill))
    if tangents[0] is not None:
        parts.append(_per_step(mask) * tangents[0])
    if tangents[1] is not None:
        parts.append((1 - _per_step(mask)) * tangents[1])
    total = torch.broadcast_to(sum(parts[1:], parts[0]), result.shape)
    scaled = total if std is None else total / std.view(-1, 1, 1)
    return scaled.to(result.dtype)


def _per_step(mask: Tensor) -> Tensor:
    """(S, N or 1, 1, H, W)."""
    return (mask if mask.ndim == 4 else mask[None]).transpose(0, 1)[:, :, None]


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    images, infill, mask, std = ctx.saved_tensors
    by_mask, by_inputs, by_infill = call("blend_dense_backward", gradient.to(images.dtype), images, infill, mask, std)
    if mask.ndim == 3:
        by_mask = by_mask.sum(0)
    return by_inputs, by_infill, by_mask, None, None, None, None


def _fake_backward(
    gradient: Tensor, inputs: Tensor, infill: Tensor, mask: Tensor, std: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    by_mask = inputs.new_empty((inputs.shape[0], gradient.shape[0], *inputs.shape[2:]))
    return by_mask, inputs.new_empty(inputs.shape), inputs.new_empty(inputs.shape)


def _reference_backward(
    gradient: Tensor, inputs: Tensor, infill: Tensor, mask: Tensor, std: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    g = gradient if std is None else gradient / std.view(-1, 1, 1)
    keep = _per_step(mask)
    by_mask = (g * (inputs - infill)).sum(2).transpose(0, 1).contiguous()
    return by_mask, (g * keep).sum(0), (g * (1 - keep)).sum(0)


def _setup_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    pass


def _refuse(ctx: Any, *gradients: Tensor) -> None:
    raise RuntimeError("blend_dense: expected one backward pass, got a second; double backward is not supported")


define("blend_dense", Definition(_fake, _reference, _backward, _setup_context, _tangent))
define("blend_dense_out", Definition(_fake_out, _reference_out))
define("blend_dense_backward", Definition(_fake_backward, _reference_backward, _refuse, _setup_nothing))
