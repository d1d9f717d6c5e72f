"""One step of a mask optimiser: everything outside the model."""

import torch
from torch import Tensor

from .. import reference
from ..checks import bad_value, on_host, require_device, require_dtype, require_ndim, require_range, require_shape, require_tensor
from ._arguments import COMPUTE_DTYPES, refuse_derivative, refuse_overlap, refuse_vmap
from .mask_state import KINDS, MaskRule, MaskState, Resizing
from .native import Definition, call, define


def mask_step_(
    gradient: Tensor | None,
    inputs: Tensor,
    infill: Tensor,
    places: Tensor,
    next_places: Tensor,
    state: MaskState,
    out: Tensor,
    *,
    resizing: Resizing,
    rule: MaskRule,
) -> None:
    """Moves masks by one optimiser step and renders the masked inputs of the next one, in place, in one pass.

    With M the mask, x a window of an image and b one of an infill, masked = M x + (1 - M) b, in this order:
        1. d loss / d M = sum over infills and channels of gradient * (x - b), plus the slopes of area and variation;
        2. pulled back through the resizing to the cells, and through the softmax to the parameters, where they are logits;
        3. Adam or momentum; parameters that are the cells are clamped to [0, 1];
        4. cells, mask, and `out` = masked inputs at `next_places`.

    Args:
        gradient: (R, P, U, C, H, W) of the loss by what `out` held; None: only 4., before the first step.
        inputs: (N, C, H', W') float32 or float64, H' >= H, W' >= W. infill: (B, C, H', W').
        places: (R, U, 4) int64, what `out` held: image, infill, top and left of the window, the same in both.
        next_places: the same, of what `out` will hold.
        state: R rows of P planes; changed. `state.terms` are those before the step.
        out: (R, P, U, C, H, W); changed. The caller passes it to the model, and its gradient to the next step.
        resizing: from cells to pixels. rule: what is minimised, and how.

    Returns:
        None: `state` and `out` hold the result.

    Raises:
        TypeError, ValueError: a tensor of another shape, dtype or device; a changed one that is not contiguous or shares memory;
        places outside the images, or bands outside the resizing (looked at on the CPU; an accelerator takes the nearest inside).
        RuntimeError: inputs or infill require grad.

    Note:
        Deterministic: fixed order of summation; a row does not depend on the others. A row whose gradient is not finite is made
        inactive, and keeps its parameters. Nothing is read back to the host: safe inside CUDA graphs. Not differentiable.
        Memory: on CUDA, and for the variation, one gradient of the mask. Reference: `saliency_ext.reference.mask_step`.

    Example:
        >>> import torch
        >>> state, out = MaskState.start(torch.zeros(1, 1, 1, 1), (1, 1)), torch.empty(1, 1, 1, 1, 1, 1)
        >>> places, rule = torch.zeros(1, 1, 4, dtype=torch.int64), MaskRule(rate=1.0)
        >>> image, other, whole = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), Resizing.bilinear((1, 1), 1)
        >>> mask_step_(None, image, other, places, places, state, out, resizing=whole, rule=rule)
        >>> out.item()  # sigmoid(0)
        0.5
        >>> mask_step_(-torch.ones_like(out), image, other, places, places, state, out, resizing=whole, rule=rule)
        >>> round(out.item(), 4)  # Adam's first step has the length of the rate: sigmoid(1)
        0.7311
    """
    function = "mask_step_"
    require_tensor(function, "inputs", inputs)
    require_dtype(function, "inputs", inputs, COMPUTE_DTYPES)
    require_ndim(function, "inputs", inputs, "(N, C, H, W)")
    require_ndim(function, "places", require_tensor(function, "places", places), "(R, U, 4)")
    rows, planes, height, width = state.mask.shape
    cells = (rows, planes, resizing.down.shape[0], resizing.across.shape[0])
    drawn = (rows, places.shape[1], 4)
    shown = (rows, planes, places.shape[1], inputs.shape[1], height, width)
    floats = [("infill", infill, (len(infill), *inputs.shape[1:])), ("out", out, shown)]
    floats += [(name, getattr(state, name), cells) for name in ("values", "exp_avg", "exp_avg_sq", "cells")]
    floats += [("gradient", gradient, shown)] if gradient is not None else []
    for name, tensor, shape in floats:
        require_tensor(function, name, tensor)
        require_dtype(function, name, tensor, (inputs.dtype,), "all have the inputs' dtype")
        require_shape(function, name, tensor, _NAMES.get(name, "(R, P, h, w)"), shape)
    for name, tensor in (("places", places), ("next_places", next_places)):
        require_dtype(function, name, tensor, (torch.int64,))
        require_shape(function, name, tensor, "(R, U, 4)", drawn)
        _check_places(function, name, tensor, inputs, infill, height, width)
    require_shape(function, "mask", state.mask, "(R, P, H, W)", (*cells[:2], resizing.down.shape[1], resizing.across.shape[1]))
    changed = {**state._asdict(), "out": out}
    given = {"infill": infill, "gradient": gradient, "places": places, "next_places": next_places}
    for name, tensor in (given | {f"resizing.{key}": part for key, part in resizing._asdict().items()} | changed).items():
        if tensor is not None:
            require_device(function, name, tensor, inputs, "inputs")
    for name, tensor in changed.items():
        if not tensor.is_contiguous():
            bad_value(function, name, "contiguous: it is changed in place", f"strides {tensor.stride()}")
    for name, matrix in (("down", resizing.down), ("across", resizing.across)):
        bands, (cell_count, pixel_count) = getattr(resizing, f"{name}_bands"), matrix.shape
        require_range(function, f"resizing.{name}_bands of cells", bands[:cell_count], 0, pixel_count)
        require_range(function, f"resizing.{name}_bands of pixels", bands[cell_count:], 0, cell_count)
    refuse_vmap(function, inputs, infill, places, next_places, out, *state)
    refuse_derivative(function, "inputs and infill", "it is not differentiable: detach them", inputs, infill)
    read = {"inputs": inputs, "infill": infill, "places": places, "next_places": next_places}
    refuse_overlap(function, changed, read | {f"resizing.{key}": part for key, part in resizing._asdict().items()})
    call(
        "mask_step",
        None if gradient is None else gradient.detach(),
        inputs,
        infill,
        places,
        next_places,
        *resizing,
        *state,
        out,
        rule.logits,
        rule.optimiser == "adam",
        rule.on == "cells",
        KINDS.index(rule.kind),
        *map(float, (rule.rate, rule.beta1, rule.beta2, rule.eps, rule.area, rule.variation, rule.beta)),
    )


