"""Sparseness: the Gini index of the absolute relevance."""

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
class Sparseness(MapMetric):
    """Gini index of the absolute values of the map.

    With v(1) <= ... <= v(d) the sorted |saliency| of the d = H W pixels:
        Gini = 1 - 2 sum over k of v(k) / sum(v) * (d - k + 1/2) / d  [Chalasani 2020]
    computed as the equal sum over k of (2 k - d - 1) v(k) / (d sum(v)).

    Direction: higher is better where sparse maps are preferred: a wrong map can be sparse. Unit: none. Range: [0, 1 - 1/d]; 0
    where all |saliency| are equal (a constant map other than 0, or one pixel), 1 - 1/d where one pixel has it all. Polarity:
    none, signs are ignored. A factor changes nothing, an added constant does.

    Traps: says nothing about the model: one arbitrary pixel is as sparse as can be.

    Note:
        Deterministic; a map's score does not depend on its batch (rows of up to 2^15 pixels). One sort. Replicating each pixel
        leaves the index as it is, a frame of zeros raises it.

    Example:
        >>> import torch
        >>> Sparseness().score(torch.tensor([[[0.0, -4.0]], [[1.0, 1.0]]]))  # at most 1 - 1/2; evenly spread
        tensor([0.5000, 0.0000])

    References:
        Chalasani, Chen, Chowdhury, Wu, Jha. Concise Explanations of Neural Networks using Adversarial Training. ICML 2020.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="sparseness",
        direction="higher",
        unit="Gini index",
        measures="how much the relevance concentrates on few pixels",
        reference="Chalasani 2020",
        role="form",
        meaning="On how few pixels the relevance is. A wrong map can be sparse.",
    )

    def score(self, saliency: Tensor, truth: Tensor | None = None, *, sample_ids: Tensor | None = None) -> Tensor:
        """Gini indices, one value per image.

        Args:
            saliency: (N, H, W) floating. Any strides.
            truth: not read: sparseness needs none.

        Returns:
            (N,) float32, float64 for float64 maps; accumulated in float64. NaN where the map has NaN or Inf or is 0 everywhere.

        Raises:
            TypeError: saliency is not a floating tensor.
            ValueError: saliency is not (N, H, W).
        """
        values = checked_saliency("Sparseness.score", saliency, "last").double().contiguous().abs()
        if values.numel() == 0:
            return saliency.new_full(saliency.shape[:1], math.nan, dtype=score_dtype(saliency))
        defined = finite_rows(values) & (values != 0).flatten(1).any(1)
        # Shares of the peak: their sum cannot overflow, and equal values become exactly 1.
        shares = (values / values.amax((1, 2), keepdim=True)).flatten(1).sort(1).values
        pixels = shares.shape[1]
        weights = 2 * torch.arange(1, pixels + 1, device=shares.device) - pixels - 1
        # Rows first: torch may split a single long sum between threads, so that its rounding would depend on the batch.
        weighted, total = ((shares * weight).view(values.shape).sum(2).sum(1) for weight in (weights, 1))
        return torch.where(defined, weighted / (pixels * total), math.nan).to(score_dtype(saliency))
