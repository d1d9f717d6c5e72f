"""Means with 95 % intervals, and the significance of differences: one rule for every verdict of the library.

A verdict must hold for few images, for values that are skewed, tied or 0 and 1. A percentile bootstrap does not: with eight
images its false-positive rate on two equal maps is 16 %. So an interval of a mean here is the wider of two,

    flips      exact for any values that are symmetric about their mean, as the difference of two maps that are exchangeable is:
               quantiles of the means of random subsets of the images [Hartigan 1969]; for ties, binary values, few images;
    studentised bootstrap, which covers skewness, at a level that is stricter for few images (see `_studentised_error`);

and below `fewest_images` there is none. `bench/results/intervals.json` has its false-positive rate and its power.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import torch
from torch import Tensor

from ..ops import philox_uniform

_RESAMPLES = 2000
_ERROR = 0.05
_ENUMERATED = 11  # images up to which all subsets are enumerated
_SCARCE = 20  # images at which the studentised bootstrap gets half of the error
_KEPT = 1 << 19  # weights: 4 MiB
_ROUNDING = 1e-12  # of the largest value
NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class Summary:
    """Mean of a metric over the images that have a value, with a 95 % interval: NaN where the images are too few for one."""

    mean: float
    low: float
    high: float
    images: int
    left_out: int

    @property
    def too_few(self) -> bool:
        """Whether the images are too few for an interval."""
        return math.isnan(self.low)


def fewest_images(comparisons: int = 1) -> int:
    """Images below which none of so many comparisons can be decided.

    The smallest n at which one of them comes out the same way in all n images by chance, two-sided, less than once in 20.

    Example:
        >>> fewest_images(), fewest_images(10)
        (6, 9)
    """
    return max(2, math.ceil(math.log2(2 * max(comparisons, 1) / _ERROR)))


def simultaneous_intervals(differences: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest plausible mean of each of K differences: with 95 % confidence all of them are right together.

    With m_k the mean and s_k the deviation of difference k, and t*_k = (m*_k - m_k) / s*_k that of a resample of the images,
    the interval holds [m_k - c+ s_k, m_k - c- s_k], where c+ and c- are quantiles over resamples of the largest and the smallest
    t*_k over k; and the interval of flips at error 0.05 / K, which ends at means of subsets of the images.

    Args:
        differences: (n, K) float64, finite, one row per image.

    Returns:
        (K,) low and high. A difference that is the same in every image has no width. All NaN where n is below `fewest_images`:
        even a unanimous outcome could then be chance. NaN for a difference of which so many images have the same value that
        resamples often have no other, unless all values are -c, 0 or c: then flips alone are exact.

    Note:
        No rule knows what no image shows: of values that are mostly equal, with a rare one far off, it errs until some are seen.
        Deterministic: the draws are keyed. Memory: 2000 n numbers.

    Example:
        >>> low, high = simultaneous_intervals(torch.arange(20.0, dtype=torch.float64)[:, None] - 30)
        >>> bool(low < -20.5 < high < 0)
        True

    References:
        Hartigan. Using Subsample Values as Typical Values. JASA 1969. Efron, Tibshirani. An Introduction to the Bootstrap. 1993.
    """
    count, comparisons = differences.shape
    if comparisons == 0 or count < fewest_images(comparisons):
        nothing = torch.full((comparisons,), math.nan, dtype=torch.float64)
        return nothing, nothing
    mean, largest = differences.mean(0), differences.abs().amax(0)
    parts = [_by_flips(differences, comparisons), _studentised(differences)]
    low, high = torch.stack([part[0] for part in parts]).amin(0), torch.stack([part[1] for part in parts]).amax(0)
    constant = (differences - mean).abs().amax(0) <= _ROUNDING * largest
    low, high = (torch.where(constant, mean, end) for end in (low, high))
    return low.masked_fill(low.abs() <= _ROUNDING * largest, 0.0), high.masked_fill(high.abs() <= _ROUNDING * largest, 0.0)


