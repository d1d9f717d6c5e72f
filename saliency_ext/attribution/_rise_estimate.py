"""From the scores of RISE's masks to a map, and to its standard error."""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ._adaptive_budget import group_of, jackknife_error, relative_noise
from ._rise_accumulate import MaskSums

WEIGHTINGS = ("plain", "mean", "coverage", "centred")


class Estimator(Protocol):
    """Makes the map of one image and target from the scores (n,) float64 of its first n masks, and says how sure it is."""

    def map(self, scores: Tensor, every: int = 1) -> Tensor:
        """(H', W') float64 at every `every`-th pixel."""

    def standard_error(self, scores: Tensor, groups: int, every: int = 1) -> Tensor:
        """(H', W') float64 at every `every`-th pixel."""

    def relative_noise(self, scores: Tensor, groups: int, every: int = 1) -> float:
        """`relative_noise` of the two."""


@dataclass(frozen=True)
class MapEstimator:
    """The map of one image and target from the scores of its first n masks, and its noise. `RISE` has the equations."""

    sums: MaskSums
    weighting: str
    keep: float
    _coverage: dict[tuple[int, int, int], Tensor] = field(default_factory=dict)

    def map(self, scores: Tensor, every: int = 1) -> Tensor:
        """(H', W') float64 at every `every`-th pixel, from scores (n,) float64."""
        return self._maps(scores, self.sums.cores(self._values(scores)), scores.new_tensor([len(scores)]), (1, every))[0]

    def standard_error(self, scores: Tensor, groups: int, every: int = 1) -> Tensor:
        """(H', W') float64 at every `every`-th pixel: `jackknife_error` of the maps without one run of neighbours each."""
        cores = self.sums.cores(self._values(scores), groups)
        left = len(scores) - torch.bincount(group_of(len(scores), groups), minlength=groups)
        without = self._maps(scores, cores.sum(0) - cores, left, (groups, every))
        if self.weighting == "centred":
            totals = torch.bincount(group_of(len(scores), groups), weights=scores - scores[0], minlength=groups)
            without = without - ((totals.sum() - totals) / left)[:, None, None]  # each S_k is centred by its own mean
        return jackknife_error(without)

    def relative_noise(self, scores: Tensor, groups: int, every: int = 1) -> float:
        """`relative_noise` of the map and its standard error at every `every`-th pixel."""
        return float(relative_noise(self.map(scores, every), self.standard_error(scores, groups, every)))

    def _values(self, scores: Tensor) -> Tensor:
        """What is summed: scores, or where coverage divides scores minus their mean, which loses no digits."""
        return scores if self.weighting in ("plain", "mean") else scores - _mean(scores)

    def _maps(self, scores: Tensor, cores: Tensor, counts: Tensor, key: tuple[int, int]) -> Tensor:
        """Maps (K, H', W') of cores (K, ...) that sum `counts` masks each."""
        maps = self.sums.maps(cores, key[1])
        if self.weighting in ("plain", "mean"):
            return maps / (counts * (self.keep if self.weighting == "plain" else 1.0))[:, None, None]
        coverage = self._covered(len(scores), *key)
        ratio = torch.where(coverage > 0, maps / coverage, 0.0)
        return ratio + _mean(scores) if self.weighting == "coverage" else ratio

    def _covered(self, count: int, groups: int, every: int) -> Tensor:
        """sum_i M_i(u) of the first `count` masks, or without one group each: the same for all images."""
        key = (count, groups, every)
        if key not in self._coverage:
            cores = self.sums.cores(torch.ones(count, dtype=torch.float64), groups)
            self._coverage[key] = self.sums.maps(cores if groups == 1 else cores.sum(0) - cores, every)
        return self._coverage[key]


def _mean(scores: Tensor) -> Tensor:
    """Mean, exact where all scores are equal."""
    return scores[0] + (scores - scores[0]).mean()
