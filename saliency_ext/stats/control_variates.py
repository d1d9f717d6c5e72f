"""A data-set mean from few dear values and many cheap ones that go with them: control variates, without bias."""

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
    """The mean over all images, with a normal 95 % interval, and what the proxy gained. `str()` says it in a line.

    Attributes:
        mean, low, high: the estimate. plain_mean, plain_low, plain_high: without the proxy, from the same images.
        correlation: of metric and proxy over the images that have both.
        gain: variance of the plain mean over that of this one: so many times more images would do the same. 1 without the proxy.
        used: whether the proxy was used; it is left out where it goes too little with the metric.
        images: that have the metric; population: that have the proxy.
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
        said = (
            f"correlation {self.correlation:.3f}, as good as {self.gain:.1f} times the images" if self.used else "proxy not used"
        )
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}] from {self.images} of {self.population} images ({said})"


def controlled_mean(values: Tensor, picks: Tensor, proxies: Tensor, *, least: float = 0.5) -> ControlledMean:
    """The mean of a metric over N images, of which n at random have the metric and all have a proxy.

    The picked images are cut into halves A and B. With b_B the slope of metric on proxy in B, 0 where |correlation| < least,

        E(A | B) = (1 / N) (sum over B of y + (N - |B|) (mean over A of (y - b_B p) + b_B mean of p over all but B)),

    and the estimate is the mean of E(A | B) and E(B | A). Given B, A is a random sample of the rest, so E(A | B) is right on
    average, exactly, whatever the slope: it is never learned from the images that it corrects [cross-fitting of the regression
    estimator, Cochran 1977, Sec. 7].

    Args:
        values: (n,) metric of the picked images, in an order that does not depend on them; NaN is left out.
        picks: (n,) int64, which images these are: distinct, drawn at random.
        proxies: (N,) proxy of every image; one with NaN is left out of the population.
        least: in [0, 1], correlation below which a half does without the proxy; 2 / sqrt(|B|) where that is more.

    Note:
        Unbiased for the mean over the images that have both values. The interval takes n as large; it counts the n of N images.
        Halves of fewer than 8 images do without the proxy. float64 on the host; deterministic.

    Example:
        >>> proxies = torch.linspace(0, 1, 1000).double()
        >>> picks = torch.arange(0, 1000, 25).roll(7)
        >>> result = controlled_mean(3 * proxies[picks] + 1, picks, proxies)
        >>> round(result.mean, 6), result.used
        (2.5, True)
    """
    values, chosen, population = _checked(values, picks, proxies, least)
    images, everything = len(values), len(population)
    halves = (slice(0, images // 2), slice(images // 2, images))
    slopes = [_slope(chosen[half], values[half], least) for half in halves]
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


def _checked(values: Tensor, picks: Tensor, proxies: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor]:
    """Values and proxies of the images that have both, and the proxies of all."""
    for name, each in (("values", values), ("picks", picks), ("proxies", proxies)):
        require_tensor(_NAME, name, each)
    require_ndim(_NAME, "proxies", proxies, "(N,)")
    require_ndim(_NAME, "picks", picks, "(n,)")
    require_shape(_NAME, "values", values, "(n,)", picks.shape)
    if not 0 <= require_number(_NAME, "least", least) <= 1:
        bad_value(_NAME, "least", "in [0, 1]", least)
    picks, values, proxies = picks.cpu(), values.detach().double().cpu(), proxies.detach().double().cpu()
    if picks.dtype != torch.int64 or len(set(picks.tolist())) < len(picks) or ((picks < 0) | (picks >= len(proxies))).any():
        bad_value(_NAME, "picks", f"distinct int64 in [0, {len(proxies)})", picks.tolist())
    # An image without a metric is none of the population either, or the proxies would speak for images that have no value.
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


def _slope(proxies: Tensor, values: Tensor, least: float) -> float:
    """What a half says of how the metric goes with the proxy; 0 where it says too little, or no more than chance would."""
    if len(values) < _LEAST_HALF:
        return 0.0
    slope, correlation = _moments(proxies, values)
    return float(slope) if abs(float(correlation)) >= max(least, _CHANCE / math.sqrt(len(values))) else 0.0