def distinguishable_pairs(values: Tensor, names: Sequence[str]) -> frozenset[tuple[str, str]]:
    """Pairs (better, worse) whose mean paired difference is not 0, with 95 % confidence for all pairs together.

    Args:
        values: (n, M) float64, finite, larger = better: one column for each name.
        names: M, distinct.

    Example:
        >>> values = torch.arange(40.0, dtype=torch.float64).view(20, 2) + torch.tensor([0.0, 5.0], dtype=torch.float64)
        >>> distinguishable_pairs(values, ["a", "b"])
        frozenset({('b', 'a')})
    """
    pairs = list(combinations(range(len(names)), 2))
    if not pairs or len(values) == 0:
        return frozenset()
    first, second = torch.tensor(pairs).unbind(1)
    low, high = simultaneous_intervals(values[:, first] - values[:, second])
    better = {(names[a], names[b]) for (a, b), bottom in zip(pairs, low.tolist(), strict=True) if bottom > 0}
    worse = {(names[b], names[a]) for (a, b), top in zip(pairs, high.tolist(), strict=True) if top < 0}
    return frozenset(better | worse)


def _by_flips(values: Tensor, comparisons: int) -> tuple[Tensor, Tensor]:
    """Ends (K,) at means of subsets: between any two neighbours of them a centre of symmetry is equally likely to lie."""
    draws = max(_RESAMPLES, math.ceil(2 * comparisons / _ERROR))
    means = (_of_size(_subset_weights, len(values), draws) @ values).sort(0).values
    out = max(int(_ERROR / (2 * comparisons) * (len(means) + 1)), 1)
    return means[out - 1], means[-out]


def _subset_weights(count: int, draws: int) -> Tensor:
    """(subsets, n) 1 / size for the images of a subset: of all subsets but none, or of so many that are drawn. Keyed."""
    if count <= _ENUMERATED:
        chosen = (torch.arange(1, 2**count)[:, None] >> torch.arange(count)) & 1 > 0
    else:
        chosen = philox_uniform((1, 1, count), torch.arange(draws), seed=1)[:, 0, 0] < 0.5
        chosen[~chosen.any(1)] = True
    return chosen.double() / chosen.sum(1, keepdim=True)


def _studentised(values: Tensor) -> tuple[Tensor, Tensor]:
    """Ends (K,) of the studentised bootstrap, jointly."""
    count, centred = len(values), values - values.mean(0)
    weights = _of_size(_resample_weights, count, _RESAMPLES)
    means, squares = weights @ centred, weights @ centred**2
    spread = (squares - means**2).clamp(min=0).sqrt()
    own = centred.square().mean(0).sqrt()
    half, mean = _studentised_error(count) / 2, values.mean(0)
    equal = spread <= 1e-6 * own  # a resample of equal values: of another mean, and without spread
    tied = torch.stack([(equal & (sign * means > 0)).double().mean(0) > half for sign in (1, -1)]).any(0)
    one_size = _of_one_size(values)
    apart = torch.where(equal | one_size, 0.0, means / spread)
    above, below = torch.quantile(apart.amax(1), 1 - half), torch.quantile(apart.amin(1), half)
    low, high = mean - above * own, mean - below * own
    low, high = (torch.where(one_size, mean, end.masked_fill(tied, math.nan)) for end in (low, high))
    return low, high


def _of_one_size(values: Tensor) -> Tensor:
    """Whether differences (n, K) are all -c, 0 or c, as those of hits are (K,): if their mean is 0 they are symmetric."""
    largest = values.abs().amax(0)
    return ((values.abs() <= _ROUNDING * largest) | ((largest - values.abs()) <= _ROUNDING * largest)).all(0)


def _studentised_error(count: int) -> float:
    """0.05 n / (n + 20): few skewed values vary too little for their resamples to know how skewed they are."""
    return _ERROR * count / (count + _SCARCE)


