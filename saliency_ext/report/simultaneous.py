"""Intervals for many differences at once: with 95 % confidence all of them are right together."""

import math

import torch
from torch import Tensor

from ..evaluation.intervals import bootstrap_means

_LEVEL = 0.95


def simultaneous_intervals(differences: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest plausible mean of each of K differences, jointly.

    With m_k the mean and s_k the bootstrap deviation of difference k, and c the 95 % quantile over resamples of
    max over k of |m*_k - m_k| / s_k, the interval is m_k -+ c' s_k. c' is c carried from the normal to Student's t with n - 1
    degrees of freedom, at equal tail, times sqrt(n / (n - 1)), as s_k is too small for few images. Resamples draw images, all
    differences of an image together.

    Args:
        differences: (n, K) float64, finite, one row per image.

    Returns:
        (K,) low and high. A difference that is the same in every image has no width. All NaN where n is below `fewest_images`:
        even a unanimous outcome could then be chance.

    Example:
        >>> low, high = simultaneous_intervals(torch.arange(20.0, dtype=torch.float64)[:, None] - 30)
        >>> bool(low < -20.5 < high < 0)
        True
    """
    from scipy.special import ndtr, stdtrit  # half a second: only where there is something to compare

    count, comparisons = differences.shape
    if count < fewest_images(comparisons):
        nothing = torch.full((comparisons,), math.nan, dtype=torch.float64)
        return nothing, nothing
    mean, resampled = differences.mean(0), bootstrap_means(differences)
    spread = resampled.std(0)
    varies = spread > 1e-12 * differences.abs().amax(0)
    far = torch.where(varies, (resampled - mean).abs() / spread, 0).amax(1)
    normal = float(torch.quantile(far, _LEVEL))
    tail = float(ndtr(-normal))
    wide = -float(stdtrit(count - 1, tail)) if tail > 0 else normal
    half = torch.where(varies, wide * math.sqrt(count / (count - 1)) * spread, 0)
    return mean - half, mean + half


def fewest_images(comparisons: int) -> int:
    """Images below which none of so many comparisons can be decided.

    The smallest n at which one of them comes out the same way in all n images by chance, two-sided, less than once in 20.
    """
    return max(2, math.ceil(math.log2(2 * max(comparisons, 1) / (1 - _LEVEL))))
