"""The incremental perturbation curve: change in place only the pixels of one step."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..checks import (
    bad_value,
    on_host,
    require_device,
    require_dtype,
    require_integer,
    require_ndim,
    require_shape,
    require_tensor,
)
from ._arguments import refuse_derivative, refuse_overlap, refuse_vmap, step_counts
from .blend_rank import check_ranks
from .native import Definition, call, define

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def blend_rank_(
    canvas: Tensor,
    source: Tensor,
    ranks: Tensor,
    lo: int | Sequence[int] | Tensor,
    hi: int | Sequence[int] | Tensor,
) -> Tensor:
    """Rewrites in place exactly the pixels with lo <= rank < hi; the others are not touched.

    canvas[n, :, p] = source[n, :, p] where lo <= ranks[n, p] < hi. Walking lo, hi over the counts of a curve turns the clean
    image into the infill (source = infill: deletion) or back (source = image: insertion) with as many pixel writes as there are
    pixels, instead of a whole image per step. Bits are moved, nothing is computed: normalise and cast both tensors beforehand.

    Args:
        canvas: (N, C, H, W) float32, float64, bfloat16 or float16, any strides without overlap; changed and returned.
        source: (N, C, H, W), dtype and device of the canvas, any strides (expanded is fine).
        ranks: (N, H, W) int32.
        lo, hi: counts in [0, H W], each one for all images or (N,), with lo <= hi (nothing happens where lo = hi).

    Returns:
        canvas.

    Raises:
        TypeError: wrong dtypes. ValueError: wrong shapes or devices; canvas overlaps itself or the source; lo or hi out of
        range or lo > hi (where on the host). RuntimeError: the canvas requires grad.

    Note:
        Deterministic. No memory is allocated but for lo and hi. Bounds on an accelerator are not read back; there lo > hi
        changes nothing. Not differentiable.

    Example:
        >>> import torch
        >>> canvas, ranks = torch.ones(1, 1, 1, 3), torch.tensor([[[2, 0, 1]]], dtype=torch.int32)
        >>> blend_rank_(canvas, torch.zeros(1, 1, 1, 3), ranks, 0, 2).flatten()
        tensor([1., 0., 0.])
    """
    function = "blend_rank_"
    require_tensor(function, "canvas", canvas)
    require_dtype(function, "canvas", canvas, _DTYPES)
    require_ndim(function, "canvas", canvas, "(N, C, H, W)")
    refuse_vmap(function, canvas)
    if not torch.compiler.is_compiling() and _may_overlap_itself(canvas):
        bad_value(function, "canvas", "not to overlap itself", f"strides {canvas.stride()}", "call .contiguous() on it")
    require_tensor(function, "source", source)
    require_dtype(function, "source", source, (canvas.dtype,), "the source has the canvas' dtype")
    require_shape(function, "source", source, "(N, C, H, W)", canvas.shape)
    require_device(function, "source", source, canvas, "canvas")
    check_ranks(function, ranks, canvas)
    refuse_vmap(function, source, ranks)
    refuse_overlap(function, {"canvas": canvas}, {"source": source, "ranks": ranks}, "clone one of them")
    refuse_derivative(function, "canvas and source", "call it under torch.no_grad()", canvas, source)
    if type(lo) is int and type(hi) is int:  # the usual case, without the cost of tensors: a step is short
        pixels = canvas.shape[2] * canvas.shape[3]
        for name, bound in (("lo", lo), ("hi", hi)):
            require_integer(function, name, bound, 0, pixels)
        if lo > hi:
            bad_value(function, "lo and hi", "lo <= hi", f"lo = [{lo}], hi = [{hi}]")
        call("blend_rank_update", canvas, source, ranks, *torch.tensor(((lo,), (hi,)), device=canvas.device).unbind())
        return canvas
    low, high = (_bound(name, bound, canvas) for name, bound in (("lo", lo), ("hi", hi)))
    if low.shape != high.shape:
        low, high = (bound.expand(canvas.shape[0]) for bound in (low, high))
    refuse_overlap(function, {"canvas": canvas}, {"lo": low, "hi": high}, "clone one of them")
    if on_host(low) and on_host(high) and (low > high).any():
        bad_value(function, "lo and hi", "lo <= hi", f"lo = {low.tolist()}, hi = {high.tolist()}")
    call("blend_rank_update", canvas, source, ranks, low, high)
    return canvas


def _bound(name: str, bound: int | Sequence[int] | Tensor, canvas: Tensor) -> Tensor:
    counts = step_counts("blend_rank_", name, [bound] if isinstance(bound, int) else bound, canvas, ndims=(0, 1)).reshape(-1)
    if counts.shape[0] not in (1, canvas.shape[0]):
        bad_value("blend_rank_", name, f"one count or N = {canvas.shape[0]} of them", tuple(counts.shape))
    return counts


def _may_overlap_itself(tensor: Tensor) -> bool:
    """Whether some dimension, from the smallest stride up, steps by less than the ones before it reach."""
    reach = 1
    for stride, size in sorted((stride, size) for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1):
        if stride < reach:
            return tensor.numel() > 0
        reach += (size - 1) * stride
    return False


def _fake(*_: object) -> None:
    pass


def _reference(canvas: Tensor, source: Tensor, ranks: Tensor, lo: Tensor, hi: Tensor) -> None:
    changed = (ranks >= lo.view(-1, 1, 1)) & (ranks < hi.view(-1, 1, 1))
    canvas.copy_(torch.where(changed[:, None], source, canvas))


define("blend_rank_update", Definition(fake=_fake, reference=_reference))
