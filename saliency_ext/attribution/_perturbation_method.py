"""Base of perturbation methods: an infill, a score, outputs in blocks, sums of separable masks."""

from collections.abc import Iterable

import torch
from torch import Tensor

from ..checks import require_choice
from ..infill.base import require_infill
from ..perturbation import Engine, Masks, Plan
from ..perturbation.outputs import SCORES, average
from ..protocols import Forward, Infill
from .base import Method

_BLOCK = 512  # perturbed inputs evaluated at a time: outputs are kept for each, so their number is bounded


class PerturbationMethod(Method):
    """A method that evaluates the model on masked inputs alone. No gradients.

    Args:
        model: callable (B, C, H, W) -> logits (B, K).
        infill: what a removed pixel becomes, of `saliency_ext.infill` or with that protocol.
        score: of the target: "probability", "logit", "log_probability", "sigmoid" or "accuracy".
        max_batch: masked inputs per forward.
    """

    scores: tuple[str, ...] = SCORES

    def __init__(self, model: Forward, infill: Infill, *, score: str, max_batch: int) -> None:
        super().__init__(model, max_batch=max_batch)
        name = type(self).__name__
        require_infill(name, infill)
        require_choice(name, "score", score, self.scores)
        self.infill = infill
        self.score = score

    def _blocks(self, count: int, size: int | None = None) -> Iterable[slice]:
        """Slices of 0 .. count - 1 of one size; by default whole forwards."""
        step = max(1, _BLOCK // self.max_batch) * self.max_batch if size is None else size
        return (slice(first, min(first + step, count)) for first in range(0, count, step))

    def _outputs(self, engine: Engine, masks: Masks, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        """Scores (N, T, S) float64 on the host, averaged over the draws of the infill."""
        plan = Plan()
        draws = plan.request(masks, self.infill)
        outputs = engine.run(plan, inputs, classes, sample_ids=sample_ids)
        return average([torch.stack([outputs.score(keys, self.score, t) for t in range(classes.shape[1])], 1) for keys in draws])


def separable_sum(down: Tensor, cores: Tensor, across: Tensor) -> Tensor:
    """down (H, a) @ cores (..., a, b) @ across (W, b)^T, as (..., H, W).

    Sum over masks that are products of a column and a row, without making them. One map at a time: the bits of a map must not
    depend on how many are computed together, and a matrix product of another size may round otherwise.
    """
    maps = [down @ core @ across.T for core in cores.flatten(0, -3)]
    return torch.stack(maps).view(*cores.shape[:-2], down.shape[0], across.shape[0])
