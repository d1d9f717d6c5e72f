"""Completeness and soundness of one label, as numbers; and their summaries over labels."""

from dataclasses import dataclass

import torch
from torch import Tensor


def completeness(masked: Tensor, clean: Tensor, floor_masked: float, cap: float = 1.0) -> Tensor:
    """alpha = min(max(floor_masked, g) / min(cap, p), 1), of masked g and clean p [Gupta 2022]. p = 0 loses nothing: 1.

    Example:
        >>> completeness(torch.tensor([0.2, 0.8, 0.0]), torch.tensor([0.8, 0.2, 0.4]), 0.1)
        tensor([0.2500, 1.0000, 0.2500])
    """
    capped = clean.clamp(max=cap)
    share = (masked.clamp(min=floor_masked) / capped).clamp(max=1)
    return torch.where((capped == 0) & ~masked.isnan(), 1.0, share)


def soundness(masked: Tensor, clean: Tensor, floor_clean: float) -> Tensor:
    """beta = min(max(floor_clean, p) / g, 1), of masked g and clean p [Gupta 2022]. beta is 1 where g = 0.

    Example:
        >>> soundness(torch.tensor([0.2, 0.8, 0.0]), torch.tensor([0.8, 0.2, 0.4]), 0.1)
        tensor([1.0000, 0.2500, 1.0000])
    """
    return torch.where(masked == 0, 1.0, (clean.clamp(min=floor_clean) / masked).clamp(max=1))


@dataclass(frozen=True)
class LabelSummaries:
    """(N,) each: at the predicted label, at the second most probable, mean and minimum over all but the predicted one (NaN with
    one label)."""

    predicted: Tensor
    second: Tensor
    wrong_mean: Tensor
    wrong_min: Tensor


def label_summaries(values: Tensor, clean: Tensor) -> LabelSummaries:
    """Summaries of values (N, L) by the order of the clean probabilities (N, L): "wrong" labels are those not predicted."""
    ordered = values.gather(1, clean.argsort(dim=1, descending=True, stable=True))
    predicted, wrong = ordered[:, 0], ordered[:, 1:]
    if wrong.shape[1] == 0:
        none = torch.full_like(predicted, torch.nan)
        return LabelSummaries(predicted, none, none, none)
    return LabelSummaries(predicted, wrong[:, 0], wrong.mean(1), wrong.amin(1))
