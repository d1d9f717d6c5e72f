"""One pass over the model for many metric objects that are each updated by themselves."""

import weakref
from collections.abc import Mapping
from types import MethodType
from typing import Any, Self

from torch import Tensor

from ..evaluation import evaluate
from ..evaluation.evaluate import named_metrics
from ..metrics.result import MetricResult
from ..models.targets import Target
from ..probing import Engine
from ..protocols import Forward


class Evaluator:
    """Scores each batch once for all metrics that were made with it, however many ask.

    Args:
        model: callable (B, C, H, W) -> logits (B, K). Kept by reference: no copy of it is made when a metric is cloned.
        engine: options of `probing.Engine`, such as {"max_batch": 32}.
        channels, resample, on_bad: as in `evaluate`.
        chunk: images handled together; None: as many as a forward takes.

    Note:
        The first metric that sees a batch has it scored for every living metric of this evaluator; the others find their result.
        A batch is known by its tensors themselves (and that they were not changed in place since; inside inference_mode torch
        cannot tell). A metric that comes twice begins a new pass. So: one evaluator per collection. Deterministic as `evaluate`.
        Memory: results of one batch, a few numbers per masked input.

    Example:
        >>> import torch
        >>> from saliency_ext.infill import Constant
        >>> from saliency_ext.metrics import Deletion, Insertion
        >>> images = torch.tensor([[[[3.0, 1.0], [0.0, 2.0]]]])
        >>> evaluator = Evaluator(lambda x: torch.stack([x.flatten(1).sum(1), torch.zeros(len(x))], 1))
        >>> both = [kind(Constant(0.0), score="logit") for kind in (Deletion, Insertion)]
        >>> evaluator.add(both[0]), evaluator.add(both[1])
        (None, None)
        >>> asked = dict(inputs=images, target=0, maps=images[:, 0], truth=None, sample_ids=torch.tensor([0]))
        >>> [evaluator.result(metric, **asked).values.item() for metric in both], evaluator.passes
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
        self.model = model
        self.passes = 0
        self._engine = Engine(model, **(engine or {}))
        self._engine_options = dict(engine or {})
        self._options = {"channels": channels, "resample": resample, "on_bad": on_bad, "chunk": chunk}
        self._metrics: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._last: _Pass | None = None

    def add(self, metric: Any) -> None:
        """Scores batches for this metric of `saliency_ext.metrics` too, as long as somebody holds it."""
        named_metrics([metric])
        self._metrics[id(metric)] = metric
        if self._last is not None:
            self._last.left.pop(id(metric), None)  # of a dead metric whose id this one has got

    @property
    def engine(self) -> Engine:
        """What runs the model; its counters say what was asked and done."""
        return self._engine

    def result(
        self, metric: Any, *, inputs: Tensor, target: Target, maps: Any, truth: Tensor | None, sample_ids: Tensor
    ) -> MetricResult:
        """The result of one added metric on a batch; arguments as in `evaluate`."""
        batch = (inputs, target, maps, truth)
        last = self._last
        if last is None or id(metric) not in last.left or not last.same(batch, sample_ids):
            last = self._last = self._scored(batch, sample_ids)
        found = last.left.pop(id(metric))
        if not last.left:
            self._last = None
        return found

    def _scored(self, batch: tuple[Any, ...], sample_ids: Tensor) -> "_Pass":
        metrics = list(self._metrics.values())
        named = named_metrics(metrics)
        inputs, target, maps, truth = batch
        self._last = None  # also where the next line fails
        results = evaluate(
            self.model,
            inputs,
            target,
            {"map": maps},
            metrics,
            engine=self._engine,
            truth=truth,
            sample_ids=sample_ids,
            check_forward=self.passes == 0,
            **self._options,  # type: ignore[arg-type]  # checked there
        )
        self.passes += 1
        return _Pass(batch, sample_ids, {id(metric): results["map", name] for name, metric in named.items()})

    def __deepcopy__(self, memo: object) -> Self:
        """Itself: a copied metric judges the same model, and shares the pass."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        kept = ("model", "passes", "_engine_options", "_options")
        return {name: vars(self)[name] for name in kept} | {"metrics": list(self._metrics.values())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        metrics = state.pop("metrics")
        vars(self).update(state)
        self._engine = Engine(self.model, **self._engine_options)
        self._metrics = weakref.WeakValueDictionary({id(metric): metric for metric in metrics})
        self._last = None


class _Pass:
    """Results of one batch that were not fetched yet. The batch is known again without its tensors being kept alive."""

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
