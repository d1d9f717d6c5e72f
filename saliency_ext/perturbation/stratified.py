"""Schedules drawn per image: a few random steps of a fine grid, whose weighted sum is right on average."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from .. import ops, rng_streams
from ..checks import bad_value, require_integer, require_ndim, require_tensor
from .curve_integration import trapezoid_weights
from .schedules import EqualFractions


@dataclass(frozen=True)
class StratifiedSteps:
    """Both ends of a fine grid, and one random count from each of m strata of the rest, drawn for each image.

    With the trapezoid weights w_i of the grid's counts and W_j their sum over stratum j, the count i of stratum j is drawn with
    probability w_i / W_j, and

        AUC estimate = w_first v_first + sum_j W_j v(drawn_j) + w_last v_last,

    whose mean over draws is the trapezoid area of the whole grid, exactly, for every image and every curve. An image's value is
    noisier than the grid's; a mean over many images hardly is, at m + 2 masked inputs instead of G + 1, and an interval over
    images covers the draws as well. All maps and both orders share an image's counts, so differences stay paired.

    Args:
        strata: their number, equal in size, or their boundaries (1, ..., G) as grid indices, from `learn_strata`.
        grid: G, equal fractions of the grid; repeats are dropped where an image has fewer than G pixels.
        seed: of the draws, which are keyed by (seed, sample id, stratum).

    Note:
        The steps of a curve are strata: the mean over images at step j estimates the mean curve's average over stratum j, and
        `fractions` holds the stratum's mean fraction. A single image's curve is not monotone where the score is.

    Example:
        >>> StratifiedSteps(2, grid=10).drawn(100, torch.arange(3)).tolist()
        [[0, 20, 70, 100], [0, 10, 50, 100], [0, 30, 70, 100]]
    """

    strata: int | tuple[int, ...] = 8
    grid: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        name = "StratifiedSteps"
        require_integer(name, "grid", self.grid, 2, 2**24)
        require_integer(name, "seed", self.seed, 0, 2**63 - 1)
        if not isinstance(self.strata, tuple):
            require_integer(name, "strata", self.strata, 1, self.grid - 1)
            return
        for edge in self.strata:
            require_integer(name, "strata", edge, 1, self.grid)
        rising = all(low < high for low, high in pairwise(self.strata))
        if len(self.strata) < 2 or self.strata[0] != 1 or self.strata[-1] != self.grid or not rising:
            bad_value(name, "strata", f"boundaries that rise from 1 to {self.grid}", self.strata, "take them from learn_strata")

    def drawn(self, pixels: int, sample_ids: Tensor) -> Tensor:
        """Counts (N, m + 2) int64, on the device of the ids, rising along each row."""
        grid, weights, strata = self._laid_out("drawn", pixels)
        device = sample_ids.device
        places = ops.philox_uniform((1, 1, len(strata)), sample_ids, seed=self.seed, stream=rng_streams.STRATA)[:, 0, 0].double()
        counts = torch.tensor(grid, device=device)
        columns = [counts[:1].expand(len(sample_ids))]
        for column, own in enumerate(strata):
            ends = weights[own].cumsum(0).to(device)
            within = torch.searchsorted(ends, places[:, column].contiguous() * ends[-1], right=True)
            columns.append(counts[own][within.clamp(max=own.stop - own.start - 1)])
        return torch.stack([*columns, counts[-1:].expand(len(sample_ids))], 1)

    def weights(self, pixels: int) -> Tensor:
        """(m + 2,) float64, of the scores in the estimate; their sum is 1."""
        _, weights, strata = self._laid_out("weights", pixels)
        return torch.stack([weights[0], *(weights[own].sum() for own in strata), weights[-1]])

    def area(self, values: Tensor, pixels: int) -> Tensor:
        """(...) float64, the estimated areas under curves (..., m + 2). Summed in order: no bit depends on the batch."""
        weights = self.weights(pixels)
        if values.shape[-1] != len(weights):
            bad_value("StratifiedSteps.area", "values", f"of shape (..., {len(weights)})", tuple(values.shape))
        total = torch.zeros(values.shape[:-1], dtype=torch.float64)
        for value, weight in zip(values.double().cpu().unbind(-1), weights.tolist(), strict=True):
            total = total + weight * value
        return total

    def draw_variance(self, curves: Tensor, pixels: int) -> Tensor:
        """(...) float64, variance of an image's estimate over draws, of curves (..., G + 1) known on the whole grid.

        sum_j W_j^2 Var(v in stratum j): beside the variance over images it says what drawing costs, without any resampling.
        """
        grid, weights, strata = self._laid_out("draw_variance", pixels)
        if curves.shape[-1] != len(grid):
            bad_value("StratifiedSteps.draw_variance", "curves", f"of shape (..., {len(grid)})", tuple(curves.shape))
        total = torch.zeros(curves.shape[:-1], dtype=torch.float64)
        for own in strata:
            weight, values = weights[own].sum(), curves[..., own].double().cpu()
            share = weights[own] / weight
            mean = (values * share).sum(-1, keepdim=True)
            total = total + weight**2 * ((values - mean) ** 2 * share).sum(-1)
        return total

    def mean_counts(self, pixels: int) -> Tensor:
        """(m + 2,) float64, the mean count of each step over draws."""
        grid, weights, strata = self._laid_out("mean_counts", pixels)
        counts = torch.tensor(grid, dtype=torch.float64)
        inner = [(counts[own] * weights[own]).sum() / weights[own].sum() for own in strata]
        return torch.stack([counts[0], *inner, counts[-1]])

    def _laid_out(self, function: str, pixels: int) -> tuple[list[int], Tensor, list[slice]]:
        """Counts and trapezoid weights (G + 1,) of the grid, and where each stratum lies in it."""
        counts = EqualFractions(self.grid).counts(pixels)
        shares = torch.tensor(counts, dtype=torch.float64) / max(pixels, 1)
        weights = trapezoid_weights(shares)
        edges = self.strata if isinstance(self.strata, tuple) else equal_strata(self.strata, len(counts) - 1)
        if edges[-1] != len(counts) - 1 or len(edges) > len(counts) - 1:
            least = self.grid if isinstance(self.strata, tuple) else self.strata + 1
            remedy = "use a coarser grid, or fewer strata"
            bad_value(f"StratifiedSteps.{function}", "pixels", f"enough for the grid: at least {least}", pixels, remedy)
        return counts, weights, [slice(low, high) for low, high in pairwise(edges)]


@lru_cache(maxsize=64)
def equal_strata(strata: int, grid: int) -> tuple[int, ...]:
    """Boundaries (1, ..., grid) of strata whose sizes differ by at most one."""
    return tuple(1 + (grid - 1) * j // strata for j in range(strata + 1))


def learn_strata(curves: Tensor | Sequence[Tensor], strata: int = 8) -> tuple[int, ...]:
    """Boundaries of the m strata that make estimates from curves like these the least noisy: fine where curves move.

    Minimises, over all partitions of the inner grid points into m runs, the variance of the estimate averaged over the pilot's
    curves: sum_j n_j^2 Var(v within stratum j), by dynamic programming in O(m G^2).

    Args:
        curves: (M, G + 1) scores of M pilot images on the whole grid, or several such, whose variances are added: for a
            difference of two curves pass the difference. Rows with NaN are left out.
        strata: m.

    Returns:
        Boundaries (1, ..., G) for `StratifiedSteps(strata=..., grid=G)`.

    Raises:
        TypeError, ValueError: no finite curve, unequal lengths, or more strata than inner points.

    Note:
        The estimate stays unbiased whatever the boundaries, as they do not depend on the draws; pilot images may be evaluated
        with them too.

    Example:
        >>> fall = torch.tensor([[1.0, 0.9, 0.2, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0]])
        >>> learn_strata(fall, 3)
        (1, 2, 4, 8)
    """
    stacks = [curves] if isinstance(curves, Tensor) else list(curves)
    if not stacks:
        bad_value("learn_strata", "curves", "at least one tensor", "none")
    for stack in stacks:
        require_ndim("learn_strata", "curves", require_tensor("learn_strata", "curves", stack), "(M, G + 1)")
    points = {stack.shape[1] for stack in stacks}
    if len(points) != 1 or min(points) < 3:
        bad_value("learn_strata", "curves", "of one length >= 3", sorted(points))
    inner = points.pop() - 2
    require_integer("learn_strata", "strata", strata, 1, inner)
    costs = np.zeros((inner + 1, inner + 1))
    for stack in stacks:
        values = stack.detach().double().cpu().numpy()
        values = values[np.isfinite(values).all(1)][:, 1:-1]
        if len(values) == 0:
            bad_value("learn_strata", "curves", "at least one without NaN", "none", "use more pilot images")
        # n^2 Var = n sum v^2 - (sum v)^2, for all runs [a, b) at once; centred, so that little cancels.
        values = values - values.mean(1, keepdims=True)
        sums = np.concatenate([np.zeros((len(values), 1)), values.cumsum(1)], 1)
        squares = np.concatenate([[0.0], (values**2).sum(0).cumsum()])
        sizes = np.arange(inner + 1)[None] - np.arange(inner + 1)[:, None]
        spread = sizes * (squares[None] - squares[:, None]) - _squared_differences(sums)
        costs += np.maximum(spread, 0) / len(values)
    return _cheapest(costs, strata)


def _squared_differences(sums: np.ndarray) -> np.ndarray:
    """sum over images of (sums[b] - sums[a])^2, for all a, b."""
    products = sums.T @ sums
    own = np.diag(products)
    return np.asarray(own[None] + own[:, None] - 2 * products)


def _cheapest(costs: np.ndarray, strata: int) -> tuple[int, ...]:
    """The partition of the inner points into runs with the least sum of costs[a, b]."""
    inner = len(costs) - 1
    runs = np.where(np.arange(inner + 1)[None] > np.arange(inner + 1)[:, None], costs, np.inf)
    best, back = runs[0], []
    for _ in range(strata - 1):
        totals = best[:, None] + runs
        back.append(totals.argmin(0))
        best = totals.min(0)
    edges = [inner]
    for origin in reversed(back):
        edges.append(int(origin[edges[-1]]))
    return tuple(edge + 1 for edge in [*reversed([*edges, 0])])
