"""Base of methods that optimise a mask: masks as rows, in slices that fit a forward pass, and the status of each."""

from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ..models.precision import require_full_precision
from ..models.targets import Target
from ..protocols import Forward
from .base import Explanation, Method

STATUSES = ("ok", "zero_gradient", "nonfinite")


@dataclass(frozen=True)
class OptimisedMasks:
    """Maps, and diagnostics of their optimisation. (N, ...) for one target per image, (N, T, ...) for several.

    Attributes:
        saliency: (N, H, W), as the method returns it: NaN where the status is "nonfinite".
        status: (N,) int64, an index into `STATUSES`. "zero_gradient": the model did not react to the mask in any step, so the map
            shows the area and variation terms alone. "nonfinite": a loss or a gradient was NaN or infinite; this mask stopped
            there, and the others went on.
        first_loss, last_loss: (N,) float64, what was minimised, before the first and before the last step, all terms included
            but for constants.
        areas: (N, A) float64, mean of each mask that was optimised (A = 1 but for several areas or planes).
    """

    saliency: Tensor
    status: Tensor
    first_loss: Tensor
    last_loss: Tensor
    areas: Tensor

    @property
    def names(self) -> list[Any]:
        """The statuses in words, as a list like `status`."""

        def named(codes: Any) -> Any:
            return [named(code) for code in codes] if isinstance(codes, list) else STATUSES[codes]

        result: list[Any] = named(self.status.tolist())
        return result


@dataclass(frozen=True)
class Objective:
    """One slice of masks that share forwards: a row per mask. images (R, C, H, W), classes (R,), sample_ids (R,)."""

    images: Tensor
    classes: Tensor
    sample_ids: Tensor


class MaskMethod(Method):
    """A method whose map is a mask, optimised by gradients through the model. Subclasses implement `_optimise` for a slice.

    All targets of all images are rows of one batch, at most max_batch masked inputs in a forward; a single mask that needs more
    takes what it needs.
    """

    def __init__(self, model: Forward, *, max_batch: int) -> None:
        super().__init__(model, max_batch=max_batch)

    @property
    @abstractmethod
    def inputs_per_row(self) -> int:
        """Masked inputs of one mask in one forward."""

    def masks(self, inputs: Tensor, target: Target, *, sample_ids: Tensor | None = None) -> OptimisedMasks:
        """The maps, with diagnostics of their optimisation. Arguments: as in a call."""
        explanation = self._explained(inputs, target, sample_ids, self._optimised)
        if explanation.diagnostics:
            return OptimisedMasks(explanation.saliency, **explanation.diagnostics)
        lead = explanation.saliency.shape[:-2]  # an empty batch
        codes = torch.zeros(lead, dtype=torch.int64)
        return OptimisedMasks(
            explanation.saliency, codes, codes.double(), codes.double(), torch.zeros(*lead, 1, dtype=torch.float64)
        )

    def _explain(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        return self._optimised(inputs, classes, sample_ids).saliency

    def _optimised(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Explanation:
        """The maps; the further fields of `OptimisedMasks` are the diagnostics."""
        require_full_precision(type(self).__name__, self.model)
        targets = classes.shape[1]
        owner = torch.arange(len(inputs), device=inputs.device).repeat_interleave(targets)
        rows = max(self.max_batch // self.inputs_per_row, 1)
        parts = []
        for rows_of_part, classes_of_part in zip(torch.split(owner, rows), torch.split(classes.flatten(), rows), strict=True):
            with torch.inference_mode(False):
                images = inputs[rows_of_part].clone(memory_format=torch.contiguous_format)
                parts.append(self._optimise(Objective(images, classes_of_part.clone(), sample_ids[rows_of_part].clone())))
        joined = {field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(OptimisedMasks)}
        shaped = {name: values.view(*classes.shape, *values.shape[1:]) for name, values in joined.items()}
        return Explanation(shaped.pop("saliency"), shaped)

    @abstractmethod
    def _optimise(self, problem: Objective) -> OptimisedMasks:
        """Masks of a slice: (R, H, W) saliency, and the rest per row."""


def outcome(saliency: Tensor, active: Tensor, reacted: Tensor, first: Tensor, last: Tensor, areas: Tensor) -> OptimisedMasks:
    """Results of rows: active (R,) whether they went to the end, reacted (R,) whether the model had a gradient at all."""
    going = active.bool()
    status = torch.where(going, torch.where(reacted, 0, 1), 2)
    shown = torch.where(going[:, None, None], saliency, torch.nan)
    return OptimisedMasks(shown, status.cpu(), first.cpu(), last.cpu(), areas.double().cpu())
