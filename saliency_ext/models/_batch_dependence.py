"""Tests whether the logits of an image depend on the rest of its batch, and whether a repeated forward agrees."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .eval_mode import evaluation_mode
from .logits import model_logits, require_outputs

# Rounding of float32 sums in another order stays below this share of the largest logit.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class Drift:
    """Largest change of a logit, relative to the largest logit: of a repeated forward, and of one with other batch mates."""

    repeated: float
    in_other_company: float

    @property
    def warning(self) -> str | None:
        """What is wrong, in a sentence; None where the changes are rounding."""
        if self.repeated > _ROUNDING:
            return (
                f"the model is stochastic: the same batch twice changes its logits by {self.repeated:.2g} of their size; scores "
                "differ from run to run"
            )
        if self.in_other_company > _ROUNDING:
            return (
                f"the model couples the images of a batch: other batch mates change its logits by {self.in_other_company:.2g} of "
                "their size; scores depend on what is asked together"
            )
        return None


def measure_drift(forward: Callable[[Tensor], Any], inputs: Tensor) -> tuple[Drift, Tensor]:
    """Forwards two images together, again, and the first beside the negative of the second: three small forwards.

    Args:
        forward: callable (B, C, H, W) -> logits.
        inputs: (N, C, H, W), N > 0, of which the first two are used, or one and its mirror image.

    Returns:
        The drift, and the logits (2, K) of the first forward.
    """
    pair = inputs[:2] if len(inputs) > 1 else torch.cat([inputs, inputs.flip(3)])
    with evaluation_mode(forward):
        together, again = (model_logits(forward, pair.clone()).double() for _ in range(2))
        apart = model_logits(forward, torch.stack([pair[0], -pair[1]])).double()
    for each in (again, apart):
        require_outputs(each, together.shape[1])
    size = together.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    repeated, other = (together - again).abs().max() / size, (together[0] - apart[0]).abs().max() / size
    return Drift(float(repeated.nan_to_num()), float(other.nan_to_num())), together
