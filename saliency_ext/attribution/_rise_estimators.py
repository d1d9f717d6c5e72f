"""Estimators of RISE: from the scores of masks to a map and its standard error, as a weighted mean or by regression."""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ._adaptive_budget import group_of, jackknife_error, relative_noise
from ._rise_masks import MaskSums

_CHUNK = 512  # masks made at a time, at few pixels
_RIDGE = 1.0  # noise over signal: as much of the score's variance is linear in the mask as is not
WEIGHTINGS = ("plain", "mean", "coverage", "centred")


class Estimator(Protocol):
    """Makes the map of one image and target from the scores (n,) float64 of its first n masks, with its standard error."""

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


@dataclass(frozen=True)
class RegressionEstimator:
    """The map of one image and target from the scores of its first n masks, by regression; and its noise.

    What "centred" estimates is Cov(f, M(u)) / keep. It does so by the sample's own covariance, in which two pixels were
    shown together more or less often than expected. That part of the noise is known and is taken out of the map. With m_i the
    mask i at P pixels v, two per cell along each axis,

        b = argmin of sum_i (f_i - a - b . m_i)^2 + ridge |b|^2,    ridge = mean_i |m_i - mean m|^2,
        S(u) = sum_v Cov(M(u), M(v)) b_v / keep,    Cov(M(u), M(v)) = keep (1 - keep) Y(u, v) X(u, v),

    Y and X the sums over cells of the products of two pixels' interpolation weights, averaged over shifts: exact, for the law of
    a single mask, which all samplings share. This is the regression estimator of survey sampling [Cochran 1977, Ch. 7], with the
    masks as auxiliaries of known covariance. As n grows the ridge vanishes and S tends to what "centred" tends to; only what
    f does not owe to single pixels is left as noise.

    The masks are never stored: sums over them come from `MaskSums`. Memory: P^2 numbers of 8 bytes for all images, for every n
    at which a map is made; times groups + 1 where its noise is estimated too. Cost: n P^2 + P^3 / 3 operations for each of
    these matrices, P^2 per image and target; no forward. Traps: with few masks the ridge shrinks the map, more where the score
    is far from linear; a score that is all interaction has no linear part, and gets no more from this.

    References:
        Cochran. Sampling Techniques. 3rd edition, Wiley 1977.
    """

    sums: MaskSums
    grids: Tensor
    shifts: Tensor
    keep: float
    _solvers: dict[tuple[int, int], list["_Solver"]] = field(default_factory=dict)

    def map(self, scores: Tensor, every: int = 1) -> Tensor:
        """(H', W') float64 at every `every`-th pixel, from scores (n,) float64."""
        return self._maps(scores, 1, every)[0]

    def standard_error(self, scores: Tensor, groups: int, every: int = 1) -> Tensor:
        """(H', W') float64 at every `every`-th pixel: as `MapEstimator`."""
        return jackknife_error(self._maps(scores, groups, every))

    def relative_noise(self, scores: Tensor, groups: int, every: int = 1) -> float:
        """`relative_noise` of the map and its standard error at every `every`-th pixel."""
        return float(relative_noise(self.map(scores, every), self.standard_error(scores, groups, every)))

    def _maps(self, scores: Tensor, groups: int, every: int) -> Tensor:
        """(groups, H', W'): the map without each group of neighbours; with one group, the map of all."""
        values = scores - scores[0]  # exact zeros for a constant score
        step = self._step()
        products = self.sums.maps(self.sums.cores(values, groups), step)
        of_group = group_of(len(scores), groups)
        totals = torch.bincount(of_group, weights=values, minlength=groups)
        sides = zip((self.sums.down, self.sums.across), self.grids.shape[1:], strict=True)
        down, across = (_covariance(side, cells, every, step) for side, cells in sides)
        maps = []
        for k, solver in enumerate(self._solved(len(scores), groups)):
            product, total = (
                (products[0], totals[0]) if groups == 1 else (products.sum(0) - products[k], totals.sum() - totals[k])
            )
            slopes = solver.slopes(product.flatten() - solver.sums * (total / solver.count)).view(product.shape)
            maps.append((1 - self.keep) * (down @ slopes @ across.T))
        return torch.stack(maps)

    def _step(self) -> int:
        """Pixels between the places of the regression: half a cell."""
        return max(1, min(core // cells for core, cells in zip(self.sums.core_shape, self.grids.shape[1:], strict=True)) // 2)

    def _solved(self, count: int, groups: int) -> list["_Solver"]:
        """The regression's matrices without each group of the first `count` masks: the same for all images."""
        key = (count, groups)
        if key not in self._solvers:
            of_group = group_of(count, groups)
            parts = [self._moments((of_group == k).nonzero()[:, 0]) for k in range(groups)]
            whole = tuple(sum(values) for values in zip(*parts, strict=True))
            kept = [whole] if groups == 1 else [tuple(a - b for a, b in zip(whole, part, strict=True)) for part in parts]
            self._solvers[key] = [_Solver.of(*moments) for moments in kept]
        return self._solvers[key]

    def _moments(self, which: Tensor) -> tuple[int, Tensor, Tensor]:
        """Number, sum (P,) and sum of products (P, P) of these masks at the places."""
        step, cells = self._step(), self.grids.shape[1:]
        sides = zip((self.sums.down, self.sums.across), cells, strict=True)
        down, across = (side.view(len(side), -1, n)[::step] for side, n in sides)
        places = down.shape[0] * across.shape[0]
        total, products = torch.zeros(places, dtype=torch.float64), torch.zeros(places, places, dtype=torch.float64)
        for part in torch.split(which, _CHUNK):
            rows, columns = down[:, self.shifts[part, 0]].transpose(0, 1), across[:, self.shifts[part, 1]].permute(1, 2, 0)
            masks = (rows @ self.grids[part].double() @ columns).flatten(1)
            total += masks.sum(0)
            products.addmm_(masks.T, masks)
        return len(which), total, products


@dataclass(frozen=True)
class _Solver:
    """A ridge regression on n masks: their number, their sum at the places, and the factor of its normal equations."""

    count: int
    sums: Tensor
    factor: Tensor | None  # None where the masks do not vary

    @classmethod
    def of(cls, count: int, total: Tensor, products: Tensor) -> "_Solver":
        """From moments of the masks."""
        scatter = products - total[:, None] * total / count
        ridge = _RIDGE * scatter.trace() / count
        if ridge <= 1e-12 * products.trace() / count:
            return cls(count, total, None)
        return cls(count, total, torch.linalg.cholesky(scatter + ridge * torch.eye(len(total), dtype=total.dtype)))

    def slopes(self, products: Tensor) -> Tensor:
        """b (P,) from sum_i (f_i - mean f) m_i."""
        if self.factor is None:
            return torch.zeros_like(products)
        return torch.cholesky_solve(products[:, None], self.factor)[:, 0]


def _covariance(side: Tensor, cells: int, every: int, step: int) -> Tensor:
    """Y or X, from every `every`-th pixel to every `step`-th, of an interpolation matrix (size, shifts * cells)."""
    return side[::every] @ side[::step].T * (cells / side.shape[1])
