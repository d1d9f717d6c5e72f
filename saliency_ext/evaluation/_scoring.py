"""One chunk of images: all maps, all metrics, one pass over the model."""

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..checks import bad_type, bad_value
from ..infill.constant import Constant
from ..metrics.base import MapMetric, Metric, ModelMetric, class_name, map_scores
from ..metrics.context import MetricContext
from ..metrics.result import MetricResult
from ..models._batch_dependence import measure_drift
from ..models.score import require_meaning
from ..models.targets import check_classes, requested_classes
from ..nonfinite import finite_rows, with_zeros
from ..perturbation import Engine, Outputs, Plan
from ..perturbation.masks import ALL_KEPT, WholeImage
from ..perturbation.outputs import read_out
from ._adaptive_rounds import refine
from ._input_chunks import Chunk
from ._sample_status import SampleErrors, with_status
from .maps import MapSource

_PROBABILITIES = ("probability", "log_probability")

Pair = tuple[str, str]  # map, metric


@dataclass
class Scoring:
    """Scores chunks of images with metrics of both kinds."""

    engine: Engine
    sources: list[MapSource]
    metrics: Mapping[str, MapMetric | ModelMetric]
    on_bad: str
    check_model: bool
    _classes: int | None = field(default=None, init=False)

    def chunk(self, chunk: Chunk) -> dict[Pair, MetricResult]:
        """Results per map and metric."""
        inputs = self.engine.placed_images(chunk.inputs).detach()
        good_images = finite_rows(inputs)
        bad_images, safe = ~good_images, with_zeros(inputs, good_images)
        chunk = dataclasses.replace(chunk, inputs=safe, sample_ids=chunk.sample_ids.to(safe.device))
        self._check_model(safe)
        # Clean logits are forwarded first only where a target or a label set depends on them; else they are part of the plan.
        clean = _Lazy(lambda: self.engine.logits(safe))
        target = requested_classes(chunk.target, len(safe), clean).to(safe.device)
        if target.ndim != 1:
            remedy = "sets of labels are an option of metrics that read several classes"
            bad_value("evaluate", "target", "one class per image", repr(chunk.target), remedy)
        labels = {
            (source.name, name): _labels_of(metric, source.labels(chunk), len(safe), clean)
            for source in self.sources
            for name, metric in self.metrics.items()
        }
        classes = _distinct(target, [columns for columns in labels.values() if columns is not None])
        known = self._classes if clean.value is None else clean.value.shape[1]
        if known is not None:
            check_classes("evaluate", target, known, first=chunk.start)
            check_classes("evaluate", classes[:, 1:], known, first=chunk.start, argument="labels")
        outputs = Outputs(classes.cpu())
        if clean.value is not None:
            outputs.add(ALL_KEPT, read_out(clean.value, classes).cpu().double())
            outputs.num_classes = clean.value.shape[1]
        results: dict[Pair, MetricResult] = {}
        requested: list[tuple[Pair, ModelMetric, Any, SampleErrors]] = []
        with self.engine.session(safe, classes, sample_ids=chunk.sample_ids, outputs=outputs) as session:
            session.request(self._clean_image())
            for source in self.sources:  # one map's ranks are in memory at a time
                map_batch = source.maps(chunk, safe, target, self.on_bad)
                sample_errors, saliency = SampleErrors.of(bad_images, map_batch)
                context = MetricContext(safe, saliency, target, chunk.sample_ids, forward=self.engine.forward)
                context.explain = self._explainer(source, chunk)
                labelled = _Labelled(self, context, sample_errors, source, chunk)
                for name, metric in self.metrics.items():
                    pair = (source.name, name)
                    if isinstance(metric, ModelMetric):
                        own, own_errors = labelled.of(labels[pair])
                        requested.append((pair, metric, metric.request(own), own_errors))
                    else:
                        results[pair] = with_status(_score_map(metric, context, chunk.truth), sample_errors, None)
                session.request(context.plan)
        refine(self.engine, safe, classes, chunk.sample_ids, outputs, [(metric, keys) for _, metric, keys, _ in requested])
        for pair, metric, keys, sample_errors in requested:
            results[pair] = with_status(_finished(metric, outputs, keys, len(safe)), sample_errors, outputs.failed)
        return {(source.name, name): results[source.name, name] for source in self.sources for name in self.metrics}

    def _explainer(self, source: MapSource, chunk: Chunk) -> Any:
        if not source.is_method:
            return None

        def explain(inputs: Tensor, target: Tensor) -> Tensor:
            """The method on other inputs of the same images; NaN where it fails."""
            map_batch = source.explained(chunk, inputs, target, self.on_bad)
            return torch.where(map_batch.failed.to(inputs.device).view(-1, 1, 1), torch.nan, map_batch.saliency)

        return explain

    def _clean_image(self) -> Plan:
        plan = Plan()
        if any(isinstance(metric, ModelMetric) for metric in self.metrics.values()):
            plan.request(WholeImage(), Constant(0.0))
        return plan

    def _check_model(self, inputs: Tensor) -> None:
        """Once, on the first two images: warns if logits depend on the batch, are drawn anew, or are probabilities already."""
        if self._classes is not None or not self.check_model or len(inputs) == 0:
            return
        drift, logits = measure_drift(self.engine.forward, self.engine.cast(inputs[:2]))
        self._classes = logits.shape[1]
        if drift.warning:
            warnings.warn(f"evaluate: {drift.warning}", RuntimeWarning, stacklevel=4)
        scores = {metric.target_score for metric in self.metrics.values() if isinstance(metric, ModelMetric)} - {None}
        for score in sorted(map(str, scores)):
            require_meaning("evaluate", score, logits.shape[1])
        like_probabilities = logits.shape[1] > 1 and bool((logits >= 0).all() and ((logits.sum(1) - 1).abs() < 1e-3).all())
        if like_probabilities and scores & set(_PROBABILITIES):
            text = (
                "evaluate: the rows of the logits sum to 1: the forward seems to return probabilities, of which the softmax is "
                "taken again; return logits, or use score='logit' to read what it returns"
            )
            warnings.warn(text, RuntimeWarning, stacklevel=4)


