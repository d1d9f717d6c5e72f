"""The interfaces of metrics, with documented defaults: what `evaluate` and everything above it reads.

A `MapMetric` scores a saliency map by itself, mostly against a truth mask; a `ModelMetric` reads the model's outputs on perturbed
inputs. User metrics may subclass one of them, or be any object with the same members: `as_metric` adapts it.
"""

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self, TypeVar

from torch import Tensor

from ..checks import bad_type, bad_value, require_number
from ..infill.constant import DatasetMean
from ..infill.imputed import NoisyLinear
from ..perturbation import AdaptiveSteps, Outputs, Schedule, StratifiedSteps
from ..perturbation.outputs import SCORES
from ..protocols import Infill, MaskedInfill, MetricInfo
from .context import MetricContext, RequestedPoints
from .result import MetricResult

_PAGE = "see docs/how-to/own-metric.md"
_T = TypeVar("_T")

_ROUNDING = 1e-6  # areas of probabilities may leave their range by rounding

# What a metric can decide. "order" (faithfulness of the pixel order) and "truth" (localisation) score a map by themselves. A
# "pair" metric is easy to win alone and is read with its counterpart. "sanity" checks can only fail a method. "form" describes a
# map, right or wrong. "model" does not read the map.
ROLES = ("truth", "order", "pair", "sanity", "form", "model")


@dataclass(frozen=True)
class MetricOptions:
    """Options shared by all metrics of a run, set on the command line.

    Attributes:
        infill: what a removed pixel becomes.
        steps: number of steps of a perturbation curve.
        score: of the target, see `perturbation.outputs.SCORES`.
        seed: of random draws.
    """

    infill: Infill = field(default_factory=DatasetMean)
    steps: int = 20
    score: str = "probability"
    seed: int = 0

    @property
    def imputing_infill(self) -> Infill:
        """The infill if it imputes from the surrounding pixels, else noisy linear imputation."""
        return self.infill if isinstance(self.infill, MaskedInfill) else NoisyLinear(seed=self.seed)


class Metric(ABC):
    """Members of both kinds of metrics. All but `info` have defaults.

    Attributes:
        info: description of the metric: name, direction, unit, range, role, plain words, reference.
    """

    info: ClassVar[MetricInfo]

    @classmethod
    def from_options(cls, options: MetricOptions) -> Self:
        """The metric as the command line makes it; by default without arguments."""
        return cls()

    @property
    def parameters(self) -> dict[str, object]:
        """All that determines the value, as plain values, recorded with each result; by default the dataclass fields."""
        if not dataclasses.is_dataclass(self):
            return {}
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Smallest and largest possible value with these parameters, None where unbounded: by default `info.range`."""
        return self.info.range


class MapMetric(Metric):
    """A metric that reads the saliency map alone, or the map and a truth mask."""

    @abstractmethod
    def score(self, saliency: Tensor, truth: Tensor | None = None, *, sample_ids: Tensor | None = None) -> Tensor:
        """One value per image.

        Args:
            saliency: (N, H, W) floating, larger = more relevant.
            truth: (N, H, W) bool, or None where none is known; a metric that needs one says so by `info.needs = "truth"`.
            sample_ids: (N,) int64, for draws keyed by the sample.

        Returns:
            (N,) floating; NaN where the metric has no value.
        """


class ModelMetric(Metric):
    """A metric that reads the model's outputs on perturbed inputs."""

    @abstractmethod
    def request(self, context: MetricContext) -> Any:
        """Adds the perturbed inputs it needs to the plan (`context.request(masks, infill)`).

        What it returns is passed to `compute`, and should be small.
        """

    @abstractmethod
    def compute(self, outputs: Outputs, requested: Any) -> MetricResult:
        """Values per image, from the model's outputs on what was requested."""

    def refine(self, outputs: Outputs, requested: Any) -> list[RequestedPoints]:
        """Further curve points needed by single images; called in rounds until none are returned, then `compute` follows.

        State between rounds is kept in `requested`. The points of an image must depend on its own outputs alone, and their number
        must be finite. By default none.
        """
        return []

    def labels_for(self, given: Tensor | None, images: int, clean_logits: Callable[[], Tensor]) -> Tensor | None:
        """(N, L) further classes whose outputs it reads, given those that have a map; by default None: the target alone."""
        return None

    @property
    def sampling(self) -> Schedule | StratifiedSteps | AdaptiveSteps | None:
        """The schedule of its curve; None, the default, for a metric without one."""
        return None

    def with_sampling(self, sampling: Schedule | StratifiedSteps | AdaptiveSteps) -> Self:
        """The metric with another schedule, for a metric that has one: by default its dataclass field `schedule` is replaced."""
        return dataclasses.replace(self, schedule=sampling)  # type: ignore[type-var]  # dataclasses with a schedule

    @property
    def target_score(self) -> str | None:
        """The score of the target that it reads, one of `perturbation.outputs.SCORES`; by default what its parameters record as
        "score", None where they record none."""
        return _score_in(self.parameters)

    def with_score(self, score: str) -> Self:
        """The metric on another score of the target: by default its dataclass field `score` is replaced, if it has one."""
        return _with_score(self, score)


