"""Base class of the torchmetrics classes: one sum state, updates through a shared evaluator, copies on the same model."""

import copy
import json
from collections.abc import Callable
from types import MethodType
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from .._digests import digest
from ..checks import bad_type, bad_value
from ..fingerprinting import Fingerprinter
from ..metrics.base import as_metric
from ..metrics.result import MetricResult
from ..models.targets import Target
from ..protocols import MetricInfo
from ._batched_evaluation import Evaluator
from ._optional_dependency import optional_dependency

_partner = optional_dependency("torchmetrics", (1, 0), "torchmetrics")

_BETTER = {"higher": True, "lower": False, "none": None}


class _Wrapped:
    """A method that torchmetrics wraps, wrapped at each access: this avoids a reference cycle.

    torchmetrics stores the wrapped method on the metric, which then lives until the next run of the garbage collector.
    """

    def __init__(self, function: Callable[..., Any], wrap: str) -> None:
        self._function, self._wrap = function, wrap
        self.__doc__ = function.__doc__

    def __get__(self, metric: Any, owner: type) -> Any:
        return self._function if metric is None else getattr(metric, self._wrap)(MethodType(self._function, metric))

    def __set__(self, metric: Any, value: Any) -> None:
        """Discards the wrapped method that torchmetrics stores."""


class SaliencyMetric(_partner.Metric):  # type: ignore[misc, name-defined]  # torchmetrics may be absent
    """The mean of a metric of `saliency_ext.metrics` over all images that have a value.

    mean = total / valued, where total and valued are sums over images, so over batches and processes, in float64.

    Args:
        evaluator: the `Evaluator` of the model; metrics with the same evaluator share its passes.
        arguments, options: of the metric itself, such as an infill and `steps`.
        torchmetrics: options of `torchmetrics.Metric`, such as {"dist_sync_on_step": True}.

    Note:
        One sum state of the same shape on all ranks: ranks may see different numbers of images, or none. Its name contains a
        digest of the metric and its parameters, so `MetricCollection` never merges two metrics because their first values agree,
        and a saved state is not loaded into a metric with other parameters. Copies and clones evaluate the same model, or its
        copy where a deep copy includes it (see `Evaluator`); pickles contain it. An unreferenced metric is not evaluated.
        Ties and random infills are keyed by sample ids: pass `sample_ids` for values that do not depend on the distribution of
        the images over processes. MPS has no float64: keep the metric on the CPU there.
    """

    judge_class: ClassVar[Any] = None
    is_differentiable = False
    full_state_update = False
    higher_is_better: bool | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.judge_class is not None and isinstance(cls.judge_class.info, MetricInfo):
            cls.higher_is_better = _BETTER[cls.judge_class.info.direction]

    def __init__(self, evaluator: Evaluator, *arguments: Any, torchmetrics: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(**(torchmetrics or {}))
        name = type(self).__name__
        if not isinstance(evaluator, Evaluator):
            bad_type(name, "evaluator", "to be an Evaluator", type(evaluator).__name__, "pass Evaluator(model)")
        if self.judge_class is None:
            bad_type(name, "the class", "to be one of the metrics", name, "use Deletion, Insertion, ...")
        self.evaluator = evaluator
        self.judge = as_metric(name, self.judge_class(*arguments, **options))
        evaluator.add(self.judge)
        described = Fingerprinter(None, deep=False).describe(self.judge)
        self._state = f"sums_{digest(json.dumps(described, sort_keys=True))[:12]}"
        self._seen = 0
        self.add_state(self._state, torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self, inputs: Tensor, target: Target, maps: Any, *, truth: Tensor | None = None, sample_ids: Tensor | None = None
    ) -> None:
        """Adds a batch.

        Args:
            inputs: (N, C, H, W) float32 or float64, in model input space.
            target: (N,) classes, one class, or "predicted".
            maps: (N, H, W), larger = more relevant; `TargetMaps`; or a method.
            truth: (N, H, W) bool, for metrics that compare the map with it.
            sample_ids: (N,) int64; a running number since the last reset if not given.

        Raises:
            TypeError, ValueError: as `evaluate`.
        """
        ids = self._ids(inputs, sample_ids)
        result = self.evaluator.result(self.judge, inputs=inputs, target=target, maps=maps, truth=truth, sample_ids=ids)
        setattr(self, self._state, self.sums + _sums(result).to(self.sums.device))
        self._seen += len(inputs)

    update = _Wrapped(update, "_wrap_update")  # type: ignore[assignment]

    def forward(
        self, inputs: Tensor, target: Target, maps: Any, *, truth: Tensor | None = None, sample_ids: Tensor | None = None
    ) -> Any:
        """Adds a batch and returns its own mean."""
        seen = self._seen
        value = super().forward(inputs, target, maps, truth=truth, sample_ids=self._ids(inputs, sample_ids))
        self._seen = seen + len(inputs)  # a step inside begins with a reset
        return value

    def compute(self) -> Tensor:
        """The mean, float64 (); NaN where images were seen but none has a value.

        Raises:
            ValueError: no image was seen, on no process.
        """
        total, valued, images = self.sums.unbind()
        if images == 0:
            bad_value(type(self).__name__, "images", "at least one", "none", "call update before compute")
        return total / valued

    compute = _Wrapped(compute, "_wrap_compute")  # type: ignore[assignment]

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """The mean as a figure, as other metrics of torchmetrics draw theirs.

        Args:
            val: a value of `compute` or `forward`, or a sequence of them, drawn as a line; None: `compute()`.
            ax: axes of matplotlib to draw on; None: new ones.

        Returns:
            Figure and axes.

        Raises:
            ModuleNotFoundError: matplotlib is missing. ValueError: as `compute`.
        """
        from torchmetrics.utilities.plot import plot_single_or_multi_val

        value = self.compute() if val is None else val
        return plot_single_or_multi_val(value, ax=ax, higher_is_better=self.higher_is_better, name=type(self).__name__)

    @property
    def sums(self) -> Tensor:
        """(3,) float64: sum of values, images with a value, images."""
        result: Tensor = getattr(self, self._state)
        return result

    def reset(self) -> None:
        """Resets the sums; the running number of samples restarts at 0."""
        super().reset()
        self._seen = 0

    def _ids(self, inputs: Tensor, sample_ids: Tensor | None) -> Tensor:
        if sample_ids is not None:
            return sample_ids
        return torch.arange(self._seen, self._seen + len(inputs), device=inputs.device)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """An independent metric, on the same model or its copy: see `Evaluator`."""
        memo[id(self.judge)] = self.judge
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        new.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        new.evaluator.add(new.judge)
        return new


def _sums(result: MetricResult) -> Tensor:
    valid = result.valid
    counts = [float(valid.sum()), float(len(valid))]
    return torch.cat([result.values[valid].double().sum()[None].cpu(), torch.tensor(counts, dtype=torch.float64)])
