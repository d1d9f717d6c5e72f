"""Rounds of further points that single images ask: those of all maps and metrics of a chunk together, in full batches."""

from collections.abc import Hashable, Iterable
from typing import Any

from torch import Tensor

from ..metrics.case import Wanted
from ..probing import Answers, Engine


def refine(
    engine: Engine, inputs: Tensor, classes: Tensor, sample_ids: Tensor, answers: Answers, asked: Iterable[tuple[Any, Any]]
) -> None:
    """Extends the answers until no metric wants more of them.

    Args:
        engine, inputs, classes, sample_ids, answers: of the pass that came before; points are read for the first class alone.
        asked: metrics, and what each of their calls of `ask` returned.
    """
    waiting = [(metric, own) for metric, own in asked if hasattr(metric, "refine")]
    while waiting:
        wants = [(metric, own, metric.refine(answers, own)) for metric, own in waiting]
        waiting = [(metric, own) for metric, own, more in wants if more]
        pooled = _pooled([want for *_, more in wants for want in more])
        if pooled:
            with engine.session(inputs, classes[:, :1], sample_ids=sample_ids, answers=answers) as session:
                for points, wanted in pooled:
                    session.ask_points(points, wanted)


def _pooled(wants: list[Wanted]) -> list[Wanted]:
    """Each curve once: of equal ranks, or asked by several metrics, the points that anyone wants."""
    found: dict[Hashable, Wanted] = {}
    for points, wanted in wants:
        key = points.key
        found[key] = (points, wanted | found[key][1] if key in found else wanted)
    return list(found.values())
