"""How well the map, read as a segmentation, agrees with the true one: intersection over union, average precision."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from ..checks import bad_type, bad_value, require_choice, require_integer, require_mask
from ..nonfinite import finite_rows
from ..ops.rank import checked_saliency, rank, tie_ids
from ..protocols import MetricInfo
from ._levels import levelled, score_dtype
from .base import MapMetric, MetricOptions

_SUMMARIES = ("mean", "max", "average_precision")


@dataclass(frozen=True)
class MaskAgreement(MapMetric):
    """Overlap of the most relevant pixels with the truth, over several sizes of the mask, in one number.

    With T the truth and A(k) = {p : rank(p) < k} the k most relevant of the H W pixels:
        IoU(k) = #(A(k) and T) / #(A(k) or T)  [Jaccard index]
        mean              sum over q in fractions of IoU(k(q)) / #fractions,  k(q) = floor(q H W + 1/2), but at least 1
        max               max over q in fractions of IoU(k(q))
        average_precision sum over p in T of precision(p) / #T,  precision(p) = #(A(rank(p) + 1) and T) / (rank(p) + 1)
    Ties: for IoU at random, keyed by (seed, sample id, pixel), as in `ops.rank`; values that differ by rounding alone tie
    (`levels.levelled`). Average precision is averaged over all orders
    of the tied pixels, in closed form: where n pixels with h hits come before a block of m tied pixels with t hits, the block
    adds sum for j = 1 .. m of  t/m (h + 1 + (j - 1) (t - 1) / (m - 1)) / (n + j).  Threshold-based variants count the block
    as a whole, t (h + t) / (n + m); they are equal where nothing ties.

    Direction: higher is better. Unit: share. Range: [0, 1]. A perfect map has average precision 1; its max is 1 only if some
    k(q) is the truth's area, and its mean is that of min(k, area) / max(k, area): compare means on equal truths only. In a
    random order the precision, and about the average precision, is the truth's area share. Polarity: larger saliency = more
    relevant. Strictly increasing functions of the map change nothing.

    Args:
        fractions: sizes of the masks as shares of the pixels, each in (0, 1]; not read by average_precision.
        summary: "mean", "max" or "average_precision". The max picks the best size with the truth in hand: an upper bound.
        seed: of the order of tied pixels, in [0, 2^63); not read by average_precision.

    Raises:
        TypeError: fractions are not numbers; seed is not an int.
        ValueError: no fractions, or out of (0, 1]; unknown summary; seed out of range.

    Note:
        Deterministic; independent of the batch if sample ids are given. One sort of the map for all fractions. Traps: the mean
        depends on the fractions: report them. A segmentation is no explanation: a model may use less, or what lies beside it.

    Example:
        >>> import torch
        >>> saliency = torch.tensor([[[4.0, 3.0, 2.0, 1.0]]])
        >>> truth = torch.tensor([[[True, False, True, False]]])
        >>> MaskAgreement(fractions=(0.25, 0.75)).score(saliency, truth)  # (1/2 + 2/3) / 2
        tensor([0.5833])
        >>> MaskAgreement(summary="average_precision").score(saliency, truth)  # (1/1 + 2/3) / 2
        tensor([0.8333])
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="mask_agreement",
        direction="higher",
        unit="share",
        measures="overlap of the most relevant pixels with a segmentation, over mask sizes",
        reference="intersection over union (Jaccard index); average precision",
        role="truth",
        needs="truth",
        meaning="How well the most relevant pixels overlap the object, over several sizes.",
    )

    @classmethod
    def from_options(cls, options: MetricOptions) -> Self:
        """The metric with those of the shared options that apply to it."""
        return cls(seed=options.seed)

    fractions: Sequence[float] = tuple(i / 20 for i in range(1, 20))
    summary: str = "mean"
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.fractions, Sequence) or isinstance(self.fractions, str):
            bad_type("MaskAgreement", "fractions", "to be a sequence of numbers", type(self.fractions).__name__)
        for fraction in self.fractions:
            if isinstance(fraction, bool) or not isinstance(fraction, int | float):
                bad_type("MaskAgreement", "fractions", "to be numbers", type(fraction).__name__)
            if not 0 < fraction <= 1:
                bad_value("MaskAgreement", "fractions", "in (0, 1]", fraction)
        if not self.fractions:
            bad_value("MaskAgreement", "fractions", "not to be empty", "no fraction")
        require_choice("MaskAgreement", "summary", self.summary, _SUMMARIES)
        require_integer("MaskAgreement", "seed", self.seed, 0, 2**63 - 1)
        object.__setattr__(self, "fractions", tuple(self.fractions))  # hashable, and out of the caller's reach

    def score(self, saliency: Tensor, truth: Tensor | None = None, *, sample_ids: Tensor | None = None) -> Tensor:
        """The summary, one value per image.

        Args:
            saliency: (N, H, W) floating, larger = more relevant. Any strides.
            truth: (N, H, W) bool, the segmentation.
            sample_ids: (N,) int64 in [0, 2^48), the identity of each image, for ties; 0 .. N-1 if not given.

        Returns:
            (N,) float32, float64 for float64 maps; accumulated in float64.
            NaN where the map has NaN or Inf or is constant, and where the truth
            is empty.

        Raises:
            TypeError: saliency is not a floating tensor; truth is not a bool tensor (None included); sample_ids is not int64.
            ValueError: shapes or devices differ; sample_ids out of range.
        """
        function = "MaskAgreement.score"
        values = levelled(checked_saliency(function, saliency, "last"))
        mask = require_mask(function, "truth", truth, values, "saliency")
        ids = tie_ids(function, values, "random", self.seed, sample_ids)
        if values.numel() == 0:
            return saliency.new_full(saliency.shape[:1], math.nan, dtype=score_dtype(saliency))
        flat = values.flatten(1)
        defined = finite_rows(flat) & (flat != flat[:, :1]).any(1) & mask.flatten(1).any(1)
        if self.summary == "average_precision":
            score = _average_precision(values, mask)
        else:
            ranks = rank(values, ties="random", seed=self.seed, sample_ids=ids, nan="last")
            overlaps = _overlaps(ranks, mask, self.fractions)
            score = overlaps.mean(1) if self.summary == "mean" else overlaps.amax(1)
        return torch.where(defined, score, math.nan).to(score_dtype(saliency))


