"""Smooth masks out of few parameters: the smooth maximum of weighted neighbours."""

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .. import reference
from ..checks import bad_value, require_dtype, require_integer, require_ndim, require_number, require_tensor
from ._arguments import COMPUTE_DTYPES
from .native import Definition, call, define


def smooth_maximum(
    values: Tensor, size: tuple[int, int], *, step: int, sigma: float, inverse_temperature: float = 20.0
) -> Tensor:
    """Pixels as the smooth maximum of the cells around them, each weighted by its distance [Fong 2019, Sec. 3.2].

    With v_j = k(distance to cell j / sigma) * value of cell j, k(z) = exp(-2 max(0, z - 1/2)^2):
        out = sum_j v_j exp(inverse_temperature v_j) / sum_j exp(inverse_temperature v_j),
    over the (2 r + 1)^2 cells around the cell floor(pixel / step), r = 1 + ceil(sigma / step); cells outside the grid count with
    value 0. Cell (i, j) lies on pixel (step i, step j).

    Args:
        values: (N, C, h, w) float32 or float64, h = ceil(H / step), w = ceil(W / step); meant for [0, 1].
            |inverse_temperature * value| should stay below 80: float32 holds no larger exponential.
        size: (H, W) of the image.
        step: pixels from cell to cell, >= 1.
        sigma: width of the weights in pixels, > 0. Wider = smoother.
        inverse_temperature: >= 0; larger = closer to the maximum; 0 is the mean of the v_j.

    Returns:
        (N, C, H + 2 m, W + 2 m), m = round(sigma): the image with a margin around it; larger where larger values are near.

    Raises:
        TypeError: values are not float32 or float64; a number is of another type. ValueError: another number of cells than the
        size needs; step < 1; sigma <= 0; inverse_temperature < 0.

    Note:
        Deterministic: fixed order of summation; a map does not depend on its batch. float32 exponentials are within 2e-7
        relative. Differentiable once in `values`, in reverse mode and, with (2 r + 1)^2 maps of memory, in forward mode; a second
        derivative is refused. Memory: the output twice, and in backward, on the CPU, two more maps per thread. Reference:
        `saliency_ext.reference.smooth_maximum`.

    Example:
        >>> import torch
        >>> mask = smooth_maximum(torch.ones(1, 1, 2, 2), (4, 4), step=2, sigma=2.0)
        >>> mask.shape, round(float(mask[0, 0, 2, 2]), 3)  # on the first cell
        (torch.Size([1, 1, 8, 8]), 1.0)
    """
    function = "smooth_maximum"
    require_tensor(function, "values", values)
    require_dtype(function, "values", values, COMPUTE_DTYPES)
    require_ndim(function, "values", values, "(N, C, h, w)")
    require_integer(function, "step", step, 1, 2**20)
    require_number(function, "sigma", sigma, above=0.0)
    require_number(function, "inverse_temperature", inverse_temperature)
    height, width = (require_integer(function, "size", length, 0, 2**31 - 1) for length in size)
    wanted = (-(-height // step), -(-width // step))
    if values.shape[2:] != wanted:
        bad_value(
            function, "values", f"with one cell per step of the size, (.., .., {wanted[0]}, {wanted[1]})", tuple(values.shape)
        )
    margin = round(sigma)
    weights = _weights_for(values, step, float(sigma))
    out, _ = call(function, values, weights, height + 2 * margin, width + 2 * margin, step, margin, float(inverse_temperature))
    return out  # type: ignore[no-any-return]


def _weights_for(values: Tensor, step: int, sigma: float) -> Tensor:
    """The table of weights; cached as a plain tensor: not while tracing, and not as an inference tensor."""
    if torch.compiler.is_compiling() or type(values) is not Tensor:
        return _weights(step, sigma, values.dtype, values.device)
    with torch.inference_mode(False):
        return _cached_weights(step, sigma, values.dtype, values.device)


def _weights(step: int, sigma: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(D, D): k of a cell so many pixels away along each axis, D = step (r + 1). Built in float64."""
    away = torch.arange(step * (2 + math.ceil(sigma / step)), dtype=torch.float64)
    apart = (away[:, None] ** 2 + away**2).sqrt() / sigma
    return torch.exp(-2 * (apart - 0.5).clamp(min=0) ** 2).to(device=device, dtype=dtype)


_cached_weights = lru_cache(maxsize=8)(_weights)


def _fake(
    values: Tensor, weights: Tensor, height: int, width: int, step: int, margin: int, inverse_temperature: float
) -> tuple[Tensor, Tensor]:
    shape = (*values.shape[:2], height, width)
    return values.new_empty(shape), values.new_empty(shape)


def _fake_backward(
    gradient: Tensor,
    values: Tensor,
    weights: Tensor,
    out: Tensor,
    sums: Tensor,
    step: int,
    margin: int,
    inverse_temperature: float,
) -> Tensor:
    return values.new_empty(values.shape)


def _reference(
    values: Tensor, weights: Tensor, height: int, width: int, step: int, margin: int, inverse_temperature: float
) -> tuple[Tensor, Tensor]:
    terms = reference.weighted_neighbours(values, weights, (height - 2 * margin, width - 2 * margin), step, margin)
    e = (inverse_temperature * terms).exp()
    sums = e.sum(0)
    return (terms * e).sum(0) / sums, sums


def _reference_backward(
    gradient: Tensor,
    values: Tensor,
    weights: Tensor,
    out: Tensor,
    sums: Tensor,
    step: int,
    margin: int,
    inverse_temperature: float,
) -> Tensor:
    with torch.inference_mode(False), torch.enable_grad():
        leaf = values.clone().requires_grad_()
        again, _ = _reference(leaf, weights.clone(), out.shape[2], out.shape[3], step, margin, inverse_temperature)
        (slopes,) = torch.autograd.grad(again, leaf, gradient.clone())
    return slopes.contiguous()


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    values, weights, _, _, *ctx.rule = inputs
    out, sums = output
    ctx.mark_non_differentiable(sums)
    ctx.save_for_backward(values, weights, out, sums)


def _tangent(result: tuple[Tensor, Tensor], primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Tensor:
    """d out = sum_j dv_j e_j (1 + inverse_temperature (v_j - out)) / sum_j e_j, e_j = exp(inverse_temperature v_j)."""
    (out, sums), (values, weights, height, width, step, margin, inverse_temperature) = result, primals
    size = (height - 2 * margin, width - 2 * margin)
    terms = reference.weighted_neighbours(values, weights, size, step, margin)
    slopes = reference.weighted_neighbours(tangents[0], weights, size, step, margin)
    return torch.sum(slopes * (inverse_temperature * terms).exp() * (1 + inverse_temperature * (terms - out)), 0) / sums


def _backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    values, weights, out, sums = ctx.saved_tensors
    slopes = call("smooth_maximum_backward", gradient.contiguous(), values, weights, out, sums, *ctx.rule)
    return slopes, None, None, None, None, None, None


def _setup_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    pass


def _refuse(ctx: Any, *gradients: Tensor) -> None:
    raise RuntimeError("smooth_maximum: expected one backward pass, got a second; double backward is not supported")


define("smooth_maximum", Definition(_fake, _reference, _backward, _setup_context, _tangent))
define("smooth_maximum_backward", Definition(_fake_backward, _reference_backward, _refuse, _setup_nothing))
