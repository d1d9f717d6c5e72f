"""One pass over the model for several stateful metric objects that are updated separately."""

import copy
import warnings
import weakref
from collections.abc import Mapping
from types import MethodType
from typing import Any, Self

from torch import Tensor

from ..checks import bad_type
from ..evaluation import evaluate
from ..evaluation.evaluate import lacks, named_metrics
from ..metrics.base import MapMetric, ModelMetric
from ..metrics.result import MetricResult
from ..models._modules import modules_behind
from ..models.targets import Target
from ..perturbation import Engine
from ..protocols import Forward


class Evaluator:
    """Evaluates each batch once for all metrics created with it.

    Args:
        model: callable (B, C, H, W) -> logits (B, K). Kept by reference: cloning a metric does not copy it. Where a deep copy
            includes the model, as that of a module that holds both, the copied evaluator runs the copied model.
        engine: options of `perturbation.Engine`, such as {"max_batch": 32}.
        channels, resample, on_bad: as in `evaluate`.
        chunk: images handled together; None: as many as a forward takes.

    Note:
        The first metric updated with a batch evaluates it for all live metrics of this evaluator; the others fetch their result.
        Excluded are a metric that did not fetch its last result, until its next update, and one whose needs the batch does not
        meet (no truth, no method): it is evaluated alone on its update, and refused there. A batch is identified by its tensor
        objects and their version counters (which do not count inside inference_mode). A second update of a metric with the same
        batch starts a new pass. So use one evaluator per collection. Deterministic as `evaluate`. Memory: results of one batch, a
        few numbers per perturbed input. A copy resolves its model at its first use, and keeps what was copied with it until then.

    Example:
        >>> import torch
        >>> from saliency_ext.infill import Constant
        >>> from saliency_ext.metrics import Deletion, Insertion
        >>> images = torch.tensor([[[[3.0, 1.0], [0.0, 2.0]]]])
        >>> evaluator = Evaluator(lambda x: torch.stack([x.flatten(1).sum(1), torch.zeros(len(x))], 1))
        >>> both = [kind(Constant(0.0), score="logit") for kind in (Deletion, Insertion)]
        >>> evaluator.add(both[0]), evaluator.add(both[1])
        (None, None)
        >>> requested = dict(inputs=images, target=0, maps=images[:, 0], truth=None, sample_ids=torch.tensor([0]))
        >>> [evaluator.result(metric, **requested).values.item() for metric in both], evaluator.passes
        ([1.75, 4.25], 1)
    """

    def __init__(
        self,
        model: Forward,
        *,
        engine: Mapping[str, Any] | None = None,
        channels: str | None = None,
        resample: str | None = None,
        on_bad: str = "mark",
        chunk: int | None = None,
    ) -> None:
        self._model = model
        self.passes = 0
        self._engine = Engine(model, **(engine or {}))
        self._engine_options = dict(engine or {})
        self._options = {"channels": channels, "resample": resample, "on_bad": on_bad, "chunk": chunk}
        self._copied: dict[int, Any] | None = None  # what was deep-copied together with this, by the originals' ids
        self._begin()

    def _begin(self) -> None:
        self._metrics: weakref.WeakValueDictionary[int, MapMetric | ModelMetric] = weakref.WeakValueDictionary()
        self._idle: set[int] = set()  # those that did not fetch their last result
        self._last: _Pass | None = None

    def add(self, metric: MapMetric | ModelMetric) -> None:
        """Evaluates batches for this metric too, as long as it is referenced."""
        named_metrics([metric])
        try:
            self._metrics[id(metric)] = metric
        except TypeError:
            remedy = "write @dataclass(slots=True, weakref_slot=True), or leave slots out"
            bad_type("Evaluator.add", "metric", "that weak references can point to", type(metric).__name__, remedy)
        self._idle.discard(id(metric))
        if self._last is not None:
            self._last.left.pop(id(metric), None)  # of a dead metric whose id this one has got

    @property
    def model(self) -> Forward:
        """The model under evaluation."""
        self._settle()
        return self._model

    @property
    def engine(self) -> Engine:
        """The engine that runs the model, with counters of requested and forwarded inputs."""
        self._settle()
        return self._engine

    def result(
        self,
        metric: MapMetric | ModelMetric,
        *,
        inputs: Tensor,
        target: Target,
        maps: Any,
        truth: Tensor | None,
        sample_ids: Tensor,
    ) -> MetricResult:
        """The result of one added metric on a batch; arguments as in `evaluate`."""
        batch = (inputs, target, maps, truth)
        last = self._last
        if last is not None and id(metric) in last.left and last.same(batch, sample_ids):
            result = last.left.pop(id(metric))
        else:
            self._idle |= set() if last is None else last.left.keys()
            self._idle.discard(id(metric))
            self._last = None
            last = self._last = self._scored(metric, batch, sample_ids)
            result = last.left.pop(id(metric))
        if not last.left:
            self._last = None
        return result

    def _scored(self, requesting: MapMetric | ModelMetric, batch: tuple[Any, ...], sample_ids: Tensor) -> "_Pass":
        inputs, target, maps, truth = batch
        others = [metric for key, metric in self._metrics.items() if metric is not requesting and key not in self._idle]
        metrics = [requesting, *(metric for metric in others if not lacks(metric, maps, truth))]
        named = named_metrics(metrics)
        results = evaluate(
            self.model,
            inputs,
            target,
            {"map": maps},
            metrics,
            engine=self.engine,
            truth=truth,
            sample_ids=sample_ids,
            check_model=self.passes == 0,
            **self._options,  # type: ignore[arg-type]  # checked there
        )
        self.passes += 1
        return _Pass(batch, sample_ids, {id(metric): results["map", name] for name, metric in zip(named, metrics, strict=True)})

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """An evaluator of the copied model if the same deep copy includes it, else of the same model; metrics add themselves."""
        self._settle()
        new = type(self).__new__(type(self))
        vars(new).update({name: vars(self)[name] for name in ("_model", "_engine_options", "_options")})
        new.passes, new._copied = 0, memo
        new._begin()
        return new

    def _settle(self) -> None:
        """After a deep copy: resolves the model among the copied objects, which are complete only when the copy is done."""
        copied, self._copied = self._copied, None
        if copied is None:
            return
        originals = [part for part in modules_behind(self._model) if id(part) in copied]
        if originals:
            self._model = copy.deepcopy(self._model, copied)
        reached = set(map(id, modules_behind(self._model)))
        if any(id(part) in reached for part in originals):
            text = (
                "Evaluator: its model was copied, but is reached through a function, which copies do not change: the copy of a "
                "metric evaluates the original; pass the module itself, or make the metrics of the copy anew"
            )
            warnings.warn(text, RuntimeWarning, stacklevel=3)
        self._engine = Engine(self._model, **self._engine_options)

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        kept = ("_model", "passes", "_engine_options", "_options")
        return {name: vars(self)[name] for name in kept} | {"metrics": list(self._metrics.values())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        metrics = state.pop("metrics")
        vars(self).update(state)
        self._engine, self._copied = Engine(self._model, **self._engine_options), None
        self._begin()
        for metric in metrics:
            self.add(metric)


class _Pass:
    """Results of one batch that are not fetched yet. The batch is identified by weak references to its tensors."""

    def __init__(self, batch: tuple[Any, ...], ids: Tensor, left: dict[int, MetricResult]) -> None:
        self.ids, self.left = ids, left
        self._seen = [(weakref.ref(each) if isinstance(each, Tensor) else each, _version(each)) for each in batch]

    def same(self, batch: tuple[Any, ...], ids: Tensor) -> bool:
        """Whether these are the very objects, unchanged, with equal ids."""
        if ids.shape != self.ids.shape or not bool((ids == self.ids).all()):
            return False
        for (seen, version), now in zip(self._seen, batch, strict=True):
            known = seen() if isinstance(seen, weakref.ref) else seen
            equal = isinstance(now, str | int | MethodType) and type(known) is type(now) and known == now
            if not (known is now or equal) or version != _version(now):
                return False
        return True


def _version(value: Any) -> int:
    """How often a tensor was changed in place."""
    return value._version if isinstance(value, Tensor) and not value.is_inference() else 0
