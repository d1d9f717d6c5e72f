"""The registry of metrics. A class with its own `info` in a public module of this folder registers itself."""

from collections.abc import Sequence

from torch import Tensor

from .._registry import Registry
from ..checks import bad_type, bad_value
from ..protocols import MetricInfo
from .base import MapMetric, MetricOptions, ModelMetric, metric_from_options
from .target_minus_distractor import SUFFIX, TargetMinusDistractor

METRICS: Registry[MapMetric | ModelMetric] = Registry("metric", "saliency_ext.metrics", "saliency_ext.metrics", MetricInfo)


def make_metrics(names: Sequence[str], options: MetricOptions, *, others: Tensor | None = None) -> list[MapMetric | ModelMetric]:
    """Metrics by name, for `evaluate` and `Study`.

    Args:
        names: of METRICS, or `package.module:Class`; with "_target_minus_distractor" appended, the difference of a metric
            that needs a truth mask between the target object and the distractor.
        options: shared by all metrics.
        others: (M, H, W) bool, where the distractor is, for sample ids 0 .. M - 1.

    Raises:
        TypeError: the class cannot be made without arguments and has no `from_options`, or its instances are no metrics.
        ValueError: an unknown name; a difference of a metric that needs no truth, or without others.

    Example:
        >>> [metric.info.name for metric in make_metrics(["fidelity", "sparseness"], MetricOptions(steps=5))]
        ['fidelity', 'sparseness']
    """
    return [_made(name, options, others) for name in names]


def _made(name: str, options: MetricOptions, others: Tensor | None) -> MapMetric | ModelMetric:
    plain = name.removesuffix(SUFFIX)
    registered = METRICS.find("make_metrics", "names", plain)
    try:
        metric = metric_from_options("make_metrics", registered, options)
    except TypeError as error:
        remedy = f"its classmethod from_options(options) makes {registered.__name__} of the options that all metrics share"
        bad_type("make_metrics", f"names ({name!r})", "to name metrics that can be made by name", f"an error: {error}", remedy)
    if plain == name:
        return metric
    if registered.info.needs != "truth" or not isinstance(metric, MapMetric):
        with_truth = ", ".join(repr(each) for each, kind in METRICS.items() if kind.info.needs == "truth")
        bad_value("make_metrics", f"names ({name!r})", f"to be one of {with_truth}", repr(plain))
    if others is None:
        bad_value("make_metrics", "others", f"masks of the other object, for {name!r}", None)
    return TargetMinusDistractor(metric, others)