@dataclass
class _Labelled:
    """The contexts of one map, by label set: a map per label where a metric reads labels and the source has maps for them."""

    scoring: Scoring
    context: MetricContext
    sample_errors: SampleErrors
    source: MapSource
    chunk: Chunk
    _known: list[tuple[Tensor, MetricContext, SampleErrors]] = field(default_factory=list)

    def of(self, labels: Tensor | None) -> tuple[MetricContext, SampleErrors]:
        """The context and the errors of its maps; metrics with equal labels share maps and ranks."""
        if labels is None:
            return self.context, self.sample_errors
        for known, context, sample_errors in self._known:
            if torch.equal(known, labels):
                return context, sample_errors
        maps, sample_errors = None, self.sample_errors
        if self.source.is_method or self.source.labels(self.chunk) is not None:
            map_batch = self.source.label_maps(self.chunk, self.context.inputs, labels, None, self.scoring.on_bad)
            good = finite_rows(map_batch.saliency)
            maps, sample_errors = with_zeros(map_batch.saliency, good), sample_errors.with_labels(~good, map_batch.failed)
        self._known.append((labels, dataclasses.replace(self.context, labels=labels, label_maps=maps, _ranked={}), sample_errors))
        return self._known[-1][1:]


@dataclass
class _Lazy:
    """A tensor made when it is first called for."""

    make: Callable[[], Tensor]
    value: Tensor | None = None

    def __call__(self) -> Tensor:
        if self.value is None:
            self.value = self.make()
        return self.value


def _distinct(target: Tensor, labels: list[Tensor]) -> Tensor:
    """(N, T) classes to read: the target first, then all labels; equal columns once."""
    columns = [target[:, None]]
    for own in labels:
        known = torch.cat(columns, 1)
        new = [own[:, i : i + 1] for i in range(own.shape[1]) if not (known == own[:, i : i + 1]).all(0).any()]
        columns += [column.to(target) for column in new]
    return torch.cat(columns, 1)


def _labels_of(metric: Metric, given: Tensor | None, images: int, clean_logits: Callable[[], Tensor]) -> Tensor | None:
    """(N, L) further classes that a metric reads, None for the target alone."""
    labels = metric.labels_for(given, images, clean_logits) if isinstance(metric, ModelMetric) else None
    return None if labels is None else torch.as_tensor(labels)


def _score_map(metric: MapMetric, context: MetricContext, truth: Tensor | None) -> MetricResult:
    values = map_scores(metric, context.saliency, truth, context.sample_ids)
    return MetricResult(metric.info, values.double().cpu(), dict(metric.parameters))


def _finished(metric: ModelMetric, outputs: Outputs, keys: Any, images: int) -> MetricResult:
    result = metric.compute(outputs, keys)
    if not isinstance(result, MetricResult) or len(result.values) != images:
        got = f"one of {len(result.values)} values" if isinstance(result, MetricResult) else type(result).__name__
        bad_type("evaluate", f"{class_name(metric)}.compute", f"to return a MetricResult of {images} values, one per image", got)
    return result
