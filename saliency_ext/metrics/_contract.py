"""What makes an object a metric, and how the score of a map is asked: own metrics of users are held to no more than that."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..checks import bad_type, bad_value
from ..protocols import MetricInfo

_PAGE = "see docs/how-to/own-metric.md"


def require_metric(function: str, metric: Any) -> None:
    """Refuses what is no metric, with the name of the member that is missing or of another type.

    A metric has `info`, `parameters` (a dataclass may leave them out: they are its fields), and `score(saliency, truth)`; or
    `request(context)` and `compute(outputs, requested)`.

    Example:
        >>> require_metric("evaluate", object())
        Traceback (most recent call last):
        ...
        TypeError: evaluate: expected metrics to hold metrics, got object, which has no 'info'; see docs/how-to/own-metric.md
    """
    if isinstance(metric, type):
        remedy = f"make one: {metric.__name__}(...)"
        bad_type(function, "metrics", "to hold metrics", f"the class {metric.__name__}", remedy)
    kind = type(metric).__name__
    requests = hasattr(metric, "request") or hasattr(metric, "compute")
    for member in ("info", "parameters", *(("request", "compute") if requests else ("score",))):
        if not hasattr(metric, member) and not (member == "parameters" and not requests and dataclasses.is_dataclass(metric)):
            bad_type(function, "metrics", "to hold metrics", f"{kind}, which has no {member!r}", _PAGE)
        if member in ("request", "compute", "score") and not callable(getattr(metric, member)):
            bad_type(function, "metrics", "to hold metrics", f"{kind}, whose {member!r} is no method", _PAGE)
    if not isinstance(metric.info, MetricInfo):
        bad_type(function, f"{kind}.info", "to be a MetricInfo", type(metric.info).__name__, _PAGE)
    if not isinstance(parameters_of(metric), Mapping):
        bad_type(function, f"{kind}.parameters", "to be a mapping from names to values", type(metric.parameters).__name__, _PAGE)


def parameters_of(metric: Any) -> dict[str, object]:
    """Every choice of a metric: its `parameters`, or the fields of a dataclass without them."""
    if hasattr(metric, "parameters"):
        result: dict[str, object] = metric.parameters
        return result
    return {item.name: getattr(metric, item.name) for item in dataclasses.fields(metric)}


def needs_truth(metric: Any) -> bool:
    """Whether a metric on the map alone has no value without the truth."""
    truth = None if hasattr(metric, "request") else _truth(metric)
    return truth is not None and truth.default is inspect.Parameter.empty and truth.kind is not inspect.Parameter.VAR_POSITIONAL


def takes_truth(metric: Any) -> bool:
    """Whether a metric scores a map, and can be given a truth."""
    return callable(getattr(metric, "score", None)) and _truth(metric) is not None


def map_scores(metric: Any, saliency: Tensor, truth: Tensor | None, sample_ids: Tensor | None) -> Tensor:
    """What `metric.score` says of maps (N, H, W): (N,), asked with as many arguments as it has."""
    options: dict[str, Any] = {"sample_ids": sample_ids} if "sample_ids" in _arguments(metric) else {}
    place, given = _truth(metric), [saliency]
    if place is not None and place.kind is inspect.Parameter.KEYWORD_ONLY:
        options[place.name] = truth
    elif place is not None:
        given.append(truth)  # type: ignore[arg-type]  # None where there is none
    values = metric.score(*given, **options)
    what = f"{type(metric).__name__}.score"
    if not isinstance(values, Tensor):
        bad_type("evaluate", what, f"to return a tensor (N,) = ({len(saliency)},)", type(values).__name__)
    if values.shape != saliency.shape[:1]:
        bad_value("evaluate", what, f"to return shape (N,) = ({len(saliency)},)", tuple(values.shape), "one value for each map")
    return values


def _arguments(metric: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(metric.score).parameters)
    except (TypeError, ValueError):  # a function without a signature
        return {}


def _truth(metric: Any) -> inspect.Parameter | None:
    """The argument that takes the truth: the one of this name, else the second one, whatever its name."""
    arguments = _arguments(metric)
    if "truth" in arguments:
        return arguments["truth"]
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
    positional = [each for name, each in arguments.items() if each.kind not in named and name != "sample_ids"]
    if positional and positional[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return positional[0]
    return positional[1] if len(positional) > 1 else None