def _overlaps(ranks: Tensor, mask: Tensor, fractions: Sequence[float]) -> Tensor:
    """IoU (N, Q) float64 of the top-q masks: the truth is read in order of rank, once for all q."""
    inside = mask.flatten(1)
    pixels = inside.shape[1]
    counts = torch.tensor([max(1, math.floor(q * pixels + 0.5)) for q in fractions], device=mask.device)
    in_order = torch.zeros_like(inside).scatter_(1, ranks.flatten(1).long(), inside)
    hits = in_order.cumsum(1)[:, counts - 1]
    return hits.double() / (counts + inside.sum(1, keepdim=True) - hits)


def _average_precision(values: Tensor, mask: Tensor) -> Tensor:
    """Expected average precision (N,) float64 over random orders of tied pixels. The rows of bad maps are meaningless."""
    ordered, order = values.flatten(1).sort(1, descending=True)
    in_order = mask.flatten(1).gather(1, order).long()
    new = torch.ones_like(in_order)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    block = new.cumsum(1) - 1
    empty = torch.zeros_like(in_order)
    size = empty.scatter_add(1, block, torch.ones_like(block))
    hits = empty.scatter_add(1, block, in_order)
    before, hits_before = size.cumsum(1) - size, hits.cumsum(1) - hits
    m, t, n, h = (per_block.gather(1, block) for per_block in (size, hits, before, hits_before))
    place = torch.arange(1, block.shape[1] + 1, device=block.device)  # n + j
    earlier = (place - n - 1) * (t - 1) / (m - 1).clamp(min=1).double()
    terms = t / m.double() * (h + 1 + earlier) / place
    # Rows first: torch may split a single long sum between threads, so that its rounding would depend on the batch.
    return terms.view(values.shape).sum(2).sum(1) / in_order.sum(1)
