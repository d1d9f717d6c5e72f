"""Heads of global average pooling and one linear layer: their gradients are known in closed form."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def gap_head(model: Callable[..., Any], maps: Tensor, logits: Tensor) -> nn.Linear | None:
    """The linear layer of the model with logits = layer(mean of the maps over their cells), if there is one.

    Found by trying: every torch.nn.Linear of the right shape is computed and held against the logits of this very batch, to
    the rounding of the dtype. So neither dropout in eval mode nor a flattening in between hinders it, and a normalisation, a
    rectifier that acts, or a temperature are noticed.

    Args:
        maps: (N, C, h, w) activation. logits: (N, K) of the same forward.
    """
    if not isinstance(model, nn.Module) or maps.dtype != logits.dtype:
        return None
    pooled, magnitude = maps.mean((2, 3)), maps.abs().mean((2, 3))
    for module in reversed(list(model.modules())):
        if type(module) is nn.Linear and module.weight.shape == (logits.shape[1], maps.shape[1]):
            if module.weight.dtype != maps.dtype or module.weight.device != maps.device:
                continue
            bias = module.bias
            with torch.no_grad():  # the functional form: hooks on the layer must not run
                expected = nn.functional.linear(pooled, module.weight, bias)
                scale = nn.functional.linear(magnitude, module.weight.abs(), None if bias is None else bias.abs())
                right = (expected - logits).abs() <= 100 * torch.finfo(maps.dtype).eps * scale
            if bool(right.all()):  # False where a logit is NaN
                return module
    return None


def head_gradients(head: nn.Linear, classes: Tensor, cells: int) -> Tensor:
    """d logits[:, class] / d activation at each cell, for a head of `gap_head`: weight / cells, as (N, T, C)."""
    return head.weight.detach()[classes] / cells
