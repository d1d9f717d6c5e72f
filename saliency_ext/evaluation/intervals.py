"""Means with intervals: a keyed bootstrap over images, and the normal interval of two curves taken as independent."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops import philox_uniform

_RESAMPLES = 2000
NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class Summary:
    """Mean of a metric over the images that have a value, with a 95 % interval (NaN for fewer than two)."""

    mean: float
    low: float
    high: float
    images: int
    left_out: int


def bootstrap_means(values: Tensor) -> Tensor:
    """Means (2000, ...) of resamples over the images of values (n, ...), n > 0; keyed, so equal values give equal resamples."""
    count = len(values)
    draws = philox_uniform((1, 1, count), torch.arange(_RESAMPLES), seed=0)[:, 0, 0]
    picks = (draws * count).long().clamp(max=count - 1)
    often = torch.zeros(_RESAMPLES, count, dtype=values.dtype).scatter_add(1, picks, torch.ones_like(picks, dtype=values.dtype))
    return (often @ values.reshape(count, -1) / count).view(_RESAMPLES, *values.shape[1:])


def interval(means: Tensor) -> tuple[Tensor, Tensor]:
    """The 2.5 % and 97.5 % quantiles over resamples (R, ...)."""
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=means.dtype), 0)
    return low, high


def summarise(values: Tensor, total: int) -> Summary:
    """Mean and percentile bootstrap of values (n,) float64, of `total` images in all."""
    count = len(values)
    if count == 0:
        return Summary(math.nan, math.nan, math.nan, 0, total)
    if count == 1:
        return Summary(float(values.mean()), math.nan, math.nan, 1, total - 1)
    low, high = interval(bootstrap_means(values))
    return Summary(float(values.mean()), float(low), float(high), count, total - count)


def unpaired(first: Tensor, second: Tensor, total: int) -> Summary:
    """Mean of first - second, both (n,), with the normal interval that takes them as independent: for comparison with papers.

    mean -+ 1.96 sqrt((var(first) + var(second)) / n). Values of the same images are not independent: it is mostly too wide.
    """
    count = len(first)
    if count < 2:
        return summarise(first - second, total)
    mean = float((first - second).mean())
    half = NORMAL_95 * math.sqrt(float(first.var() + second.var()) / count)
    return Summary(mean, mean - half, mean + half, count, total - count)
