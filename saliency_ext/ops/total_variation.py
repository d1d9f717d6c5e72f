"""Total variation of masks, with a fused gradient."""

from typing import Any

import torch
from torch import Tensor

from .. import reference
from ..checks import (
    bad_type,
    bad_value,
    require_choice,
    require_device,
    require_dtype,
    require_ndim,
    require_shape,
    require_tensor,
)
from ._arguments import COMPUTE_DTYPES
from .native import Definition, call, define

_KINDS = ("anisotropic", "isotropic", "squared")


def total_variation(mask: Tensor, *, kind: str = "anisotropic", beta: float = 1.0, eps: float = 0.0) -> Tensor:
    """Total variation of each map: how much neighbouring pixels differ, as a plain sum (not a mean) over the map.

    With dx, dy the differences to the right and lower neighbour:
        anisotropic  sum (dx^2 + eps)^(beta/2) + sum (dy^2 + eps)^(beta/2), over pairs of neighbours  [beta = 1: sum |dx| + |dy|]
        isotropic    sum (dx^2 + dy^2 + eps)^(beta/2), over pixels, differences across the border being 0  [Fong 2017, Eq. 4]
        squared      sum dx^2 + sum dy^2  [Gupta 2022]
    A mean is this sum divided by H W or by the number of pairs; libraries differ, so divide by what you mean.

    Args:
        mask: (N, C, H, W) float32 or float64. Any strides.
        kind: "anisotropic", "isotropic" or "squared".
        beta: exponent > 0; must be 1 for "squared".
        eps: smoothing >= 0 inside the power; must be 0 for "squared". With eps > 0 a constant map has eps^(beta/2) per term.

    Returns:
        (N, C) sums in the mask's dtype, accumulated in float64. Larger = rougher; 0 for a constant map (eps = 0).

    Raises:
        TypeError: mask is not float32 or float64; beta or eps is not a number.
        ValueError: mask is not 4-D; unknown kind; beta <= 0; eps < 0; beta or eps given with "squared".

    Note:
        Deterministic: fixed order of summation, a map's sum does not depend on its batch. Differentiable once in `mask`, in
        reverse mode (one fused pass, nothing saved but the mask) and in forward mode; where a length is 0 its gradient is taken
        as 0. A second derivative is refused. A NaN in a map makes its sum NaN.
        Memory: the output, and in backward the gradient. Reference: `saliency_ext.reference.total_variation`.

    Example:
        >>> import torch
        >>> total_variation(torch.tensor([[[[0.0, 1.0], [0.0, 3.0]]]]))  # |1-0| + |3-0| + |0-0| + |3-1|
        tensor([[6.]])
    """
    code = _checked("total_variation", mask, kind, beta, eps)
    return call("total_variation", mask, code, float(beta), float(eps))  # type: ignore[no-any-return]


def total_variation_with_grad(
    mask: Tensor, weight: Tensor, *, kind: str = "anisotropic", beta: float = 1.0, eps: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Total variation of each map, and its gradient times a weight per map, in one pass over the mask.

    For optimisers that know the weight of the term beforehand: one read of the mask and one write of the gradient instead of
    two reads and a write.

    Args:
        mask: (N, C, H, W) float32 or float64.
        weight: (N, C), dtype and device of the mask.
        kind, beta, eps: as in `total_variation`.

    Returns:
        sums (N, C), and gradient (N, C, H, W) = weight * d sum / d mask, contiguous.

    Raises:
        TypeError, ValueError: as `total_variation`; weight of another shape, dtype or device.

    Note:
        Deterministic. Not differentiable itself: asking for a gradient through it raises.

    Example:
        >>> import torch
        >>> mask = torch.tensor([[[[0.0, 1.0, 3.0]]]])
        >>> total_variation_with_grad(mask, torch.ones(1, 1), kind="squared")  # 1 + 4; gradient -2, 2 - 4, 4
        (tensor([[5.]]), tensor([[[[-2., -2.,  4.]]]]))
    """
    function = "total_variation_with_grad"
    code = _checked(function, mask, kind, beta, eps)
    require_tensor(function, "weight", weight)
    require_shape(function, "weight", weight, "(N, C)", mask.shape[:2])
    require_dtype(function, "weight", weight, (mask.dtype,), "the weight has the mask's dtype")
    require_device(function, "weight", weight, mask, "mask")
    sums, gradient = call(function, mask, weight, code, float(beta), float(eps))
    return sums, gradient


def _checked(function: str, mask: Tensor, kind: str, beta: float, eps: float) -> int:
    require_tensor(function, "mask", mask)
    require_dtype(function, "mask", mask, COMPUTE_DTYPES)
    require_ndim(function, "mask", mask, "(N, C, H, W)")
    code = require_choice(function, "kind", kind, _KINDS)
    for name, value in (("beta", beta), ("eps", eps)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            bad_type(function, name, "to be a number", type(value).__name__)
    if not 0 < beta < float("inf"):
        bad_value(function, "beta", "> 0 and finite", beta)
    if not 0 <= eps < float("inf"):
        bad_value(function, "eps", ">= 0 and finite", eps)
    if kind == "squared" and (beta != 1 or eps != 0):
        bad_value(function, "beta and eps", "1 and 0 with kind='squared'", f"{beta} and {eps}", "use kind='isotropic', beta=2")
    return code


def _fake(mask: Tensor, kind: int, beta: float, eps: float) -> Tensor:
    return mask.new_empty(mask.shape[:2])


def _fake_with_grad(mask: Tensor, weight: Tensor, kind: int, beta: float, eps: float) -> tuple[Tensor, Tensor]:
    return mask.new_empty(mask.shape[:2]), mask.new_empty(mask.shape)


def _fake_backward(mask: Tensor, weight: Tensor, kind: int, beta: float, eps: float) -> Tensor:
    return mask.new_empty(mask.shape)


def _reference_backward(mask: Tensor, weight: Tensor, kind: int, beta: float, eps: float) -> Tensor:
    return _reference_with_grad(mask, weight, kind, beta, eps)[1]


def _reference(mask: Tensor, kind: int, beta: float, eps: float) -> Tensor:
    return reference.total_variation(mask, _KINDS[kind], beta, eps)


def _reference_with_grad(mask: Tensor, weight: Tensor, kind: int, beta: float, eps: float) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaf = mask.detach().requires_grad_()
        sums = _reference(leaf, kind, beta, eps)
        (gradient,) = torch.autograd.grad(sums, leaf, weight)
    return sums.detach(), gradient.contiguous()


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    mask, *ctx.rule = inputs
    ctx.save_for_backward(mask)


def _tangent(result: Tensor, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Tensor:
    mask, *rule = primals
    slopes: Tensor = call("total_variation_backward", mask, torch.ones_like(result), *rule)
    return torch.sum(slopes * tangents[0], (2, 3))


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    (mask,) = ctx.saved_tensors
    return call("total_variation_backward", mask, gradient.contiguous(), *ctx.rule), None, None, None


def _setup_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    pass


def _refuse(ctx: Any, *gradients: Tensor) -> None:
    raise RuntimeError("total_variation: expected one backward pass, got a second; double backward is not supported")


define("total_variation", Definition(_fake, _reference, _backward, _setup_context, _tangent))
define("total_variation_backward", Definition(_fake_backward, _reference_backward, _refuse, _setup_nothing))
define("total_variation_with_grad", Definition(_fake_with_grad, _reference_with_grad, _refuse, _setup_nothing))
