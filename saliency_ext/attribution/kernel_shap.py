"""KernelSHAP: Shapley values of segments by constrained least squares on coalitions."""

import math
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..checks import bad_value, require_integer
from ..protocols import Forward, Infill, MethodInfo
from ..segmentation import Segmenter
from ._least_squares import ridge_solution
from ._segment_method import Group, SegmentMethod
from .base import MethodOptions

_SAMPLES = 1000  # by itself


class KernelSHAP(SegmentMethod):
    """Shapley values of the game "keep these segments, the rest is infill" [Lundberg 2017].

    With v(S) the score when the segments S of K are kept, and phi the values,

        phi = argmin of sum_S w(|S|) (v(S) - v(none) - sum_(j in S) phi_j)^2    subject to    sum_j phi_j = v(all) - v(none),
        w(k) = (K - 1) / (binom(K, k) k (K - k)),    sums over all S but none and all; saliency of a pixel = phi of its segment.

    K <= exact_up_to: all 2^K - 2 coalitions, and phi are the Shapley values exactly. Larger K: half of the samples draw a size
    with probability proportional to 1 / (k (K - k)) and a uniform subset of it, the other half are their complements, all with
    weight 1: an estimate of the same regression. The constraint holds exactly in both: intercept and sum are substituted.

    Which game: with a fixed infill phi are baseline Shapley values; with several draws of a stochastic infill v is the average
    score and phi are random-baseline Shapley values (for one draw: those of that one baseline). `game` names which.

    Args:
        model: callable (B, C, H, W) -> logits (B, K).
        infill: what removed segments become.
        segmenter: inputs (N, C, H, W) to labels (N, H, W), -1 = no segment: kept in every coalition, value 0.
        samples: coalitions per image where K > exact_up_to; even.
        exact_up_to: in [1, 16], the largest K whose coalitions are all evaluated.
        seed: of the coalitions, in [0, 2^63).
        score: "probability", "logit", "log_probability", "sigmoid" or "accuracy" of the target. Values add up in this score.
        per_pixel: divide a segment's value by its number of pixels: the map then sums to v(all) - v(none); otherwise each pixel
            gets the whole value.
        max_batch: images per forward.
        tolerance: None, or stop sampling for a map when the relative noise of its values (root mean square of their jackknife
            errors over their standard deviation, over segments) is at most this. Estimated after every 256 coalitions, once
            there are two per segment; `samples` is the most. An estimate: the noise reached may be a little above it.

    Signed. Unit: the score's, per segment (or per pixel). Cost: (2^K - 2 or samples, and 2) x draws forwards, whatever the
    number of targets, and one segmentation. Memory: about 8 samples K bytes, and the smaller of samples^2 and K^2 numbers.
    Deterministic, keyed by (seed, sample id, coalition, segment). Traps: fewer than about K samples leave
    the regression open: then the values of least norm around the equal share are given; interactions are shared out equally, also
    to the infill's own artefacts.

    Raises:
        TypeError, ValueError: an option out of range; labels of another shape, dtype or device.

    Example:
        >>> import torch
        >>> from saliency_ext.infill import Constant
        >>> pixels = lambda x: torch.arange(2).expand(len(x), 1, 2)
        >>> product = lambda x: x.flatten(1).prod(1, keepdim=True)
        >>> KernelSHAP(product, Constant(0.0), pixels, score="logit")(torch.tensor([[[[2.0, 3.0]]]]), 0)
        tensor([[[3., 3.]]])

    References:
        Lundberg, Lee. A Unified Approach to Interpreting Model Predictions. NeurIPS 2017.
    """

    lead = 2  # none kept, and all
    info: ClassVar[MethodInfo] = MethodInfo(
        name="kernel_shap",
        family="perturbation",
        signed=True,
        cost="2^K or samples F",
        reference="Lundberg 2017",
        summary="Shapley values of superpixels, estimated",
    )

    @classmethod
    def from_options(cls, model: Any, options: MethodOptions, **further: Any) -> Self:
        """With the options that concern it; coalitions are drawn in pairs, so an odd number of samples is rounded up."""
        pairs = options.limited(_SAMPLES)
        return cls(
            model,
            options.infill,
            options.segmenter,
            seed=options.seed,
            max_batch=options.max_batch,
            **({"samples": pairs + pairs % 2} | further),
        )

    def __init__(
        self,
        model: Forward,
        infill: Infill,
        segmenter: Segmenter,
        *,
        samples: int = _SAMPLES,
        exact_up_to: int = 10,
        seed: int = 0,
        score: str = "probability",
        per_pixel: bool = False,
        max_batch: int = 64,
        tolerance: float | None = None,
    ) -> None:
        super().__init__(
            model,
            infill,
            segmenter,
            samples=samples,
            seed=seed,
            score=score,
            per_pixel=per_pixel,
            max_batch=max_batch,
            tolerance=tolerance,
        )
        if samples % 2 == 1:
            bad_value("KernelSHAP", "samples", "even: each subset comes with its complement", samples)
        require_integer("KernelSHAP", "exact_up_to", exact_up_to, 1, 16)
        self.exact_up_to = exact_up_to

    @property
    def game(self) -> str:
        """Whose Shapley values these are."""
        return "baseline Shapley" if self.infill.draws == 1 else "random baseline Shapley"

    def _coalitions(self, count: int) -> int:
        return 2**count if self._all_there_are(count) else self.samples

    def _all_there_are(self, count: int) -> bool:
        return count <= self.exact_up_to

    def _requested(self, group: Group) -> Tensor:
        device, images = group.inputs.device, len(group.inputs)
        exact = self._all_there_are(group.count)
        requested = all_coalitions(group.count).to(device).expand(images, -1, -1) if exact else self._drawn(group)
        ends = torch.tensor([False, True], device=device)[:, None].expand(images, self.lead, group.count)
        return torch.cat([ends, requested], 1)

    def _fitted(self, coalitions: Tensor, scores: Tensor) -> Tensor:
        requested, count = coalitions[self.lead :], coalitions.shape[1]
        ones = torch.ones(len(requested), dtype=torch.float64)
        weights = kernel_weights(count)[requested.sum(1) - 1] if self._all_there_are(count) else ones
        return constrained_values(requested, scores, weights)

    def _drawn(self, group: Group) -> Tensor:
        """(N, samples, K): subsets, each followed by its complement."""
        pairs, k = self.samples // 2, group.count
        sizes = 1.0 / (torch.arange(1, k, dtype=torch.float64) * torch.arange(k - 1, 0, -1, dtype=torch.float64))
        limits = (sizes.cumsum(0) / sizes.sum())[:-1].to(group.inputs.device)
        parts = []
        for which, how_many in zip(self._uniform(group, pairs, k), self._uniform(group, pairs, 1, purpose=1), strict=True):
            size = torch.searchsorted(limits, how_many.double(), right=True) + 1
            place = which.argsort(dim=2, stable=True)
            first = torch.arange(k, device=which.device) < size
            subset = torch.zeros_like(first).scatter_(2, place, first)
            parts.append(torch.stack([subset, ~subset], 2).flatten(1, 2))
        return torch.cat(parts, 1)


