"""LIME: a linear model of the score, fitted to random coalitions of segments."""

from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..checks import require_choice, require_number
from ..protocols import Forward, Infill, MethodInfo
from ..segmentation import Segmenter
from ._least_squares import ridge_solution
from ._segment_method import Group, SegmentMethod
from .base import MethodOptions

KERNELS = ("cosine", "none")

_SAMPLES = 1000  # by itself


class LIME(SegmentMethod):
    """Coefficients of a weighted ridge regression of the score on which segments are kept [Ribeiro 2016].

    z_0 = all kept; z_1 .. z_(samples-1) keep each segment with probability 1/2. With y_i the score of coalition i,

        (b0, b) = argmin of sum_i w_i (y_i - b0 - b . z_i)^2 + ridge |b|^2,    saliency of a pixel = b of its segment,
        w_i = exp(-D_i^2 / (2 width^2)),  D_i = 1 - sqrt(|z_i| / K): the cosine distance to z_0 (1 for the empty coalition).

    Published: quickshift segments, `SegmentMean` infill, 1000 samples, width 0.25, ridge 1, probability. Deviations: all
    segments stay in the regression (no choice of features); coalitions are keyed, not drawn from a generator's state.

    Args:
        model: callable (B, C, H, W) -> logits (B, K).
        infill: what removed segments become; a stochastic one is averaged over its draws.
        segmenter: inputs (N, C, H, W) to labels (N, H, W), -1 = no segment: never removed, value 0.
        samples: coalitions per image, the full one included; >= 2.
        width: > 0, of the kernel.
        ridge: >= 0; 0 is least squares, of smallest norm where several fit equally well. The intercept is not penalised.
        kernel: "cosine" as above, or "none": w_i = 1.
        seed: of the coalitions, in [0, 2^63).
        score: "probability", "logit", "log_probability", "sigmoid" or "accuracy" of the target.
        per_pixel: divide a segment's coefficient by its number of pixels; otherwise each pixel gets the whole coefficient.
        max_batch: images per forward.
        tolerance: None, or stop sampling for a map when the relative noise of its coefficients (root mean square of their
            jackknife errors over their standard deviation, over segments) is at most this. Estimated after every 256 coalitions,
            once there are two per segment; `samples` is the most. An estimate: the noise reached may be a little above it.

    Signed. Unit: the score's, per segment (or per pixel). Cost: samples x draws forwards, whatever the number of targets, and
    one segmentation. Memory: about 8 samples K bytes, and the smaller of samples^2 and K^2 numbers.
    Deterministic, keyed by (seed, sample id, coalition, segment). Traps: ridge shrinks the coefficients, more so with many
    segments or few samples: their sum is not f(x) - f(infill); the sizes of segments are not divided out; `tolerance` sees chance
    alone, not what ridge shrinks.

    Raises:
        TypeError, ValueError: an option out of range; labels of another shape, dtype or device.

    Example:
        >>> import torch
        >>> from saliency_ext.infill import Constant
        >>> halves = lambda x: (torch.arange(4) // 2).expand(len(x), 1, 4)
        >>> model = lambda x: x.sum((1, 2, 3))[:, None] * torch.tensor([1.0, -1.0])
        >>> lime = LIME(model, Constant(0.0), halves, samples=50, ridge=0.0, score="logit")
        >>> lime(torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]]), 0)
        tensor([[[3., 3., 7., 7.]]])

    References:
        Ribeiro, Singh, Guestrin. "Why Should I Trust You?" Explaining the Predictions of Any Classifier. KDD 2016.
    """

    lead = 1  # the full coalition
    info: ClassVar[MethodInfo] = MethodInfo(
        name="lime",
        family="perturbation",
        signed=True,
        cost="samples F",
        reference="Ribeiro 2016",
        summary="a linear model of the score, fitted to images that lack some superpixels",
    )

    @classmethod
    def from_options(cls, model: Any, options: MethodOptions, **further: Any) -> Self:
        """With the options that concern it."""
        return cls(
            model,
            options.infill,
            options.segmenter,
            seed=options.seed,
            max_batch=options.max_batch,
            **({"samples": options.limited(_SAMPLES)} | further),
        )

    def __init__(
        self,
        model: Forward,
        infill: Infill,
        segmenter: Segmenter,
        *,
        samples: int = _SAMPLES,
        width: float = 0.25,
        ridge: float = 1.0,
        kernel: str = "cosine",
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
        self.width = require_number("LIME", "width", width, above=0.0)
        self.ridge = require_number("LIME", "ridge", ridge)
        require_choice("LIME", "kernel", kernel, KERNELS)
        self.kernel = kernel

    def _requested(self, group: Group) -> Tensor:
        coalitions = torch.cat([numbers < 0.5 for numbers in self._uniform(group, self.samples, group.count)], 1)
        coalitions[:, 0] = True
        return coalitions

    def _fitted(self, coalitions: Tensor, scores: Tensor) -> Tensor:
        ones = torch.ones(len(coalitions), dtype=torch.float64)
        weights = cosine_weights(coalitions, self.width) if self.kernel == "cosine" else ones
        return weighted_ridge(coalitions, scores, weights, self.ridge)


def cosine_weights(coalitions: Tensor, width: float) -> Tensor:
    """exp(-D^2 / (2 width^2)) for coalitions (..., K) bool, D the cosine distance to the full coalition: (...) float64.

    Example:
        >>> import torch
        >>> cosine_weights(torch.tensor([[True, True], [False, False]]), 1.0)
        tensor([1.0000, 0.6065], dtype=torch.float64)
    """
    distance = 1.0 - (coalitions.sum(-1).double() / coalitions.shape[-1]).sqrt()
    return (-(distance**2) / (2.0 * width**2)).exp()


def weighted_ridge(coalitions: Tensor, scores: Tensor, weights: Tensor, ridge: float) -> Tensor:
    """Coefficients (K, T) of a ridge regression with an unpenalised intercept.

    Args:
        coalitions: (S, K) bool.
        scores: (S, T) float64.
        weights: (S,) float64 >= 0, not all 0.
        ridge: >= 0.
    """
    shares = (weights / weights.sum())[:, None]
    root = weights.sqrt()[:, None]
    design = coalitions.double()
    design -= shares.mT @ design
    return ridge_solution(design.mul_(root), root * (scores - (shares * scores).sum(0)), ridge)
