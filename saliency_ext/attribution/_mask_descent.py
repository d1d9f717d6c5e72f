"""The optimisation loop of mask methods (render, forward, backward, step), and keyed draws of infills and shifts."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.gradients import differentiable, leaf
from ..models.logits import model_logits
from ..models.targets import check_classes
from ..ops import MaskRule, MaskState, Resizing, mask_step_, philox_uniform
from ..protocols import Forward

_BLOCK = 64  # steps whose draws are made together


class Draws:
    """Places (R, U, 4) of each step's windows, out of keyed words; made a block of steps at a time.

    A word, uniform in [0, 1), depends on (seed, stream, sample id, step) alone. One instance serves one run, whose steps go up.

    Args:
        made: words (R, words, block, per_step) -> places (R, block, U, 4).
    """

    def __init__(
        self, sample_ids: Tensor, words: int, per_step: int, seed: int, stream: int, made: Callable[[Tensor], Tensor]
    ) -> None:
        self._ids, self._shape, self._seed, self._stream = sample_ids, (words, _BLOCK, per_step), seed, stream
        self._made, self._block, self._places = made, -1, sample_ids

    def __call__(self, step: int) -> Tensor:
        """The places (R, U, 4) of a step."""
        if step // _BLOCK != self._block:
            self._block = step // _BLOCK
            words = philox_uniform(self._shape, self._ids, seed=self._seed, stream=self._stream + self._block)
            self._places = self._made(words).transpose(0, 1).contiguous()
        return self._places[step % _BLOCK]


@dataclass(frozen=True)
class Descent:
    """A run: its final state, the total loss (R,) before the first and the last step, and whether the model ever reacted (R,)."""

    state: MaskState
    first: Tensor
    last: Tensor
    reacted: Tensor


def model_gradient(
    function: str,
    request: Callable[[Tensor], Tensor],
    shown: Tensor,
    classes: Tensor,
    loss: Callable[[Tensor], Tensor],
    check: bool,
) -> tuple[Tensor, Tensor]:
    """Losses (R,) and their gradient by the masked inputs `shown` (B, C, H, W), a leaf of which `request` makes logits (B, K).

    Zero where the logits do not depend on the inputs; a loss is NaN where any of its logits is. Rows must be independent in the
    model.
    """
    logits = request(shown)
    if check:
        check_classes(function, classes, logits.shape[1])
    if not logits.requires_grad:
        raise RuntimeError(f"{function}: the logits do not depend differentiably on the inputs; the forward detaches them")
    losses = loss(logits)
    unknown = logits.detach().isnan().any(1).view(len(losses), -1).any(1)
    losses = losses.masked_fill(unknown, torch.nan)
    (gradient,) = torch.autograd.grad(losses.sum(), shown, allow_unused=True)
    return losses.detach().double(), torch.zeros_like(shown) if gradient is None else gradient


def descend(
    function: str,
    forward: Forward,
    inputs: Tensor,
    infill: Tensor,
    classes: Tensor,
    start: Tensor,
    size: tuple[int, int],
    *,
    places: Callable[[int], Tensor],
    loss: Callable[[Tensor], Tensor],
    resizing: Resizing,
    rule: MaskRule,
    steps: int,
    noise: Callable[[int], Tensor] | None = None,
) -> Descent:
    """Optimises R masks of P planes for `steps` steps. Nothing is read back to the host inside the loop.

    Args:
        inputs, infill: images whose windows `places(step)` (R, U, 4) names, see `mask_step_`.
        start: (R, P, h, w) parameters.
        loss: of the logits (R P U, K), per row (R,).
        noise: added to the masked inputs of a step, (R P U, C, H, W) or broadcastable to it.
    """
    rows, planes = start.shape[:2]
    with differentiable(forward):
        state = MaskState.start(start, size)
        here = places(0)
        out = inputs.new_empty(rows, planes, here.shape[1], inputs.shape[1], *size)
        mask_step_(None, inputs, infill, here, here, state, out, resizing=resizing, rule=rule)
        first = last = torch.zeros(rows, dtype=torch.float64, device=inputs.device)
        reacted = torch.zeros(rows, dtype=torch.bool, device=inputs.device)
        for step in range(steps):
            shown = leaf(out.flatten(0, 2))
            added = 0 if noise is None else noise(step)

            def request(images: Tensor, added: Tensor | int = added) -> Tensor:
                # A new tensor goes in: a model may begin with an in-place operation, which a leaf would refuse.
                return model_logits(forward, images + added)

            losses, gradient = model_gradient(function, request, shown, classes, loss, step == 0)
            state.active.mul_(losses.isfinite())
            ahead = places(step + 1) if step + 1 < steps else here
            mask_step_(gradient.view(out.shape), inputs, infill, here, ahead, state, out, resizing=resizing, rule=rule)
            if step in (0, steps - 1):
                last = losses + rule.area * state.terms[:, 1] + rule.variation * state.terms[:, 2]
                first = last if step == 0 else first
            reacted |= state.terms[:, 0] > 0
            here = ahead
    return Descent(state, first, last, reacted)