class _Described(Protocol):
    @property
    def info(self) -> MetricInfo: ...


class MapMetricLike(_Described, Protocol):
    """The type of what is taken as a `MapMetric`: `as_metric` checks the rest."""

    @property
    def score(self) -> Callable[..., Tensor]:
        """As `MapMetric.score`."""


class ModelMetricLike(_Described, Protocol):
    """The type of what is taken as a `ModelMetric`: `as_metric` checks the rest."""

    @property
    def request(self) -> Callable[[MetricContext], Any]:
        """As `ModelMetric.request`."""

    @property
    def compute(self) -> Callable[[Outputs, Any], MetricResult]:
        """As `ModelMetric.compute`."""


MetricLike = MapMetricLike | ModelMetricLike


def as_metric(function: str, metric: object) -> "MapMetric | ModelMetric":
    """The metric as one of the two kinds: itself if it is one, else adapted from an object with the same members.

    An object needs `info`, `parameters` (a dataclass may leave them out: they are its fields) and
    `score(saliency, truth, *, sample_ids)`; or instead of `score`, `request(context)` and `compute(outputs, requested)`. All
    else may be left out.

    Raises:
        TypeError: what is no metric, with the name of the member that is missing or of another type.

    Example:
        >>> as_metric("evaluate", object())
        Traceback (most recent call last):
        ...
        TypeError: evaluate: expected metrics to hold metrics, got object, which has no 'info'; see docs/how-to/own-metric.md
    """
    if isinstance(metric, type):
        remedy = f"make one: {metric.__name__}(...)"
        bad_type(function, "metrics", "to hold metrics", f"the class {metric.__name__}", remedy)
    kind = type(metric).__name__
    adapted = metric if isinstance(metric, MapMetric | ModelMetric) else _adapted(function, metric)
    if not isinstance(adapted.info, MetricInfo):
        bad_type(function, f"{kind}.info", "to be a MetricInfo", type(adapted.info).__name__, _PAGE)
    if not isinstance(adapted.parameters, Mapping):
        got = type(adapted.parameters).__name__
        bad_type(function, f"{kind}.parameters", "to be a mapping from names to values", got, _PAGE)
    return adapted


def metric_from_options(function: str, kind: type, options: MetricOptions) -> "MapMetric | ModelMetric":
    """A metric of this class as the command line makes it: by its `from_options`, or without arguments where it has none.

    Raises:
        TypeError: the class needs arguments, or what it makes is no metric (see `as_metric`).
    """
    make: Callable[[MetricOptions], object] = getattr(kind, "from_options", lambda _: kind())
    return as_metric(function, make(options))


def map_scores(metric: MapMetric, saliency: Tensor, truth: Tensor | None, sample_ids: Tensor | None) -> Tensor:
    """`metric.score` of maps (N, H, W), with its type and shape (N,) checked.

    Raises:
        TypeError, ValueError: the metric returns anything else.
    """
    values: object = metric.score(saliency, truth, sample_ids=sample_ids)
    what = f"{class_name(metric)}.score"
    if not isinstance(values, Tensor):
        bad_type("evaluate", what, f"to return a tensor (N,) = ({len(saliency)},)", type(values).__name__)
    if values.shape != saliency.shape[:1]:
        bad_value("evaluate", what, f"to return shape (N,) = ({len(saliency)},)", tuple(values.shape), "one value for each map")
    return values


def checked_range(function: str, metric: Metric, bounds: tuple[float, float] | None) -> tuple[float, float]:
    """The given bounds, else the range of the metric; a metric without a direction is refused."""
    if metric.info.sign == 0:
        bad_value(function, "metric", "one of which higher or lower is better", repr(metric.info.name))
    if bounds is not None:
        low, high = (require_number(function, "bounds", bound, low=-1e300) for bound in bounds)
        if low >= high:
            bad_value(function, "bounds", "(low, high) with low < high", bounds)
        return low, high
    if metric.value_range is None:
        bad_value(function, "bounds", f"for metric {metric.info.name!r} with these choices", "None", "pass bounds=(low, high)")
    return metric.value_range


def require_within(function: str, argument: str, values: Tensor, bounds: tuple[float, float]) -> Tensor:
    """The values, if all are within the bounds or NaN: the confidence intervals assume it."""
    low, high = bounds
    outside = (values < low - _ROUNDING) | (values > high + _ROUNDING)
    if outside.any():
        remedy = "pass the bounds of the metric as bounds=(low, high)"
        bad_value(function, argument, f"to score in [{low:g}, {high:g}]", float(values[outside][0]), remedy)
    return values


def class_name(metric: Metric) -> str:
    """Class name for messages; of an adapted object that of the object."""
    return type(metric.metric if isinstance(metric, _Adapted) else metric).__name__


