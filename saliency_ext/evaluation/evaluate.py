"""`evaluate`: several maps, several metrics, one deduplicated pass over the model per chunk of images."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from .. import ops
from ..checks import (
    bad_type,
    bad_value,
    require_choice,
    require_dtype,
    require_integer,
    require_ndim,
    require_shape,
    require_tensor,
)
from ..metrics.result import DEGENERATE_MAP, NONFINITE_INPUT, NONFINITE_MAP, NONFINITE_SCORE, OK, MetricResult, concatenate
from ..models import resolve_target
from ..models.targets import Target
from ..probing import Answers, Engine, Plan, Ranked
from ..probing.answers import read_out
from ..probing.masks import ALL_KEPT
from ..protocols import Forward, MetricInfo
from .results import Results

Maps = Mapping[str, Tensor]


class Metric(Protocol):
    """A metric on one map: says which probes it needs and turns answers into values."""

    info: Any
    ties: str
    seed: int

    def ask(self, plan: Plan, ranked: Ranked) -> Any:
        """Adds probes to the plan; what it returns comes back in `finish`."""

    def finish(self, answers: Answers, keys: Any, pixels: int) -> MetricResult:
        """Values per image."""


def evaluate(
    forward: Forward,
    inputs: Tensor,
    target: Target,
    maps: Tensor | Maps,
    metrics: Sequence[Any],
    *,
    engine: Engine | None = None,
    chunk: int = 16,
    sample_ids: Tensor | None = None,
    on_bad: str = "mark",
) -> Results:
    """Scores saliency maps under metrics; every distinct masked input is run through the model once.

    Args:
        forward: callable (B, C, H, W) -> logits (B, K); an nn.Module is run in eval mode and restored.
        inputs: (N, C, H, W) float32 or float64, in model input space.
        target: (N,) class indices, one class, or "predicted" (on the clean image).
        maps: (N, H, W), or a name -> map mapping; larger = more relevant.
        metrics: for example `metrics.Deletion(infill)`. Their names must differ, or get a number appended.
        engine: an `Engine` on this forward, for its batch size, layout, counters and progress; a default one if not given.
        chunk: images handled together; bounds the memory besides the engine's buffer.
        sample_ids: (N,) int64 identities, which key ties and random infills; 0 .. N-1 if not given.
        on_bad: "mark" gives samples with NaN or Inf in image, map or score the value NaN and a status; "raise" refuses them.

    Returns:
        `Results`, indexed by map and metric name.

    Raises:
        TypeError, ValueError: what is wrong with which argument; with on_bad="raise" also for nonfinite images and maps.

    Note:
        Deterministic as far as the model is. The value of an image does not depend on the other images, on `chunk` or on the
        order of maps and metrics. Nothing of the caller's is changed: mode, gradients, random state, inputs.

    Example:
        >>> import torch
        >>> from saliency_ext.infill import Constant
        >>> from saliency_ext.metrics import Deletion
        >>> images = torch.tensor([[[[3.0, 1.0], [0.0, 2.0]]]])
        >>> linear = lambda x: torch.stack([x.flatten(1).sum(1), torch.zeros(len(x))], 1)
        >>> deletion = Deletion(Constant(0.0), score="logit")
        >>> results = evaluate(linear, images, 0, {"best": images[:, 0], "worst": -images[:, 0]}, [deletion])
        >>> [round(results[name, "deletion"].values.item(), 3) for name in ("best", "worst")]  # trapezoid of 6 3 1 0 0; 6 6 5 3 0
        [1.75, 4.25]
    """
    function = "evaluate"
    require_choice(function, "on_bad", on_bad, ("mark", "raise"))
    require_integer(function, "chunk", chunk, 1, 2**31 - 1)
    named_maps = _checked_maps(inputs, maps)
    named_metrics = _named(metrics)
    if on_bad == "raise":  # before any work, with the places the caller knows
        for name, values in {"inputs": inputs, **{f"maps[{name!r}]": values for name, values in named_maps.items()}}.items():
            _refuse_nonfinite(name, values)
    runner = Engine(forward) if engine is None else engine
    if runner.forward is not forward:
        bad_value(function, "engine", "to run the given forward", "an engine on another callable", "pass Engine(forward, ...)")
    parts: dict[tuple[str, str], list[MetricResult]] = {}
    count = inputs.shape[0]
    ids = torch.arange(count) if sample_ids is None else sample_ids
    for start in range(0, max(count, 1), chunk):  # an empty batch is one empty chunk
        images = slice(start, start + chunk)
        chunk_maps = {name: values[images] for name, values in named_maps.items()}
        one = target[images] if isinstance(target, Tensor) else target
        for pair, result in _evaluate_chunk(runner, inputs[images], one, chunk_maps, named_metrics, ids[images]):
            parts.setdefault(pair, []).append(result)
    return Results({pair: concatenate(results) for pair, results in parts.items()}, runner.counters)


def _evaluate_chunk(
    engine: Engine, inputs: Tensor, target: Target, maps: Maps, metrics: Mapping[str, Metric], ids: Tensor
) -> Iterator[tuple[tuple[str, str], MetricResult]]:
    """Map by map, so that one map's ranks are in memory at a time; what is known of the images is kept for the next map."""
    bad_images = ~inputs.isfinite().flatten(1).all(1)
    safe = torch.where(bad_images.view(-1, 1, 1, 1), torch.zeros_like(inputs), inputs)
    clean_logits = engine.logits(safe)
    classes = resolve_target(target, clean_logits)[:, None]
    answers = Answers(classes.cpu())
    answers.add(ALL_KEPT, read_out(clean_logits, classes)[0])
    pixels = inputs.shape[2] * inputs.shape[3]
    for map_name, saliency in maps.items():
        bad_maps = ~saliency.isfinite().flatten(1).all(1)
        clean = torch.where(bad_maps.view(-1, 1, 1), torch.zeros_like(saliency), saliency).to(inputs.device)
        plan = Plan()
        ranked: dict[tuple[str, int], Ranked] = {}
        asked = {}
        for name, metric in metrics.items():
            rule = (metric.ties, metric.seed)
            if rule not in ranked:
                ranked[rule] = Ranked(ops.rank(clean, ties=rule[0], seed=rule[1], sample_ids=ids.to(inputs.device), nan="last"))
            asked[name] = metric.ask(plan, ranked[rule])
        engine.run(plan, safe, classes, sample_ids=ids, answers=answers)
        constant = clean.flatten(1).amax(1) == clean.flatten(1).amin(1)
        for name, metric in metrics.items():
            result = metric.finish(answers, asked[name], pixels)
            yield (map_name, name), _marked(result, bad_images.cpu(), bad_maps.cpu(), constant.cpu())