_NAMES = {"infill": "(B, C, H, W)", "gradient": "(R, P, U, C, H, W)", "out": "(R, P, U, C, H, W)"}


def _check_places(function: str, name: str, places: Tensor, inputs: Tensor, infill: Tensor, height: int, width: int) -> None:
    """Windows inside the images: outside, a kernel would read what is not ours."""
    most = (len(inputs) - 1, len(infill) - 1, inputs.shape[2] - height, inputs.shape[3] - width)
    if min(most) < 0 and places.numel() > 0:
        bad_value(function, "inputs and infill", "to hold an image at least as large as the mask", tuple(inputs.shape))
    if not on_host(places) or places.numel() == 0:
        return
    highest = places.flatten(0, 1).amax(0).tolist()
    if int(places.amin()) < 0 or any(result > largest for result, largest in zip(highest, most, strict=True)):
        for column, largest in enumerate(most):
            require_range(function, f"{name}[..., {column}]", places[..., column], 0, largest)


def _fake(*_: object) -> None:
    pass


def _reference(
    gradient: Tensor | None,
    inputs: Tensor,
    infill: Tensor,
    places: Tensor,
    next_places: Tensor,
    down: Tensor,
    down_bands: Tensor,
    across: Tensor,
    across_bands: Tensor,
    *rest: object,
) -> None:
    reference.mask_step(gradient, inputs, infill, places, next_places, down, across, *rest)  # type: ignore[arg-type]


define("mask_step", Definition(fake=_fake, reference=_reference))