def _resample_weights(count: int, draws: int) -> Tensor:
    """(draws, n) how much each image weighs in each resample: how often it was drawn / n. Keyed."""
    picks = (philox_uniform((1, 1, count), torch.arange(draws), seed=0)[:, 0, 0] * count).long().clamp(max=count - 1)
    return torch.zeros(draws, count, dtype=torch.float64).scatter_add(
        1, picks, torch.full(picks.shape, 1 / count, dtype=torch.float64)
    )


@lru_cache(maxsize=4)
def _kept(make: Callable[[int, int], Tensor], count: int, draws: int) -> Tensor:
    return make(count, draws)


def _of_size(make: Callable[[int, int], Tensor], count: int, draws: int) -> Tensor:
    """Weights for so many images, cached for few, as one table needs the same repeatedly. Read-only."""
    return (_kept if count * draws <= _KEPT else lambda make, *size: make(*size))(make, count, draws)


def bootstrap_means(values: Tensor) -> Tensor:
    """Means (2000, ...) of resamples over the images of values (n, ...), n > 0; keyed, so equal values give equal resamples."""
    count = len(values)
    weights = _of_size(_resample_weights, count, _RESAMPLES).to(values.dtype)
    return (weights @ values.reshape(count, -1)).view(_RESAMPLES, *values.shape[1:])


def interval(resampled: Tensor, images: int) -> tuple[Tensor, Tensor]:
    """Ends of a 95 % interval of a statistic of which there are resamples (R, ...) alone, such as a rank correlation.

    Quantiles over resamples, further out for few images, as resamples vary less than samples do: so that of a normal mean it is
    the interval of Student's t [Hesterberg 2015]. NaN below `fewest_images`.
    """
    if images < fewest_images():
        nothing = torch.full(resampled.shape[1:], math.nan, dtype=resampled.dtype)
        return nothing, nothing
    from scipy.special import ndtr, stdtrit  # half a second: only where it is needed

    tail = float(ndtr(math.sqrt(images / (images - 1)) * stdtrit(images - 1, _ERROR / 2)))
    low, high = torch.quantile(resampled, torch.tensor([tail, 1 - tail], dtype=resampled.dtype), 0)
    return low, high


def share_interval(hits: int, images: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share [Wilson 1927]; of no image, all that is possible.

    Example:
        >>> [round(end, 2) for end in share_interval(0, 16)]
        [0.0, 0.19]
    """
    if images == 0:
        return 0.0, 1.0
    share, z2 = hits / images, NORMAL_95**2
    middle = (share + z2 / (2 * images)) / (1 + z2 / images)
    half = NORMAL_95 * math.sqrt(share * (1 - share) / images + z2 / (4 * images**2)) / (1 + z2 / images)
    return (0.0 if hits == 0 else middle - half), (1.0 if hits == images else middle + half)


def summarise(values: Tensor, total: int, *, share: bool = False) -> Summary:
    """Mean of values (n,) float64, of `total` images in all, with its interval.

    share: values that all are 0 or 1 are misses and hits, so their mean has Wilson's interval. Not for differences: theirs could
    have been -1.
    """
    count = len(values)
    mean = float(values.mean()) if count else math.nan
    if share and count and bool(((values == 0) | (values == 1)).all()):
        return Summary(mean, *share_interval(int(values.sum()), count), count, total - count)
    low, high = (float(end) for end in simultaneous_intervals(values.double()[:, None]))
    return Summary(mean, low, high, count, total - count)


def unpaired(first: Tensor, second: Tensor, total: int) -> Summary:
    """Mean of first - second, both (n,), with the normal interval that takes them as independent: for comparison with papers.

    mean -+ 1.96 sqrt((var(first) + var(second)) / n), NaN below `fewest_images`. Values of the same images are not independent:
    it is mostly too wide.
    """
    count = len(first)
    if count < fewest_images():
        return summarise(first - second, total)
    mean = float((first - second).mean())
    half = NORMAL_95 * math.sqrt(float(first.var() + second.var()) / count)
    return Summary(mean, mean - half, mean + half, count, total - count)