def all_coalitions(count: int) -> Tensor:
    """All subsets of `count` segments but none and all: (2^count - 2, count) bool.

    Example:
        >>> all_coalitions(2).int().tolist()
        [[1, 0], [0, 1]]
    """
    numbers = torch.arange(1, 2**count - 1)
    return (numbers[:, None] >> torch.arange(count)) & 1 > 0


def kernel_weights(count: int) -> Tensor:
    """Shapley kernel (K - 1) / (binom(K, k) k (K - k)) of sizes k = 1 .. K - 1: (K - 1,) float64."""
    sizes = range(1, count)
    return torch.tensor([(count - 1) / (math.comb(count, k) * k * (count - k)) for k in sizes], dtype=torch.float64)


def constrained_values(coalitions: Tensor, scores: Tensor, weights: Tensor) -> Tensor:
    """Values (K, T) of least weighted squares that sum to v(all) - v(none).

    phi = (v(all) - v(none)) / K + u with sum u = 0: coalitions minus their share of K see only such u.

    Args:
        coalitions: (S, K) bool.
        scores: (2 + S, T) float64: v(none), v(all), then those of the coalitions.
        weights: (S,) float64 >= 0.
    """
    count, none = coalitions.shape[1], scores[0]
    rise = scores[1] - none
    design = coalitions.double()
    shares = design.mean(1, keepdim=True)
    root = weights.sqrt()[:, None]
    unexplained = root * (scores[2:] - none - shares * rise)
    values = rise / count + ridge_solution(design.sub_(shares).mul_(root), unexplained, 0.0)
    return values + (rise - values.sum(0)) / count  # what rounding left