@dataclass(frozen=True)
class _Adapted(Metric):
    """Adapter of an object with the members of a metric: its own members where it has them, else the defaults."""

    metric: Any

    @property
    def info(self) -> MetricInfo:  # type: ignore[override]
        """That of the object."""
        return self.metric.info  # type: ignore[no-any-return]

    @property
    def parameters(self) -> dict[str, object]:
        """Those of the object; the fields of a dataclass without them."""
        if "parameters" in dir(self.metric):
            return self.metric.parameters  # type: ignore[no-any-return]
        return {item.name: getattr(self.metric, item.name) for item in dataclasses.fields(self.metric)}

    @property
    def value_range(self) -> tuple[float, float] | None:
        """That of the object, else of its `info`."""
        own: tuple[float, float] | None = getattr(self.metric, "value_range", self.info.range)
        return own


@dataclass(frozen=True)
class _AdaptedMapMetric(_Adapted, MapMetric):
    def score(self, saliency: Tensor, truth: Tensor | None = None, *, sample_ids: Tensor | None = None) -> Tensor:
        """The object's, with as many of the arguments as it takes."""
        arguments, options = _fitting(self.metric.score, (saliency, truth), {"sample_ids": sample_ids})
        return self.metric.score(*arguments, **options)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _AdaptedModelMetric(_Adapted, ModelMetric):
    def request(self, context: MetricContext) -> Any:
        """The object's."""
        return self.metric.request(context)

    def compute(self, outputs: Outputs, requested: Any) -> MetricResult:
        """The object's."""
        return self.metric.compute(outputs, requested)  # type: ignore[no-any-return]

    def refine(self, outputs: Outputs, requested: Any) -> list[RequestedPoints]:
        """The object's, else none."""
        own = getattr(self.metric, "refine", super().refine)
        return own(outputs, requested)

    def labels_for(self, given: Tensor | None, images: int, clean_logits: Callable[[], Tensor]) -> Tensor | None:
        """The object's, else none."""
        own = getattr(self.metric, "labels_for", super().labels_for)
        return own(given, images, clean_logits)

    @property
    def sampling(self) -> Schedule | StratifiedSteps | AdaptiveSteps | None:
        """The object's `sampling`, else its `schedule`, else none."""
        own: Schedule | StratifiedSteps | AdaptiveSteps | None = getattr(
            self.metric, "sampling", getattr(self.metric, "schedule", None)
        )
        return own

    def with_sampling(self, sampling: Schedule | StratifiedSteps | AdaptiveSteps) -> Self:
        """With another `schedule` in the object, a dataclass."""
        return dataclasses.replace(self, metric=dataclasses.replace(self.metric, schedule=sampling))

    @property
    def target_score(self) -> str | None:
        """The object's, else what its parameters record."""
        own: str | None = getattr(self.metric, "target_score", _score_in(self.parameters))
        return own

    def with_score(self, score: str) -> Self:
        """The object's, else with another `score` in the object, where it is a dataclass with one."""
        change: Callable[[str], object] = getattr(self.metric, "with_score", lambda other: _with_score(self.metric, other))
        return dataclasses.replace(self, metric=change(score))


def _score_in(parameters: Mapping[str, object]) -> str | None:
    score = parameters.get("score")
    return score if isinstance(score, str) and score in SCORES else None


def _with_score(metric: _T, score: str) -> _T:
    if not dataclasses.is_dataclass(metric) or "score" not in (item.name for item in dataclasses.fields(metric)):
        return metric
    changed: _T = dataclasses.replace(metric, score=score)  # type: ignore[type-var]
    return changed


def _adapted(function: str, metric: Any) -> "_AdaptedMapMetric | _AdaptedModelMetric":
    kind, members = type(metric).__name__, set(dir(metric))
    of_model = bool(members & {"request", "compute"})
    for member in ("info", "parameters", *(("request", "compute") if of_model else ("score",))):
        if member == "parameters" and dataclasses.is_dataclass(metric):
            continue  # its fields
        if member not in members:
            bad_type(function, "metrics", "to hold metrics", f"{kind}, which has no {member!r}", _PAGE)
        if member not in ("info", "parameters") and not callable(getattr(metric, member)):
            bad_type(function, "metrics", "to hold metrics", f"{kind}, whose {member!r} is no method", _PAGE)
    return _AdaptedModelMetric(metric) if of_model else _AdaptedMapMetric(metric)


def _fitting(
    function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments and options that a function takes: all, or without the options, or the first argument alone."""
    try:
        takes = inspect.Signature.from_callable(function)
    except (TypeError, ValueError):  # written in C
        return arguments, options
    for given, named in ((arguments, options), (arguments, {}), (arguments[:1], options), (arguments[:1], {})):
        try:
            takes.bind(*given, **named)
        except TypeError:
            continue
        return given, named
    return arguments, options
