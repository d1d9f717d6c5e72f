"""Are the most relevant pixels those of the object?"""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from ..checks import require_integer, require_mask
from ..nonfinite import finite_rows
from ..ops.rank import checked_saliency, rank, tie_ids
from ..protocols import MetricInfo
from ._levels import levelled, score_dtype
from .base import MapMetric, MetricOptions


@dataclass(frozen=True)
class RelevanceRank(MapMetric):
    """Share of the K most relevant pixels that lie inside the truth, K being the truth's area in pixels.

    accuracy = #{p in truth : rank(p) < K} / K,  K = #truth  [Arras 2022, relevance rank accuracy]
    Precision and recall coincide at K. Ties at random, keyed by (seed, sample id, pixel), as in
    `ops.rank`; values that differ by rounding alone tie (`levels.levelled`).

    Direction: higher is better. Unit: share of K pixels. Range: [0, 1]; a random order has the area share of the truth.
    Polarity: larger saliency = more relevant. Strictly increasing functions of the map change nothing.

    Args:
        seed: of the order of tied pixels, in [0, 2^63).

    Raises:
        TypeError: seed is not an int.
        ValueError: seed out of range.

    Note:
        Deterministic, the same on CPU and CUDA; independent of the batch if sample ids are given. Traps: ties: a map with
        fewer than K nonzero pixels is in part scored by chance. Time and memory of one `ops.rank`.

    Example:
        >>> import torch
        >>> saliency = torch.tensor([[[3.0, 2.0, 1.0]]])
        >>> truth = torch.tensor([[[True, False, True]]])
        >>> RelevanceRank().score(saliency, truth)  # K = 2: of pixels 0 and 1 the first is inside
        tensor([0.5000])

    References:
        Arras, Osman, Samek. CLEVR-XAI: A benchmark dataset for the ground truth evaluation of neural network explanations.
        Information Fusion 81, 2022.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="relevance_rank",
        direction="higher",
        unit="share",
        measures="how many of the most relevant pixels lie on the object, as many as it has",
        reference="Arras 2022",
        role="truth",
        needs="truth",
        range=(0.0, 1.0),
        meaning="Of as many most relevant pixels as the object has, how many lie on it?",
    )

    @classmethod
    def from_options(cls, options: MetricOptions) -> Self:
        """The metric with those of the shared options that apply to it."""
        return cls(options.seed)

    seed: int = 0

    def __post_init__(self) -> None:
        require_integer("RelevanceRank", "seed", self.seed, 0, 2**63 - 1)

    def score(self, saliency: Tensor, truth: Tensor | None = None, *, sample_ids: Tensor | None = None) -> Tensor:
        """Shares, one value per image.

        Args:
            saliency: (N, H, W) floating, larger = more relevant. Any strides.
            truth: (N, H, W) bool, True on the object.
            sample_ids: (N,) int64 in [0, 2^48), the identity of each image, for ties; 0 .. N-1 if not given.

        Returns:
            (N,) float32, float64 for float64 maps; computed in float64.
            NaN where the map has NaN or Inf or is constant, and where the truth is
            empty.

        Raises:
            TypeError: saliency is not a floating tensor; truth is not a bool tensor (None included); sample_ids is not int64.
            ValueError: shapes or devices differ; sample_ids out of range.
        """
        function = "RelevanceRank.score"
        values = levelled(checked_saliency(function, saliency, "last"))
        mask = require_mask(function, "truth", truth, values, "saliency")
        ids = tie_ids(function, values, "random", self.seed, sample_ids)
        if values.numel() == 0:
            return saliency.new_full(saliency.shape[:1], math.nan, dtype=score_dtype(saliency))
        flat = values.flatten(1)
        defined = finite_rows(flat) & (flat != flat[:, :1]).any(1) & mask.flatten(1).any(1)
        ranks = rank(values, ties="random", seed=self.seed, sample_ids=ids, nan="last").flatten(1)
        inside = mask.flatten(1)
        area = inside.sum(1, keepdim=True)
        share = (inside & (ranks < area)).sum(1).double() / area[:, 0]
        return torch.where(defined, share, math.nan).to(score_dtype(saliency))
