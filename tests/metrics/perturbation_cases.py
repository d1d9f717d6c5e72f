"""Small models, images and maps for metrics that run through `evaluate`, and what they all must hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from saliency_ext.evaluation import Results, evaluate
from saliency_ext.infill import Constant
from saliency_ext.metrics import MetricResult
from saliency_ext.perturbation import Engine
from tests.helpers import conv_net

GREY = Constant(0.5)


def make_model(pixels: int = 20) -> torch.nn.Module:
    return conv_net(4 * pixels, padding=1)


def linear(weights: Tensor) -> Callable[[Tensor], Tensor]:
    """Class 0 scores w . x in float64; class 1 nothing."""
    return lambda x: torch.stack([x.flatten(1).double() @ weights.flatten().double(), torch.zeros(len(x)).double()], 1)


def run(model: Any, images: Tensor, maps: Any, metrics: list[Any], *, target: Any = 0, **options: Any) -> tuple[Results, Engine]:
    engine = Engine(model, max_batch=4)
    return evaluate(model, images, target, maps, metrics, engine=engine, **options), engine


def requested(engine: Engine) -> int:
    """Images forwarded, without padding."""
    return engine.counters.images_forwarded - engine.counters.images_padded


def same_results(one: MetricResult, other: MetricResult, rows: Tensor | None = None) -> None:
    """Equal to the bit, NaN included; `rows` picks images of the second."""
    pick = torch.arange(len(other.values)) if rows is None else rows
    pairs = [(one.values, other.values)]
    for mine, theirs in ((one.curves, other.curves), (one.extras, other.extras)):
        pairs += [(mine[name], theirs[name]) for name in theirs]
    for left, right in pairs:
        assert torch.equal(left.nan_to_num(nan=1e300), right[pick].nan_to_num(nan=1e300))
    assert one.status == [other.status[int(index)] for index in pick]


def check_company_changes_no_bit(model: Any, images: Tensor, maps: Mapping[str, Any], metrics: list[Any]) -> None:
    """Chunks, order and number of images, other maps and metrics, and layout."""
    whole, _ = run(model, images, maps, metrics)
    for chunk in (1, 2, len(images)):
        part, _ = run(model, images, maps, metrics, chunk=chunk)
        for pair in whole:
            same_results(part[pair], whole[pair])
    order = torch.tensor([len(images) - 1, 0, 1])
    name = list(maps)[-1]
    alone = {name: maps[name][order] if isinstance(maps[name], Tensor) else maps[name]}
    shuffled, _ = run(model, images[order], alone, metrics[::-1], sample_ids=order)
    laid_out = {name: maps[name].mT.contiguous().mT if isinstance(maps[name], Tensor) else maps[name]}
    other, _ = run(model, images.to(memory_format=torch.channels_last), laid_out, metrics)
    for pair in shuffled:
        same_results(shuffled[pair], whole[pair], order)
        same_results(other[pair], whole[pair])
