"""Rounds of further points that single images ask: those of all maps and metrics of a chunk together, in full batches."""

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
    """Extends the answers until no metric wants more of them.

    Args:
        engine, inputs, classes, sample_ids, answers: of the pass that came before; points are read for the first class alone.
        asked: metrics, and what each of their calls of `request` returned.
    """
    waiting = list(requested)
    while waiting:
        wants = [(metric, own, metric.refine(outputs, own)) for metric, own in waiting]
        waiting = [(metric, own) for metric, own, more in wants if more]
        pooled = _pooled([want for *_, more in wants for want in more])
        if pooled:
            with engine.session(inputs, classes[:, :1], sample_ids=sample_ids, outputs=outputs) as session:
                for points, wanted in pooled:
                    session.request_points(points, wanted)


def _pooled(wants: list[RequestedPoints]) -> list[RequestedPoints]:
    """Each curve once: of equal ranks, or asked by several metrics, the points that anyone wants."""
    result: dict[Hashable, RequestedPoints] = {}
    for points, wanted in wants:
        key = points.key
        result[key] = (points, wanted | result[key][1] if key in result else wanted)
    return list(result.values())
