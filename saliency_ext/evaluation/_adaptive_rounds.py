"""Adaptive refinement: rounds of further curve points of single images, batched over all maps and metrics of a chunk."""

from collections.abc import Hashable, Iterable
from typing import Any

from torch import Tensor

from ..metrics.base import ModelMetric
from ..metrics.context import RequestedPoints
from ..perturbation import Engine, Outputs


def refine(
    engine: Engine,
    inputs: Tensor,
    classes: Tensor,
    sample_ids: Tensor,
    outputs: Outputs,
    requested: Iterable[tuple[ModelMetric, Any]],
) -> None:
    """Extends the outputs until no metric requests further points.

    Args:
        engine, inputs, classes, sample_ids, outputs: of the first pass; points are read for the first class alone.
        requested: metrics, and what each of their calls of `request` returned.
    """
    waiting = list(requested)
    while waiting:
        refined = [(metric, state, metric.refine(outputs, state)) for metric, state in waiting]
        waiting = [(metric, state) for metric, state, further in refined if further]
        pooled = _pooled([points for *_, further in refined for points in further])
        if pooled:
            with engine.session(inputs, classes[:, :1], sample_ids=sample_ids, outputs=outputs) as session:
                for points, requested_points in pooled:
                    session.request_points(points, requested_points)


def _pooled(requests: list[RequestedPoints]) -> list[RequestedPoints]:
    """Each curve once, with the union of the points requested for equal ranks or by several metrics."""
    result: dict[Hashable, RequestedPoints] = {}
    for points, requested in requests:
        key = points.key
        result[key] = (points, requested | result[key][1] if key in result else requested)
    return list(result.values())
