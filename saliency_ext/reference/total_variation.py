"""Reference of `total_variation`, differentiable by autograd."""

import torch
from torch import Tensor


def total_variation(mask: Tensor, kind: str = "anisotropic", beta: float = 1.0, eps: float = 0.0) -> Tensor:
    """Sums (N, C) of the variation of each map; see `saliency_ext.ops.total_variation` for the equations."""
    dx, dy = mask.diff(dim=3), mask.diff(dim=2)
    if kind == "squared":
        return dx.square().sum((2, 3)) + dy.square().sum((2, 3))
    if kind == "anisotropic":
        return _length(dx.square() + eps, beta).sum((2, 3)) + _length(dy.square() + eps, beta).sum((2, 3))
    pad = torch.nn.functional.pad
    return _length(pad(dx, (0, 1)).square() + pad(dy, (0, 0, 0, 1)).square() + eps, beta).sum((2, 3))


def _length(squared: Tensor, beta: float) -> Tensor:
    """squared^(beta/2), with gradient 0 where it is 0; a NaN stays one."""
    zero = squared == 0
    return torch.where(zero, 0, torch.where(zero, 1, squared).pow(beta / 2))
