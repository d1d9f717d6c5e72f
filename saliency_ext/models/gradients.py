"""Gradients of requested scores with respect to the inputs; the state of the model is preserved."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .eval_mode import evaluation_mode
from .logits import model_logits
from .precision import require_full_precision
from .score import target_scores


@contextmanager
def differentiable(forward: Callable[..., Any]) -> Iterator[None]:
    """Evaluation mode with gradients, whatever surrounds the call (no_grad, inference_mode, training mode)."""
    with evaluation_mode(forward), torch.inference_mode(False), torch.enable_grad():
        yield


def detach_inference(values: Tensor) -> Tensor:
    """The values as a tensor that autograd may save: one made in inference mode is copied."""
    return values.clone() if values.is_inference() else values.detach()


def leaf(inputs: Tensor) -> Tensor:
    """A tensor of the same values that takes part in autograd."""
    return detach_inference(inputs).requires_grad_()


def gradients_of(function: str, scores: Tensor, wanted: Tensor) -> Tensor:
    """d scores[:, t] / d wanted as (N, T, ...): one backward per target, all images at once. Rows must be independent."""
    targets = scores.shape[1]
    if not scores.requires_grad:
        raise RuntimeError(f"{function}: the logits do not depend differentiably on the inputs; the forward detaches them")
    parts = [torch.autograd.grad(scores[:, t].sum(), wanted, retain_graph=t + 1 < targets)[0] for t in range(targets)]
    return torch.stack(parts, 1) if parts else wanted.new_empty(wanted.shape[0], 0, *wanted.shape[1:])


def input_gradients(
    function: str, forward: Callable[..., Any], inputs: Tensor, classes: Tensor, score: str = "logit"
) -> tuple[Tensor, Tensor]:
    """Scores (N, T) and their gradients (N, T, C, H, W), both detached; nothing is accumulated in any `.grad`.

    Args:
        function: the name in error messages.
        inputs: (N, C, H, W) floating.
        classes: (N, T) int64.
        score: one of `models.score.SCORES`.

    An image with a NaN among its logits, or a score that is not finite, has NaN for a gradient: a rectifier would make it 0.

    Raises:
        TypeError: a module of half precision. ValueError: a class out of range. RuntimeError: logits without a gradient.
    """
    require_full_precision(function, forward)
    with differentiable(forward):
        images = leaf(inputs)
        # A copy goes in: a model may begin with an in-place operation, which a leaf would refuse.
        logits = model_logits(forward, images.clone())
        scores = target_scores(function, logits, detach_inference(classes).to(images.device), score)
        gradients = gradients_of(function, scores, images)
        good = scores.detach().isfinite() & ~logits.detach().isnan().any(1, keepdim=True)
        return scores.detach(), torch.where(good[:, :, None, None, None], gradients, torch.nan)
