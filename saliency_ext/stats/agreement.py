"""Stability of rankings of methods: agreement over settings, such as infills, and over images."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from ..checks import bad_value, require_dtype, require_ndim, require_shape, require_tensor
from .intervals import Summary, bootstrap_means, fewest_images, interval, summarise
from .kendall import kendall_tau

_AT_ONCE = 200  # resamples whose orders are compared together


@dataclass(frozen=True)
class RankAgreement:
    """How far S rankings of M methods agree. Rankings are by means over images; intervals are bootstraps over images.

    A resampled ranking is noisier than the measured one, so the intervals of agreement tend to lie low, those of flips high.

    Attributes:
        settings, methods: names.
        tau, low, high: (S, S) Kendall's tau-b of two rankings, with its interval; 1 on the diagonal.
        inversions: (S, S) pairs of methods whose order differs.
        mean_tau, mean_rho: mean of Kendall's tau-b and of Spearman's rho over pairs of settings.
        flips: share of pairs of methods whose order differs, over pairs of settings.
        decided_flips: the same, counted only where the order is significant (95 % interval of the paired difference) in both.
        flips_other_images: share of pairs whose order differs between two resamples of the images under one setting: what
            another sample of images changes, where nothing else does.
        alpha: per setting, Krippendorff's alpha of the images' own rankings: 1 where every image ranks the methods equally, 0
            where images agree as if by chance.
    """

    settings: tuple[str, ...]
    methods: tuple[str, ...]
    tau: Tensor
    low: Tensor
    high: Tensor
    inversions: Tensor
    mean_tau: Summary
    mean_rho: Summary
    flips: Summary
    decided_flips: float
    flips_other_images: float
    alpha: tuple[Summary, ...]


def rank_agreement(scores: Tensor, settings: Sequence[str], methods: Sequence[str]) -> RankAgreement:
    """Agreement of the rankings of M methods under S settings.

    Args:
        scores: (S, M, N) float64, higher = better (negate what is better when lower); NaN where there is no value: an image
            counts only if it has every value.
        settings, methods: S and M names, at least two each.

    Raises:
        TypeError, ValueError: which argument, what was expected and what was got.

    Note:
        Deterministic. Memory: 2000 resamples of S M means.

    Example:
        >>> scores = torch.tensor([[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]], dtype=torch.float64)[:, :, None].expand(2, 3, 4)
        >>> result = rank_agreement(scores, ["grey", "blur"], ["a", "b", "c"])
        >>> round(result.mean_tau.mean, 3), int(result.inversions[0, 1]), round(result.flips.mean, 3)
        (0.333, 1, 0.333)

    References:
        Kendall. A New Measure of Rank Correlation. 1938. Krippendorff. Content Analysis. 2004.
    """
    values, images = _complete("rank_agreement", scores)
    for argument, names, count in (("settings", settings, values.shape[1]), ("methods", methods, values.shape[2])):
        if len(names) != count or count < 2:
            bad_value("rank_agreement", argument, f"{max(count, 2)} names, at least two", len(names))
    result = _Orders.of(values)
    tau, rho, flips = result.compared(result.means[None])
    pairs = torch.triu_indices(len(settings), len(settings), 1)
    resampled = [part[:, pairs[0], pairs[1]].mean(1) for part in result.resampled]
    low, high = interval(result.resampled[0], len(values))
    measured = [each[0][pairs[0], pairs[1]].mean() for each in (tau, rho, flips)]
    mean_tau, mean_rho, share = (
        _summary(value, draws, images, len(values)) for value, draws in zip(measured, resampled, strict=True)
    )
    several = len(methods) * (len(methods) - 1) // 2
    return RankAgreement(
        tuple(settings),
        tuple(methods),
        tau[0],
        low,
        high,
        (flips[0] * several).round().nan_to_num(0).long(),
        mean_tau,
        mean_rho,
        share,
        result.decided(pairs),
        result.other_images(),
        tuple(krippendorff_alpha(scores[row]) for row in range(len(settings))),
    )


def more_stable(first: Tensor, second: Tensor) -> tuple[Summary, Summary]:
    """How much more stable rankings are across settings under one metric than under another: differences of mean tau and rho.

    Args:
        first, second: (S, M, N), as `rank_agreement` takes them, of the same settings, methods and images.

    Returns:
        first - second, for Kendall's tau-b and Spearman's rho, each a mean over pairs of settings, with a paired bootstrap.
    """
    require_shape("more_stable", "second", second, "(S, M, N)", first.shape)
    values, images = _complete("more_stable", torch.cat([first, second], 1))
    count = first.shape[1]
    orders = [_Orders.of(part) for part in (values[:, :, :count], values[:, :, count:])]
    pairs = torch.triu_indices(len(first), len(first), 1)
    result = []
    for which in (0, 1):
        measured = [each.compared(each.means[None])[which][0][pairs[0], pairs[1]].mean() for each in orders]
        drawn = [each.resampled[which][:, pairs[0], pairs[1]].mean(1) for each in orders]
        result.append(_summary(measured[0] - measured[1], drawn[0] - drawn[1], images, len(values)))
    return result[0], result[1]


def self_advantage(scores: Tensor) -> Summary:
    """Advantage of a map that is scored with the infill that made it: matched minus unmatched, paired over images.

    mean over i of scores[i, i] - mean over i != j of scores[i, j]. Effects of the map alone and of the metric alone cancel.

    Args:
        scores: (B, B, N) of the map made with infill i under the metric with infill j, higher = better.

    Example:
        >>> self_advantage(torch.eye(2, dtype=torch.float64)[:, :, None].expand(2, 2, 3)).mean
        1.0
    """
    values, images = _complete("self_advantage", scores)
    count = values.shape[1]
    require_shape("self_advantage", "scores", scores, "(B, B, N)", (count, count, images))
    if count < 2:
        bad_value("self_advantage", "scores", "of at least two infills", count)
    matched = values.diagonal(dim1=1, dim2=2).sum(1)
    return summarise(matched / count - (values.sum((1, 2)) - matched) / (count * (count - 1)), images)


def disagreement(first: Tensor, second: Tensor) -> Summary:
    """Rate at which two metrics disagree about which of two maps of an image is better: mean over pairs, then over images.

    Args:
        first, second: (M, N) of M maps under either metric, both higher = better, such as -MoRF and LeRF. A tie disagrees with
            nothing.
    """
    require_shape("disagreement", "second", second, "(M, N)", first.shape)
    values, images = _complete("disagreement", torch.stack([first, second]))
    if values.shape[2] < 2:
        bad_value("disagreement", "first", "of at least two maps", values.shape[2])
    signs = _signs(values)
    return summarise((signs[:, 0] * signs[:, 1] < 0).double().mean(1), images, share=True)


def krippendorff_alpha(scores: Tensor) -> Summary:
    """Krippendorff's alpha of the images as raters that rank M methods, with a bootstrap interval over images.

    alpha = 1 - D_o / D_e on squared differences of ranks: D_o between images for one method, D_e between any two ratings. For n
    complete ratings that is 1 - mean over methods of the variance over images / variance of all ranks.

    Args:
        scores: (M, N), higher = better; images with a missing value are left out.
    """
    values, images = _complete("krippendorff_alpha", scores[None])
    count, methods = len(values), values.shape[2]
    if methods < 2:
        bad_value("krippendorff_alpha", "scores", "of at least two methods", methods)
    if count < 2:
        return summarise(values.new_empty(0), images)
    ranks = (values[:, 0, :, None] - values[:, 0, None]).sign().sum(2)
    moments = torch.stack([ranks, ranks**2], 1)

    def alpha(mean: Tensor, spread: float) -> Tensor:
        within = (mean[:, 1] - mean[:, 0] ** 2).mean(1) * spread
        return 1 - within / (mean[:, 1].mean(1) - mean[:, 0].mean(1) ** 2) * (count * methods - 1) / (count * methods)

    unbiased = count / (count - 1)
    drawn = alpha(bootstrap_means(moments), unbiased**2)  # once more: a resample varies less than the sample
    return _summary(alpha(moments.mean(0, keepdim=True), unbiased)[0], drawn, images, count)


class _Orders:
    """Rankings by means (S, M), and their bootstrap distribution over images."""

    def __init__(self, values: Tensor, means: Tensor, drawn: Tensor) -> None:
        self.values, self.means, self.drawn = values, means, drawn
        parts = [self.compared(part) for part in torch.split(drawn, _AT_ONCE)]
        self.resampled = tuple(torch.cat([part[which] for part in parts]) for which in range(3))

    @staticmethod
    def of(values: Tensor) -> "_Orders":
        """From values (n, S, M)."""
        drawn = bootstrap_means(values) if len(values) else values.new_full((1, *values.shape[1:]), torch.nan)
        return _Orders(values, values.mean(0), drawn)

    def compared(self, means: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tau-b, rho and share of flips, (R, S, S) each, of means (R, S, M)."""
        signs = _signs(means)
        ranks = (means[..., :, None] - means[..., None, :]).sign().sum(3)
        products, squares = ranks @ ranks.mT, (ranks**2).sum(2)
        flips = torch.stack([(signs * signs[:, [row]] < 0).double().mean(2) for row in range(signs.shape[1])], 1)
        flips = torch.where(means.isfinite().all(), flips, torch.nan)
        rho = products / (squares[:, :, None] * squares[:, None, :]).sqrt()
        return kendall_tau(means[:, :, None], means[:, None]), rho, flips

    def decided(self, pairs: Tensor) -> float:
        """Share of pairs of methods in opposite order, both times with an interval that leaves out 0."""
        if len(self.values) < fewest_images():
            return float("nan")
        one, other = torch.triu_indices(self.means.shape[1], self.means.shape[1], 1)
        low, high = interval(self.drawn[:, :, one] - self.drawn[:, :, other], len(self.values))
        sure = (low > 0).double() - (high < 0).double()
        return float((sure[pairs[0]] * sure[pairs[1]] < 0).double().mean())

    def other_images(self) -> float:
        """Share of flips between one resample and the next, under the same setting."""
        if len(self.values) < 2:
            return float("nan")
        signs = _signs(self.drawn)
        return float((signs[1:] * signs[:-1] < 0).double().mean())


def _signs(values: Tensor) -> Tensor:
    """(..., P) signs of the differences of every two of M, from (..., M)."""
    one, other = torch.tensor(list(combinations(range(values.shape[-1]), 2)), dtype=torch.int64).view(-1, 2).T
    return (values[..., one] - values[..., other]).sign()


def _complete(function: str, scores: Tensor) -> tuple[Tensor, int]:
    """Values (n, S, M) of the images that have all, and how many images there are."""
    require_dtype(function, "scores", require_tensor(function, "scores", scores), (torch.float64, torch.float32))
    require_ndim(function, "scores", scores, "(S, M, N)")
    values = scores.detach().cpu().double().permute(2, 0, 1)
    return values[values.isfinite().all(2).all(1)].contiguous(), scores.shape[2]


def _summary(value: Tensor, drawn: Tensor, images: int, count: int) -> Summary:
    """A measured value with the interval of its resamples."""
    known = drawn[drawn.isfinite()]
    low, high = interval(known, count) if len(known) else (torch.nan, torch.nan)
    return Summary(float(value), float(low), float(high), count, images - count)
