"""Control variates: an unbiased mean from few expensive observations and many correlated, inexpensive ones."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import bad_value, require_ndim, require_number, require_shape, require_tensor
from .intervals import NORMAL_95

_NAME = "controlled_mean"
_LEAST_HALF = 8  # images that a slope is taken from
_CHANCE = 2.0  # standard errors of a correlation that is none


@dataclass(frozen=True)
class ControlledMean:
    """The mean over all images, with a normal 95 % interval, and the gain of the proxy. `str()` is one line.

    Attributes:
        mean, low, high: the estimate. plain_mean, plain_low, plain_high: without the proxy, from the same images.
        correlation: of metric and proxy over the images that have both.
        gain: variance of the plain mean over that of this one: the factor by which the sample would have to grow for the same
            variance. 1 without the proxy.
        used: whether the proxy was used; it is not where its correlation with the metric is too low.
        images: with the metric; population: with the proxy.
    """

    mean: float
    low: float
    high: float
    plain_mean: float
    plain_low: float
    plain_high: float
    correlation: float
    gain: float
    used: bool
    images: int
    population: int

    def __str__(self) -> str:
        gained = f"correlation {self.correlation:.3f}, gain {self.gain:.1f}" if self.used else "proxy not used"
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}] from {self.images} of {self.population} images ({gained})"


def controlled_mean(values: Tensor, picks: Tensor, proxies: Tensor, *, min_correlation: float = 0.5) -> ControlledMean:
    """The mean of a metric over N images, of which a random sample of n has the metric and all have a proxy.

    The sample is split into halves A and B. With b_B the slope of metric on proxy in B, 0 where |correlation| < min_correlation,

        E(A | B) = (1 / N) (sum over B of y + (N - |B|) (mean over A of (y - b_B p) + b_B mean of p over all but B)),

    and the estimate is the mean of E(A | B) and E(B | A). Given B, A is a random sample of the rest, so E(A | B) is unbiased
    whatever the slope: the slope is never fitted to the images that it corrects [cross-fitting of the regression estimator,
    Cochran 1977, Sec. 7].

    Args:
        values: (n,) metric of the sampled images, in an order that does not depend on them; NaN is left out.
        picks: (n,) int64, the places of these images: distinct, drawn at random.
        proxies: (N,) proxy of every image; one with NaN is left out of the population.
        min_correlation: in [0, 1], below which a half does not use the proxy; 2 / sqrt(|B|) where that is larger.

    Note:
        Unbiased for the mean over the images that have both values. The interval assumes a large n, with the finite-population
        correction for n of N images.
        Halves of fewer than 8 images do not use the proxy. float64 on the host; deterministic.

    Example:
        >>> proxies = torch.linspace(0, 1, 1000).double()
        >>> picks = torch.arange(0, 1000, 25).roll(7)
        >>> result = controlled_mean(3 * proxies[picks] + 1, picks, proxies)
        >>> round(result.mean, 6), result.used
        (2.5, True)
    """
    values, chosen, population = _checked(values, picks, proxies, min_correlation)
    images, everything = len(values), len(population)
    halves = (slice(0, images // 2), slice(images // 2, images))
    slopes = [_slope(chosen[half], values[half], min_correlation) for half in halves]
    estimate, residuals = 0.0, []
    for own, other, slope in ((*halves, slopes[1]), (*halves[::-1], slopes[0])):
        left = everything - len(values[other])
        rest = (population.sum() - chosen[other].sum()) / left
        residual = values[own] - slope * chosen[own]
        estimate += float(values[other].sum() + left * (residual.mean() + slope * rest)) / everything / 2
        residuals.append(residual - residual.mean())
    unseen = (1 - images / everything) / images
    plain = float(values.var()) * unseen
    used = any(slopes)
    controlled = float((torch.cat(residuals) ** 2).sum()) / max(images - 2, 1) * unseen if used else plain
    centre = float(values.mean())
    mean = estimate if used else centre
    wide, plainly = (NORMAL_95 * math.sqrt(variance) for variance in (controlled, plain))
    gain = plain / controlled if controlled > 0 else math.inf if plain > 0 else 1.0
    correlation = float(_moments(chosen, values)[1])
    bounds = (mean - wide, mean + wide, centre, centre - plainly, centre + plainly)
    return ControlledMean(mean, *bounds, correlation, gain, used, images, everything)


def _checked(values: Tensor, picks: Tensor, proxies: Tensor, min_correlation: float) -> tuple[Tensor, Tensor, Tensor]:
    """Values and proxies of the images that have both, and the proxies of all."""
    for name, each in (("values", values), ("picks", picks), ("proxies", proxies)):
        require_tensor(_NAME, name, each)
    require_ndim(_NAME, "proxies", proxies, "(N,)")
    require_ndim(_NAME, "picks", picks, "(n,)")
    require_shape(_NAME, "values", values, "(n,)", picks.shape)
    if not 0 <= require_number(_NAME, "min_correlation", min_correlation) <= 1:
        bad_value(_NAME, "min_correlation", "in [0, 1]", min_correlation)
    picks, values, proxies = picks.cpu(), values.detach().double().cpu(), proxies.detach().double().cpu()
    if picks.dtype != torch.int64 or len(set(picks.tolist())) < len(picks) or ((picks < 0) | (picks >= len(proxies))).any():
        bad_value(_NAME, "picks", f"distinct int64 in [0, {len(proxies)})", picks.tolist())
    # An image whose metric has no value is excluded from the population, too: else its proxy would count for it.
    lost = torch.zeros(len(proxies), dtype=torch.bool).index_fill(0, picks[~values.isfinite()], True)
    kept = values.isfinite() & proxies[picks].isfinite()
    if kept.sum() < 2:
        bad_value(_NAME, "values", "at least two images with metric and proxy", int(kept.sum()))
    return values[kept], proxies[picks[kept]], proxies[proxies.isfinite() & ~lost]


def _moments(proxies: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Slope of values on proxies, and their correlation; 0 where one of them does not vary."""
    x, y = proxies - proxies.mean(), values - values.mean()
    xx, yy, xy = (x * x).sum(), (y * y).sum(), (x * y).sum()
    varies = (xx > 0) & (yy > 0)
    return torch.where(varies, xy / xx, 0.0), torch.where(varies, xy / (xx * yy).sqrt(), 0.0)


def _slope(proxies: Tensor, values: Tensor, min_correlation: float) -> float:
    """Slope of the metric on the proxy in a half; 0 where the half is too small, or the correlation too low or due to chance."""
    if len(values) < _LEAST_HALF:
        return 0.0
    slope, correlation = _moments(proxies, values)
    return float(slope) if abs(float(correlation)) >= max(min_correlation, _CHANCE / math.sqrt(len(values))) else 0.0
