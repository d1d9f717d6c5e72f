"""Models whose logits are known sums over segments, so that every retention is known in closed form."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from saliency_ext.disambiguation import PairFinder, Rules
from saliency_ext.infill import Constant
from saliency_ext.segmentation import grid

SIDE = 6  # 3 x 3 cells of 2 x 2 pixels
CELLS = partial(grid, cells=3)


class Planted(torch.nn.Module):
    """z_k = sum over cells s of weights[k, s] * mean of the pixels of cell s."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(weights, requires_grad=False)
        self.forwards: list[int] = []
        self.training = False

    def forward(self, inputs: Tensor) -> Tensor:
        self.forwards.append(len(inputs))
        return torch.nn.functional.avg_pool2d(inputs[:, 0], 2).flatten(1) @ self.weights.T

    def attribution(self, inputs: Tensor, classes: Tensor) -> Tensor:
        """The exact share of each pixel."""
        cells = self.weights[classes].view(-1, 3, 3) / 4
        return cells.repeat_interleave(2, 1).repeat_interleave(2, 2) * inputs[:, 0]


def planted(classes: int, terms: dict[tuple[int, int], float]) -> Planted:
    weights = torch.zeros(classes, 9)
    for (label, cell), weight in terms.items():
        weights[label, cell] = weight
    return Planted(weights)


def apart(gain: float, classes: int = 4) -> Planted:
    """Class 0 sees cell 1, class 1 cell 5."""
    return planted(classes, {(0, 1): gain, (1, 5): gain})


def alike(gain: float, classes: int) -> Planted:
    """Classes 0 and 1 both see cell 4, and nothing else."""
    return planted(classes, {(0, 4): gain, (1, 4): gain})


def ones(count: int = 1) -> Tensor:
    return torch.ones(count, 1, SIDE, SIDE)


def finder(model: Planted, rules: Rules | None = None, **options: Any) -> PairFinder:
    options = {"attribution": getattr(model, "attribution", None), "rules": rules, "max_batch": 8} | options
    return PairFinder(model, Constant(0.0), CELLS, **options)


def cells_of(mask: Tensor) -> set[int]:
    """The cells that a mask is made of."""
    cells = mask.view(3, 2, 3, 2).permute(0, 2, 1, 3).reshape(9, 4)
    assert bool((cells.all(1) | ~cells.any(1)).all())
    return set(cells.all(1).nonzero().flatten().tolist())
