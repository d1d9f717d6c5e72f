"""Every metric as a `torchmetrics.Metric`: update with images, targets and maps; the mean over images at the end.

Example:
    >>> import torch
    >>> from torchmetrics import MetricCollection
    >>> from saliency_ext.infill import Constant
    >>> from saliency_ext.integrations.torchmetrics import Deletion, Evaluator, Insertion
    >>> images = torch.tensor([[[[3.0, 1.0], [0.0, 2.0]]]])
    >>> model = lambda x: torch.stack([x.flatten(1).sum(1), torch.zeros(len(x))], 1)
    >>> evaluator = Evaluator(model)  # one pass over the model for all metrics made with it
    >>> metrics = MetricCollection([kind(evaluator, Constant(0.0), score="logit") for kind in (Deletion, Insertion)])
    >>> metrics.update(images, 0, images[:, 0])  # images, target, maps: a tensor, or a method of any library
    >>> {name: value.item() for name, value in metrics.compute().items()}
    {'Deletion': 1.75, 'Insertion': 4.25}
"""

import typing as _typing

from ..metrics.registry import METRICS as _METRICS
from ..metrics.target_minus_distractor import TargetMinusDistractor as _TargetMinusDistractor
from ._batched_evaluation import Evaluator as Evaluator
from ._torchmetrics_base import SaliencyMetric as SaliencyMetric


class TargetMinusDistractor(SaliencyMetric):
    """Mean of `metrics.target_minus_distractor.TargetMinusDistractor`."""

    judge_class = _TargetMinusDistractor
    higher_is_better = True  # so are all metrics that compare with a truth


def __getattr__(name: str) -> _typing.Any:
    """The class of a registered metric, by the name of the metric's class; `__all__`, which names them all."""
    if name == "__all__":
        own = ("Evaluator", "SaliencyMetric", "TargetMinusDistractor")
        return sorted({*own, *(metric.__name__ for metric in _METRICS.values())})
    if not name.startswith("_"):
        for metric in _METRICS.values():
            if metric.__name__ == name:
                about = {"__module__": __name__, "__doc__": f"Mean of `{metric.__module__}.{name}`: {metric.info.measures}."}
                globals()[name] = type(name, (SaliencyMetric,), {**about, "judge_class": metric})
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, made or not."""
    return sorted({*globals(), *__getattr__("__all__")})
