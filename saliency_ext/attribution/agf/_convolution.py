"""The full rule of a convolution: what is added to its relevance, and how [Gur 2021; rules as in the official code]."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ._factorization import factor
from ._operations import Conv
from ._rules import nonzero, sdiv, shift, unit_maximum


@dataclass(frozen=True)
class Terms:
    """Which terms of the residual are left out (see `residual`), under the official code's names."""

    no_fx: bool = False
    no_m: bool = False
    no_reg: bool = False
    no_fdx: bool = False
    no_a: bool = False
    gradcam: bool = False

    @property
    def uses_gradient(self) -> bool:
        """Whether any term uses the gradient."""
        return self.gradcam or not (self.no_m and self.no_fdx)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left of the residual."""
        return self.no_fx and self.no_m and self.no_fdx and self.no_a and not self.gradcam


def residual(
    conv: Conv, x: Tensor, base: Tensor, rel: Tensor, g: Tensor | None, g_out: Tensor | None, absolute: Tensor, terms: Terms
) -> Tensor:
    """R = ((F_X + M) sigmoid(B) + F_G + U) nz(B), (N, C, H, W).

    M = relu(mean_c(X g)) over its maximum;
    F_X = relu(factor(X, phi)), F_G = relu(factor(gm, phi)), phi = mean_c(B), gm = gradient with the output masked by nz(rel);
    U = conv^T(|w|) sdiv(rel, conv(1, |w|)): what the layer would send back whatever its input.
    Switches: no_fx, no_m, no_fdx (F_G), no_a (U) drop a term, no_reg the sigmoid, gradcam puts relu(mean_c(X avg_hw(gm))) in
    the place of F_X + M.

    Args:
        conv: the layer.
        x: its input.
        base: B, of the abs rule.
        rel: relevance of its output.
        g: gradient with respect to x; None where no term uses it.
        g_out: gradient with respect to the output.
        absolute: |w|.
        terms: which terms are left out.
    """
    masked = _masked_gradient(conv, x, rel, g, g_out) if terms.gradcam or not terms.no_fdx else None
    phi = base.mean(1, keepdim=True)
    total = base.new_zeros(())
    if terms.gradcam and masked is not None:
        total = torch.relu((x * masked.mean((2, 3), keepdim=True)).mean(1, keepdim=True))
    else:
        if not terms.no_fx:
            total = total + torch.relu(factor(x, phi))
        if not terms.no_m and g is not None:
            total = total + unit_maximum(torch.relu((x * g).mean(1, keepdim=True)))
    total = total.expand(base.shape).clone() if terms.no_reg else torch.sigmoid(base).mul_(total)
    if not terms.no_fdx and masked is not None:
        total.add_(torch.relu(factor(masked, phi)))
    if not terms.no_a:
        total.add_(conv.transpose(sdiv(rel, agnostic_response(conv, x, absolute)), absolute, x))
    return total.mul_(nonzero(base))


def full_rule(
    conv: Conv, x: Tensor, base: Tensor, rel: Tensor, g: Tensor | None, g_out: Tensor | None, absolute: Tensor, terms: Terms
) -> Tensor:
    """rel <- shift(B, R). Arguments as in `residual`."""
    return base if terms.is_empty else shift(base, residual(conv, x, base, rel, g, g_out, absolute, terms))


def agnostic_response(conv: Conv, x: Tensor, absolute: Tensor) -> Tensor:
    """conv(1, |w|), (1, C_out, h, w): one input channel per group with the summed weight gives the same."""
    ones = x.new_ones(1, conv.groups, *x.shape[2:])
    return conv.apply(ones, absolute.sum(1, keepdim=True))


def _masked_gradient(conv: Conv, x: Tensor, rel: Tensor, g: Tensor | None, g_out: Tensor | None) -> Tensor | None:
    """gm. Where rel is 0 only at places that get no gradient anyway, it is g: one transposed convolution less."""
    if g_out is None:
        return None
    kept = nonzero(rel).mul_(g_out)
    return g if torch.equal(kept, g_out) else conv.transpose(kept, conv.weight, x)
