"""Every metric as a `torchmetrics.Metric`: update with images, targets and maps; the mean over images at the end.

Example:
    >>> import torch
    >>> from torchmetrics import MetricCollection
    >>> from saliency_ext.infill import Constant
    >>> images = torch.tensor([[[[3.0, 1.0], [0.0, 2.0]]]])
    >>> model = lambda x: torch.stack([x.flatten(1).sum(1), torch.zeros(len(x))], 1)
    >>> evaluator = Evaluator(model)  # one pass over the model for all metrics made with it
    >>> metrics = MetricCollection([kind(evaluator, Constant(0.0), score="logit") for kind in (Deletion, Insertion)])
    >>> metrics.update(images, 0, images[:, 0])  # images, target, maps: a tensor, or a method of any library
    >>> {name: value.item() for name, value in metrics.compute().items()}
    {'Deletion': 1.75, 'Insertion': 4.25}
"""

from .. import metrics
from ..metrics import target_minus_distractor
from ._batched_evaluation import Evaluator
from ._torchmetrics_base import SaliencyMetric


class AverageDrop(SaliencyMetric):
    """Mean of `metrics.AverageDrop`."""

    judge_class = metrics.AverageDrop


class AverageGain(SaliencyMetric):
    """Mean of `metrics.AverageGain`."""

    judge_class = metrics.AverageGain


class AverageIncrease(SaliencyMetric):
    """Mean of `metrics.AverageIncrease`."""

    judge_class = metrics.AverageIncrease


class Completeness(SaliencyMetric):
    """Mean of `metrics.Completeness`."""

    judge_class = metrics.Completeness


class Complexity(SaliencyMetric):
    """Mean of `metrics.Complexity`."""

    judge_class = metrics.Complexity


class Deletion(SaliencyMetric):
    """Mean of `metrics.Deletion`."""

    judge_class = metrics.Deletion


class Fidelity(SaliencyMetric):
    """Mean of `metrics.Fidelity`."""

    judge_class = metrics.Fidelity


class GeometryGap(SaliencyMetric):
    """Mean of `metrics.GeometryGap`."""

    judge_class = metrics.GeometryGap


class Infidelity(SaliencyMetric):
    """Mean of `metrics.Infidelity`."""

    judge_class = metrics.Infidelity


class Insertion(SaliencyMetric):
    """Mean of `metrics.Insertion`."""

    judge_class = metrics.Insertion


class LeRF(SaliencyMetric):
    """Mean of `metrics.LeRF`."""

    judge_class = metrics.LeRF


class MaskAgreement(SaliencyMetric):
    """Mean of `metrics.MaskAgreement`."""

    judge_class = metrics.MaskAgreement


class MaskDetectability(SaliencyMetric):
    """Mean of `metrics.MaskDetectability`."""

    judge_class = metrics.MaskDetectability


class MaxSensitivity(SaliencyMetric):
    """Mean of `metrics.MaxSensitivity`."""

    judge_class = metrics.MaxSensitivity


class ModelRandomisation(SaliencyMetric):
    """Mean of `metrics.ModelRandomisation`."""

    judge_class = metrics.ModelRandomisation


class MoRF(SaliencyMetric):
    """Mean of `metrics.MoRF`."""

    judge_class = metrics.MoRF


class TargetMinusDistractor(SaliencyMetric):
    """Mean of `metrics.target_minus_distractor.TargetMinusDistractor`."""

    judge_class = target_minus_distractor.TargetMinusDistractor
    higher_is_better = True  # so are all metrics that compare with a truth


class PercentileGap(SaliencyMetric):
    """Mean of `metrics.PercentileGap`."""

    judge_class = metrics.PercentileGap


class PointingGame(SaliencyMetric):
    """Mean of `metrics.PointingGame`."""

    judge_class = metrics.PointingGame


class ROAD(SaliencyMetric):
    """Mean of `metrics.ROAD`."""

    judge_class = metrics.ROAD


class ROADCombined(SaliencyMetric):
    """Mean of `metrics.ROADCombined`."""

    judge_class = metrics.ROADCombined


class RelevanceMass(SaliencyMetric):
    """Mean of `metrics.RelevanceMass`."""

    judge_class = metrics.RelevanceMass


class RelevanceRank(SaliencyMetric):
    """Mean of `metrics.RelevanceRank`."""

    judge_class = metrics.RelevanceRank


class SensitivityN(SaliencyMetric):
    """Mean of `metrics.SensitivityN`."""

    judge_class = metrics.SensitivityN


class Soundness(SaliencyMetric):
    """Mean of `metrics.Soundness`."""

    judge_class = metrics.Soundness


class Sparseness(SaliencyMetric):
    """Mean of `metrics.Sparseness`."""

    judge_class = metrics.Sparseness


class SymmetricRelevanceGain(SaliencyMetric):
    """Mean of `metrics.SymmetricRelevanceGain`."""

    judge_class = metrics.SymmetricRelevanceGain


__all__ = [
    "ROAD",
    "AverageDrop",
    "AverageGain",
    "AverageIncrease",
    "Completeness",
    "Complexity",
    "Deletion",
    "Evaluator",
    "Fidelity",
    "GeometryGap",
    "Infidelity",
    "Insertion",
    "LeRF",
    "MaskAgreement",
    "MaskDetectability",
    "MaxSensitivity",
    "MoRF",
    "ModelRandomisation",
    "PercentileGap",
    "PointingGame",
    "ROADCombined",
    "RelevanceMass",
    "RelevanceRank",
    "SaliencyMetric",
    "SensitivityN",
    "Soundness",
    "Sparseness",
    "SymmetricRelevanceGain",
    "TargetMinusDistractor",
]
