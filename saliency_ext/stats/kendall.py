"""Kendall's tau of the rankings of methods by two metrics, with its interval over images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import bad_value, require_ndim, require_tensor
from .intervals import bootstrap_means, interval


@dataclass(frozen=True)
class TauInterval:
    """Kendall's tau-b of two rankings of methods, with a 95 % interval, over how many methods and images (NaN: undefined)."""

    tau: float
    low: float
    high: float
    methods: int
    images: int


def tau_interval(first: Tensor, second: Tensor) -> TauInterval:
    """Kendall's tau-b of the rankings of methods by two metrics, by means over the same images [Kendall 1938].

        tau = sum over pairs of methods of sign(a_i - a_j) sign(b_i - b_j) / sqrt(untied pairs of a * untied pairs of b)

    with a, b the means of the methods under the two metrics. The interval is that of the bootstrap over images, the same images
    in both rankings: what another draw of images could have given for these methods. It says nothing of other methods.

    Args:
        first, second: (n, M) floating, values of M methods on n images under two metrics, both so that larger is better. Images
            with NaN or Inf anywhere are left out.

    Returns:
        tau in [-1, 1]: 1 the same order, 0 unrelated, -1 reversed. NaN for fewer than 2 methods or images, or where all means of
        a metric are tied.

    Raises:
        ValueError: not two tensors (n, M) of one shape.

    Note:
        Deterministic: the draws are keyed. Memory: 2000 M^2 numbers.

    Example:
        >>> values = torch.tensor([[0.1, 0.5, 0.9]]) + torch.tensor([[0.0], [0.1]])
        >>> tau_interval(values, values ** 2).tau, tau_interval(values, -values).tau
        (1.0, -1.0)

    References:
        Kendall. A New Measure of Rank Correlation. Biometrika 1938.
    """
    for name, values in (("first", first), ("second", second)):
        require_ndim("tau_interval", name, require_tensor("tau_interval", name, values), "(n, M)")
    if first.shape != second.shape:
        bad_value("tau_interval", "second", f"of the shape of first, {tuple(first.shape)}", tuple(second.shape))
    together = torch.stack([first, second], 1).double()
    together = together[together.isfinite().flatten(1).all(1)]
    images, methods = len(together), together.shape[2]
    if images < 2 or methods < 2:
        return TauInterval(torch.nan, torch.nan, torch.nan, methods, images)
    means, drawn = together.mean(0), bootstrap_means(together)
    taus = kendall_tau(drawn[:, 0], drawn[:, 1])
    low, high = interval(taus[taus.isfinite()], images) if bool(taus.isfinite().any()) else (taus[0], taus[0])
    return TauInterval(float(kendall_tau(means[0], means[1])), float(low), float(high), methods, images)


def kendall_tau(first: Tensor, second: Tensor) -> Tensor:
    """Kendall's tau-b (...) of values (..., M); NaN where all values of a side are tied."""
    a, b = ((values[..., :, None] - values[..., None, :]).sign() for values in (first, second))
    untied = (a * a).sum((-2, -1)) * (b * b).sum((-2, -1))
    return (a * b).sum((-2, -1)) / untied.sqrt()
