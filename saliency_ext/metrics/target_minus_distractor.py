"""Difference of a localisation metric between the target object and another object of the same image."""

from dataclasses import InitVar, dataclass

import torch
from torch import Tensor

from ..checks import bad_type, bad_value, require_dtype, require_ndim, require_tensor
from ..protocols import MetricInfo
from .base import MapMetric, as_metric, map_scores

SUFFIX = "_target_minus_distractor"
MEANING = "The score on the object that is asked about minus that on the other one. 0: the map finds objects, not the class."


@dataclass(frozen=True)
class TargetMinusDistractor(MapMetric):
    """Localisation on the target object less the same on a distractor: score(target) - score(distractor), per image.

    A map that marks all objects, bright spots or edges scores the same on both: about 0. So the difference shows what the metric
    alone cannot: whether the map is class-specific.

    Args:
        metric: a metric that compares a map with a truth mask: `PointingGame`, `RelevanceMass`, `RelevanceRank`, `MaskAgreement`.
        others: (M, H, W) bool, where the distractor is, for sample ids 0 .. M - 1.

    Direction: that of the metric. Unit: a difference of its unit. Range of a share: [-1, 1]; a random map has about the
    difference of the two areas' shares. Polarity: that of the metric. Cost: no forward; the metric twice. Memory: the masks, kept
    as given. Deterministic as the metric. NaN (status undefined) where one of the two scores is, as with an empty mask.

    Raises:
        TypeError: the metric takes no truth mask; others is not a bool tensor.
        ValueError: others is not (M, H, W); a sample id is outside [0, M).

    Example:
        >>> import torch
        >>> from saliency_ext.metrics import PointingGame
        >>> own, other = torch.tensor([[[True, False, False]]]), torch.tensor([[[False, False, True]]])
        >>> metric = TargetMinusDistractor(PointingGame(), other)
        >>> metric.score(torch.tensor([[[5.0, 1.0, 2.0]]]), own), metric.score(torch.tensor([[[1.0, 0.0, 2.0]]]), own)
        (tensor([1.]), tensor([-1.]))
    """

    metric: MapMetric
    others: InitVar[Tensor]

    def __post_init__(self, others: Tensor) -> None:
        name = "TargetMinusDistractor"
        metric = as_metric(name, self.metric)
        if not isinstance(metric, MapMetric):
            bad_type(name, "metric", "to score a map against a truth mask", type(self.metric).__name__)
        object.__setattr__(self, "metric", metric)
        require_dtype(name, "others", require_tensor(name, "others", others), (torch.bool,))
        require_ndim(name, "others", others, "(M, H, W)")
        object.__setattr__(self, "others", others)  # no field: a result records the metric, not the masks

    @property
    def info(self) -> MetricInfo:  # type: ignore[override]
        """That of the metric, as a difference."""
        metric = self.metric.info
        question, *_ = metric.meaning.split("?")
        return MetricInfo(
            f"{metric.name}{SUFFIX}",
            metric.direction,
            f"difference of {metric.unit}",
            f"{metric.name} on the object of the class, minus the same on the other object",
            metric.reference,
            role="truth",
            needs="truth",
            range=None if metric.range is None else (metric.range[0] - metric.range[1], metric.range[1] - metric.range[0]),
            meaning=f"{MEANING} The score: {question[:1].lower()}{question[1:]}." if question else MEANING,
            citation=metric.citation,
            class_specific=True,
        )

    def score(self, saliency: Tensor, truth: Tensor | None = None, *, sample_ids: Tensor | None = None) -> Tensor:
        """Target less distractor, one value per image.

        Args:
            saliency: (N, H, W) floating, larger = more relevant.
            truth: (N, H, W) bool, True on the target object.
            sample_ids: (N,) int64, whose images these are; 0 .. N - 1 if not given.

        Returns:
            (N,), in the dtype that the metric returns.
        """
        masks: Tensor = vars(self)["others"]
        ids = torch.arange(len(saliency)) if sample_ids is None else sample_ids.to(masks.device)
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(masks):
            bad_value(
                "TargetMinusDistractor",
                "sample_ids",
                f"in [0, {len(masks)}), one mask each",
                f"{int(ids.min())} .. {int(ids.max())}",
            )
        other = masks[ids].to(saliency.device)
        return map_scores(self.metric, saliency, truth, sample_ids) - map_scores(self.metric, saliency, other, sample_ids)
