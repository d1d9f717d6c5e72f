"""Complexity: the entropy of the absolute relevance over the pixels."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..nonfinite import finite_rows
from ..ops.rank import checked_saliency
from ..protocols import MetricInfo
from ._levels import score_dtype
from .base import MapMetric


@dataclass(frozen=True)
class Complexity(MapMetric):
    """Entropy of the absolute values of the map, read as a distribution over its pixels.

    complexity = -sum over pixels of P ln P,  P = |saliency| / sum(|saliency|),  0 ln 0 = 0  [Bhatt 2020]

    Direction: lower is better where sparse maps are preferred: a wrong map can be simple. Unit: nats; exp(complexity) is a number
    of pixels. Range: [0, ln(H W)]; 0 where one pixel has it all, ln(H W) where all |saliency| are equal (a constant map other
    than 0). Polarity: none, signs are ignored. A factor changes nothing, an added constant does.

    Traps: says nothing about the model: one arbitrary pixel is as simple as can be.

    Note:
        Deterministic; a map's score does not depend on its batch (rows of up to 2^15 pixels). Not comparable across sizes of
        maps: replicating each pixel s x s times adds 2 ln s; a frame of zeros adds nothing.

    Example:
        >>> import torch
        >>> Complexity().score(torch.tensor([[[1.0, -1.0]], [[0.0, 3.0]]]))  # ln 2; one pixel
        tensor([0.6931, 0.0000])

    References:
        Bhatt, Weller, Moura. Evaluating and Aggregating Feature-based Model Explanations. IJCAI 2020.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="complexity",
        direction="lower",
        unit="nats",
        measures="over how many pixels the relevance is spread",
        reference="Bhatt 2020",
        role="form",
        meaning="Over how many pixels the relevance is spread.",
    )

    def score(self, saliency: Tensor, truth: Tensor | None = None, *, sample_ids: Tensor | None = None) -> Tensor:
        """Entropies, one value per image.

        Args:
            saliency: (N, H, W) floating. Any strides.
            truth: not read: complexity needs none.

        Returns:
            (N,) float32, float64 for float64 maps; accumulated in float64. NaN where the map has NaN or Inf or is 0 everywhere.

        Raises:
            TypeError: saliency is not a floating tensor.
            ValueError: saliency is not (N, H, W).
        """
        values = checked_saliency("Complexity.score", saliency, "last").double().contiguous().abs()
        if values.numel() == 0:
            return saliency.new_full(saliency.shape[:1], math.nan, dtype=score_dtype(saliency))
        defined = finite_rows(values) & (values != 0).flatten(1).any(1)
        shares = values / values.amax((1, 2), keepdim=True)  # their sum cannot overflow
        # Rows first: torch may split a single long sum between threads, so that its rounding would depend on the batch.
        shares = shares / shares.sum(2, keepdim=True).sum(1, keepdim=True)
        entropy = torch.special.entr(shares).sum(2).sum(1)
        return torch.where(defined, entropy, math.nan).to(score_dtype(saliency))
