"""Base of perturbation metrics without a removal curve: infill, score, and their record in the parameters."""

from dataclasses import dataclass, fields
from typing import ClassVar, Self

import torch
from torch import Tensor

from ..checks import require_choice
from ..infill.base import require_infill
from ..perturbation import Outputs
from ..perturbation.masks import ALL_KEPT
from ..perturbation.outputs import SCORES
from ..protocols import Infill
from ._levels import levelled
from .base import MetricOptions, ModelMetric
from .context import Keys
from .curve_metric import infill_parameters


@dataclass(frozen=True)
class PerturbationMetric(ModelMetric):
    """Infill and score, recorded with each result.

    Args:
        infill: what a removed pixel becomes.
        score: of the target: "probability", "logit", "log_probability", "sigmoid" or "accuracy".
    """

    infill: Infill
    score: str = "probability"

    scores: ClassVar[tuple[str, ...]] = SCORES

    def __post_init__(self) -> None:
        name = type(self).__name__
        require_choice(name, "score", self.score, self.scores)
        require_infill(name, self.infill)

    @classmethod
    def from_options(cls, options: MetricOptions) -> Self:
        """The metric with those of the shared options that apply to it."""
        return cls(options.infill)

    @property
    def value_range(self) -> tuple[float, float] | None:
        """That of `info`, where the score is bounded."""
        return self.info.range if self.score in ("probability", "accuracy") else None

    @property
    def parameters(self) -> dict[str, object]:
        """All parameters, as plain values."""
        others = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "infill"}
        return {**infill_parameters(self.infill), **others}

    def clean(self, outputs: Outputs) -> Tensor:
        """Score (N, 1) of the clean image."""
        return outputs.score([ALL_KEPT], self.score)

    def drops(self, outputs: Outputs, keys: Keys) -> Tensor:
        """(N, S) clean score - score of each perturbed input, averaged over the draws of the infill."""
        return self.clean(outputs) - outputs.mean_score(keys, self.score)


def min_max(saliency: Tensor) -> Tensor:
    """Maps (N, H, W) min-max normalised to [0, 1] per image, in float64; 0 where a map is constant up to rounding."""
    if saliency.numel() == 0:
        return saliency.double()
    # Half first: the range of a map near the largest number would overflow.
    values = levelled(saliency).double().contiguous() / 2
    lowest, highest = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    return torch.where(highest > lowest, (values - lowest) / (highest - lowest), 0.0)