def _marked(result: MetricResult, bad_images: Tensor, bad_maps: Tensor, constant: Tensor) -> MetricResult:
    """The result with a status per image, and NaN where there is no value."""
    status = []
    for index in range(len(result.status)):
        if bad_images[index]:
            status.append(NONFINITE_INPUT)
        elif bad_maps[index]:
            status.append(NONFINITE_MAP)
        elif not result.values[index].isfinite():
            status.append(NONFINITE_SCORE)
        else:
            status.append(DEGENERATE_MAP if constant[index] else OK)
    invalid = bad_images | bad_maps | ~result.values.isfinite()
    values = torch.where(invalid, torch.nan, result.values)
    curves = {name: torch.where(invalid[:, None], torch.nan, curve) for name, curve in result.curves.items()}
    extras = {name: torch.where(invalid, torch.nan, extra) for name, extra in result.extras.items()}
    return MetricResult(result.info, values, status, result.parameters, result.fractions, curves, extras)


def _refuse_nonfinite(argument: str, values: Tensor) -> None:
    bad = ~values.isfinite().flatten(1).all(1)
    if bad.any():
        where = bad.nonzero().flatten().tolist()
        bad_value("evaluate", argument, "finite values", f"NaN or Inf in sample(s) {where}", "or pass on_bad='mark'")


def _checked_maps(inputs: Tensor, maps: Tensor | Maps) -> dict[str, Tensor]:
    function = "evaluate"
    images = require_tensor(function, "inputs", inputs)
    require_dtype(function, "inputs", images, (torch.float32, torch.float64), "convert with .float() / 255 and normalise")
    require_ndim(function, "inputs", images, "(N, C, H, W)")
    named = {"map": maps} if isinstance(maps, Tensor) else dict(maps)
    if not named:
        bad_value(function, "maps", "at least one map", "none")
    for name, saliency in named.items():
        require_tensor(function, f"maps[{name!r}]", saliency)
        require_ndim(function, f"maps[{name!r}]", saliency, "(N, H, W)")
        if saliency.shape[1:] == images.shape[1:3] != images.shape[2:]:
            got = f"{tuple(images.shape)}, which beside maps of shape {tuple(saliency.shape)} reads like (N, H, W, C)"
            bad_value(function, "inputs", "of shape (N, C, H, W)", got, "permute(0, 3, 1, 2) first")
        require_shape(function, f"maps[{name!r}]", saliency, "(N, H, W)", (images.shape[0], *images.shape[2:]))
        allowed = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
        require_dtype(function, f"maps[{name!r}]", saliency, allowed)
    return {name: saliency.detach() for name, saliency in named.items()}


def _named(metrics: Sequence[Any]) -> dict[str, Metric]:
    if not isinstance(metrics, Sequence) or not metrics:
        bad_value("evaluate", "metrics", "a sequence of at least one metric", repr(metrics))
    named: dict[str, Metric] = {}
    for metric in metrics:
        if not isinstance(getattr(metric, "info", None), MetricInfo) or not hasattr(metric, "ask"):
            bad_type("evaluate", "metrics", "to hold curve metrics of saliency_ext.metrics", type(metric).__name__)
        name, number = metric.info.name, 2
        while name in named:
            name, number = f"{metric.info.name}_{number}", number + 1
        named[name] = metric
    return named
