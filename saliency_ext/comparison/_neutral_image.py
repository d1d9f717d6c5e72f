"""A neutral image learned from the model: the smoothest input with the most uniform class probabilities."""

from dataclasses import dataclass
from math import inf, log

import torch
from torch import Tensor

from .. import ops
from ..checks import bad_value, require_integer, require_number
from ..models.gradients import differentiable
from ..models.logits import model_logits
from ..protocols import Forward

_FUNCTION = "learn_neutral_image"


@dataclass(frozen=True)
class NeutralImage:
    """A learned neutral image (C, H, W), and the loss at each step from the start on. As infill: `OtherImage(image[None], 0)`.

    divergence: KL of the model's probabilities from uniform ones, in nats, at the start and at the image.
    """

    image: Tensor
    losses: list[float]
    divergence: tuple[float, float]


def learn_neutral_image(
    model: Forward,
    start: Tensor,
    *,
    steps: int = 300,
    rate: float = 0.05,
    smoothness: float = 0.1,
    low: float | None = None,
    high: float | None = None,
) -> NeutralImage:
    """The image b that minimises KL(p(b) to uniform) + smoothness * mean squared difference of neighbours, by Adam.

    KL(p to uniform) = log K - H(p). The image of the smallest loss seen is returned, so it is never worse than the start; a loss
    that is not finite ends the search.

    Args:
        model: callable (1, C, H, W) -> logits (1, K), differentiable; an nn.Module is run in eval mode and restored.
        start: (C, H, W) float32 or float64 in model input space, such as zeros. Not modified.
        steps, rate: of Adam.
        smoothness: weight of the roughness; the sum over both directions of squared differences, per value.
        low, high: the range of a pixel, if it has one; the start is brought into it.

    Raises:
        TypeError, ValueError: which argument, what was expected. RuntimeError: the model detaches its logits, or they are not
            finite at the start.

    Note:
        Deterministic; no gradient is left in the model. Cost: `steps` forwards and backwards of one image. Works under no_grad.
        Trap: neutral alone (N1 - N5 of `neutrality`) says nothing about what the image does in the context of another one.

    Example:
        >>> import torch
        >>> model = lambda x: torch.stack([x.sum((1, 2, 3)), 0 * x.sum((1, 2, 3))], 1)
        >>> result = learn_neutral_image(model, torch.ones(1, 2, 2), steps=50)
        >>> result.divergence[1] < 1e-3 < result.divergence[0]
        True
    """
    require_integer(_FUNCTION, "steps", steps, 1, 2**31 - 1)
    require_number(_FUNCTION, "rate", rate, above=0.0)
    require_number(_FUNCTION, "smoothness", smoothness)
    if not isinstance(start, Tensor) or start.ndim != 3 or not start.is_floating_point():
        bad_value(_FUNCTION, "start", "of shape (C, H, W), floating", tuple(getattr(start, "shape", ())))
    for argument, value in (("low", low), ("high", high)):
        if value is not None:
            require_number(_FUNCTION, argument, value, low=-inf)
    if low is not None and high is not None and low > high:
        bad_value(_FUNCTION, "low", f"<= high = {high:g}", low)
    losses: list[float] = []
    divergences: list[float] = []
    with differentiable(model):
        image = _within(start.detach().clone()[None], low, high).requires_grad_()
        best = image.detach().clone()
        optimizer = torch.optim.Adam([image], lr=rate)
        for step in range(steps + 1):
            logits = model_logits(model, image.clone())
            if not logits.requires_grad:
                raise RuntimeError(f"{_FUNCTION}: the logits do not depend differentiably on the inputs; the model detaches them")
            if logits.shape[1] == 1:
                expected = "to have two outputs or more: the softmax of one is 1 for every input"
                bad_value(_FUNCTION, "model", expected, "one", "return two logits, (0, z)")
            log_p = logits.log_softmax(1)
            divergence = log(logits.shape[1]) + (log_p.exp() * log_p).sum()
            loss = divergence + smoothness * ops.total_variation(image, kind="squared").sum() / image.numel()
            if not bool(loss.isfinite()):
                if losses:
                    break
                raise RuntimeError(
                    f"{_FUNCTION}: expected finite logits at the start, got a loss of {float(loss.detach())}; give another start"
                )
            losses.append(float(loss.detach()))
            divergences.append(float(divergence.detach()))
            if losses[-1] <= min(losses):
                best, at = image.detach().clone(), step
            if step < steps:
                image.grad = torch.autograd.grad(loss, image)[0]  # of the image alone: none is left in the model
                optimizer.step()
                with torch.no_grad():
                    _within(image, low, high)
    return NeutralImage(best[0], losses, (divergences[0], divergences[at]))


def _within(image: Tensor, low: float | None, high: float | None) -> Tensor:
    """Clamped in place, where there is a range."""
    return image if low is None and high is None else image.clamp_(low, high)
