"""Adaptive number of perturbed inputs: blocks of random masks until the noise of the map is small (RISE, LIME, KernelSHAP).

The noise is estimated by the delete-a-group jackknife [Kott 2001] after every block, so the noise reached may exceed the
tolerance slightly. There is no anytime-valid bound, as there is for a mean of bounded scores: these maps are ratios and
regressions.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from ..checks import require_number

EVERY = 256  # masks between two estimates of the noise
GROUPS = 8


def checked_tolerance(function: str, tolerance: object) -> float | None:
    """None, or a number > 0."""
    return None if tolerance is None else require_number(function, "tolerance", tolerance, above=0.0)


def group_of(count: int, groups: int) -> Tensor:
    """Group of each of `count` masks: runs of about equal length that keep antithetic pairs together."""
    return torch.arange(count) // 2 * groups // ((count + 1) // 2)


def jackknife_error(without: Tensor) -> Tensor:
    """(...) standard error from the estimates (K, ...) that lack one of K groups each.

    SE^2 = (K - 1) / K * sum_k (S_k - mean_j S_j)^2.
    """
    return (without.var(0, unbiased=False) * (len(without) - 1)).sqrt()


def relative_noise(saliency: Tensor, standard_error: Tensor) -> Tensor:
    """(...) root mean square of the standard error (..., H, W) over the standard deviation of the map; 0 without any error."""
    noise = standard_error.square().mean((-2, -1)).sqrt()
    spread = (saliency - saliency.mean((-2, -1), keepdim=True)).square().mean((-2, -1)).sqrt()
    return torch.where(noise > 0, noise / spread, 0.0)


def grown(
    shape: Sequence[int],
    maximum: int,
    tolerance: float | None,
    blocks: Iterable[slice],
    request: Callable[[Tensor, slice], Tensor],
    noise: Callable[[int, Tensor], float],
) -> tuple[Tensor, Tensor]:
    """Scores of as many masks as each image and target needs.

    Args:
        shape: (N, T), images and targets.
        maximum: number of masks at most.
        tolerance: relative noise at which a map has enough; None: all take `maximum`.
        blocks: slices of 0 .. maximum - 1, of EVERY masks where there is a tolerance.
        request: images (n,) int64 and a slice of the masks to their scores (n, T, S) float64.
        noise: an image, and its scores (S,) for one target so far, to the relative noise of its map.

    Returns:
        Scores (N, T, maximum) float64, 0 where not evaluated, and how many each map is to use, (N, T) int64.
    """
    scores = torch.zeros(*shape, maximum, dtype=torch.float64)
    used = torch.full(tuple(shape), maximum)
    growing = torch.ones(tuple(shape), dtype=torch.bool)
    for part in blocks:
        rows = growing.any(1).nonzero()[:, 0]
        scores[rows, :, part] = request(rows, part)
        if tolerance is None or part.stop == maximum:
            continue
        for n, t in growing.nonzero().tolist():
            if noise(n, scores[n, t, : part.stop]) <= tolerance:
                growing[n, t], used[n, t] = False, part.stop
        if not growing.any():
            break
    return scores, used
