"""How much of the relevance lies on the object."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..checks import require_mask
from ..nonfinite import finite_rows
from ..ops.rank import checked_saliency
from ..protocols import MetricInfo
from ._levels import constant_rows, score_dtype
from .base import MapMetric


@dataclass(frozen=True)
class RelevanceMass(MapMetric):
    """Share of the positive relevance that lies inside the truth.

    mass = sum of max(saliency, 0) over truth / sum of max(saliency, 0) over all pixels  [Arras 2022, relevance mass accuracy]
    Negative relevance counts as 0: a share of signed sums could leave [0, 1].

    Direction: higher is better. Unit: share of the relevance. Range: [0, 1]; relevance spread evenly has the area share of the
    truth. Polarity: larger saliency = more relevant. A positive factor changes nothing, an added constant does: a map that was
    rescaled to [0, 1] has another mass.

    Traps: favours maps of few pixels; evidence beside the object, which the model may well use, counts as wrong.

    Note:
        Deterministic; a map's score does not depend on its batch (rows of up to 2^15 pixels). Reads the
        values, not only the order. Memory: a few float64 copies of the map.

    Example:
        >>> import torch
        >>> saliency = torch.tensor([[[3.0, 1.0, -5.0]]])
        >>> truth = torch.tensor([[[True, False, True]]])
        >>> RelevanceMass().score(saliency, truth)  # (3 + 0) / (3 + 1 + 0)
        tensor([0.7500])

    References:
        Arras, Osman, Samek. CLEVR-XAI: A benchmark dataset for the ground truth evaluation of neural network explanations.
        Information Fusion 81, 2022.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="relevance_mass",
        direction="higher",
        unit="share",
        measures="how much of the positive relevance lies on the object",
        reference="Arras 2022",
        role="truth",
        needs="truth",
        range=(0.0, 1.0),
        meaning="How much of the positive relevance lies on the object?",
        default=5,
    )

    def score(self, saliency: Tensor, truth: Tensor | None = None, *, sample_ids: Tensor | None = None) -> Tensor:
        """Shares, one value per image.

        Args:
            saliency: (N, H, W) floating, larger = more relevant. Any strides.
            truth: (N, H, W) bool, True on the object.

        Returns:
            (N,) float32, float64 for float64 maps; accumulated in float64.
            NaN where the map has NaN or Inf, is constant or has no positive
            value, and where the truth is empty.

        Raises:
            TypeError: saliency is not a floating tensor; truth is not a bool tensor (None included).
            ValueError: shapes or devices differ.
        """
        function = "RelevanceMass.score"
        values = checked_saliency(function, saliency, "last").double().contiguous()
        mask = require_mask(function, "truth", truth, values, "saliency")
        if values.numel() == 0:
            return saliency.new_full(saliency.shape[:1], math.nan, dtype=score_dtype(saliency))
        flat = values.flatten(1)
        defined = finite_rows(flat) & ~constant_rows(saliency) & (flat > 0).any(1) & mask.flatten(1).any(1)
        positive = values.clamp(min=0)
        positive = positive / positive.amax((1, 2), keepdim=True)  # their sum cannot overflow
        # Rows first: torch may split a single long sum between threads, so that its rounding would depend on the batch.
        share = torch.where(mask.contiguous(), positive, 0).sum(2).sum(1) / positive.sum(2).sum(1)
        return torch.where(defined, share, math.nan).to(score_dtype(saliency))
