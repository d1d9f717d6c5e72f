"""`evaluate`: several maps, several metrics, one deduplicated pass over the model per chunk of images."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from torch import Tensor

from ..checks import bad_type, bad_value, require_choice, require_integer
from ..metrics.base import MapMetric, Metric, MetricLike, ModelMetric, as_metric
from ..metrics.result import MetricResult, concatenate
from ..models.targets import Target
from ..nonfinite import finite_rows
from ..perturbation import Engine
from ..protocols import Forward
from ._engine import engine_for
from ._input_chunks import check_images, chunks
from ._scoring import Scoring
from .maps import MapOptions, MapSource, TargetMaps, made_maps, named_maps, sources
from .results import Results

_FUNCTION = "evaluate"


class EvaluateOptions(TypedDict, total=False):
    """Options of `evaluate` that functions built on it pass through."""

    truth: Tensor | None
    channels: str | None
    resample: str | None
    on_bad: str
    check_model: bool


def evaluate(
    model: Forward,
    inputs: Tensor | Iterable[Any],
    target: Target,
    maps: Any,
    metrics: Sequence[MetricLike],
    *,
    engine: Engine | Mapping[str, Any] | None = None,
    truth: Tensor | None = None,
    channels: str | None = None,
    resample: str | None = None,
    chunk: int | None = None,
    sample_ids: Tensor | None = None,
    on_bad: str = "mark",
    check_model: bool = True,
) -> Results:
    """Scores saliency maps under metrics; perturbed inputs are deduplicated across maps and metrics and forwarded once.

    Args:
        model: callable (B, C, H, W) -> logits (B, K); an nn.Module is run in eval mode and restored.
        inputs: (N, C, H, W) float32 or float64, in model input space; or an iterable of batches, such as a DataLoader, each a
            tensor, (inputs, target) or a mapping with these names, of which one chunk is held at a time.
        target: (N,) class indices, one class, "predicted" (on the clean image), or "given" (a loader's own targets).
        maps: name -> map, a sequence of methods (named by their `info`), or one map; larger = more relevant. A map is a tensor
            (N, H, W), or (N, 1, H, W); a `TargetMaps` with one map per class; or a method, called chunk by chunk: of
            `attribution` (an object, or a class or functools.partial of one, which is called with the model), captum's, or a
            callable (inputs, target) -> map.
        metrics: for example `metrics.Deletion(infill)`. Their names must differ, or get a number appended.
        engine: an `Engine` on this model, or options of one, such as {"memory_budget": 2**30}; None: a default one.
        truth: (N, H, W) bool, for metrics that compare the map with it.
        channels: how maps (N, C, H, W) are reduced: "sum", "abs_sum", "max" or "max_abs". None: they are refused.
        resample: how maps of another resolution are resampled: "nearest", "bilinear" or "area". None: they are refused.
        chunk: images handled together; bounds the memory besides the engine's buffer. None: as many as the engine forwards.
        sample_ids: (N,) int64 identities, which key ties and random infills; 0 .. N-1 if not given.
        on_bad: "mark" gives samples with NaN or Inf in image, map or score, and those a method fails for, the value NaN and a
            status; "raise" refuses them.
        check_model: forward two images a few times first, and warn if the model is stochastic, or if the logits of an image
            depend on the other images in its batch.

    Returns:
        `Results`, indexed by map and metric name.

    Raises:
        TypeError, ValueError: what is wrong with which argument; with on_bad="raise" also for nonfinite images and maps.

    Note:
        Deterministic as far as the model is. The value of an image does not depend on the other images, on `chunk` or on the
        order of maps and metrics. Nothing of the caller's is changed: mode, gradients, random state, inputs. Memory: flat in the
        number of steps, maps and images, but for the results (a few numbers per masked input and image of a chunk).

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
    require_choice(_FUNCTION, "on_bad", on_bad, ("mark", "raise"))
    if chunk is not None:
        require_integer(_FUNCTION, "chunk", chunk, 1, 2**31 - 1)
    map_sources = sources(made_maps(named_maps(_FUNCTION, maps), model), MapOptions(channels, resample), model)
    named = named_metrics(metrics)
    check_metrics(named, map_sources, truth)
    if isinstance(inputs, Tensor):
        _check_sizes(check_images(inputs), map_sources, on_bad)
    runner = engine_for(_FUNCTION, model, engine)
    scoring = Scoring(runner, map_sources, named, on_bad, check_model)
    parts: dict[tuple[str, str], list[MetricResult]] = {}
    for part in chunks(inputs, target, sample_ids, truth, chunk or runner.batch_for, _lengths(map_sources)):
        if on_bad == "raise":
            _refuse_nonfinite("inputs", part.inputs, part.start)
        for pair, result in scoring.chunk(part).items():
            parts.setdefault(pair, []).append(result)
    whole = {pair: concatenate(results) for pair, results in parts.items()}
    methods = {source.name: source.given.info for source in map_sources if source.is_method}
    return Results(whole, runner.counters, methods=methods)


def _lengths(map_sources: list[MapSource]) -> dict[str, int]:
    """Number of images of each given tensor of maps."""
    given = {source.name: source.given for source in map_sources if not source.is_method}
    return {
        f"maps[{name!r}]": len(maps.maps if isinstance(maps, TargetMaps) else maps)
        for name, maps in given.items()
        if _has_batch(maps)
    }


def _has_batch(maps: Tensor | TargetMaps) -> bool:
    return isinstance(maps, TargetMaps) or maps.ndim > 0


def _check_sizes(inputs: Tensor, map_sources: list[MapSource], on_bad: str) -> None:
    """Checks before any forward: layout, one map per image, finite values."""
    if on_bad == "raise":
        _refuse_nonfinite("inputs", inputs, 0)
    count, size = len(inputs), (inputs.shape[2], inputs.shape[3])
    for source in map_sources:
        if source.is_method:
            continue
        values = source.given.maps if isinstance(source.given, TargetMaps) else source.given
        argument = f"maps[{source.name!r}]"
        if values.ndim == 3 and values.shape[1:] == inputs.shape[1:3] != inputs.shape[2:]:
            got = f"{tuple(inputs.shape)}, which beside maps of shape {tuple(values.shape)} reads like (N, H, W, C)"
            bad_value(_FUNCTION, "inputs", "of shape (N, C, H, W)", got, "permute(0, 3, 1, 2) first")
        source.check(values[:, 0] if isinstance(source.given, TargetMaps) else values, count, size)
        if on_bad == "raise":
            _refuse_nonfinite(argument, values, 0)


def _refuse_nonfinite(argument: str, values: Tensor, start: int) -> None:
    bad = ~finite_rows(values)
    if bad.any():
        where = [start + index for index in bad.nonzero().flatten().tolist()]
        bad_value(_FUNCTION, argument, "finite values", f"NaN or Inf in sample(s) {where}", "or pass on_bad='mark'")


def check_metrics(named: dict[str, MapMetric | ModelMetric], map_sources: list[MapSource], truth: Tensor | None) -> None:
    """Refuses metrics whose needs are not met: a truth mask, or the method itself."""
    for name, metric in named.items():
        for source in map_sources:
            missing = lacks(metric, source.given, truth)
            if missing == "truth":
                bad_value(_FUNCTION, "truth", f"(N, H, W) bool for metric {name!r}", "None")
            if missing == "method":
                remedy = "pass the method itself, a callable (inputs, target) -> (N, H, W)"
                expected = f"to be a method, for metric {name!r} explains other inputs too"
                bad_type(_FUNCTION, f"maps[{source.name!r}]", expected, type(source.given).__name__, remedy)


def lacks(metric: Metric, given: Any, truth: Tensor | None) -> str:
    """The missing input of a metric: "truth", or "method" where maps are tensors; "" if none is missing."""
    if truth is None and metric.info.needs == "truth":
        return "truth"
    return "method" if metric.info.needs == "method" and isinstance(given, Tensor | TargetMaps) else ""


def named_metrics(metrics: Sequence[MetricLike], function: str = _FUNCTION) -> dict[str, MapMetric | ModelMetric]:
    """Metrics by name, adapted by `as_metric`; a repeated name gets a number."""
    if not isinstance(metrics, Sequence) or not metrics:
        bad_value(function, "metrics", "a sequence of at least one metric", repr(metrics))
    named: dict[str, MapMetric | ModelMetric] = {}
    for given in metrics:
        metric = as_metric(function, given)
        name, number = metric.info.name, 2
        while name in named:
            name, number = f"{metric.info.name}_{number}", number + 1
        named[name] = metric
    return named
