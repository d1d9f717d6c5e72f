"""Saliency metrics, one per file.

Two kinds (`base.py`): a `MapMetric` scores the map itself, mostly against a truth mask; a `ModelMetric` says which perturbed
inputs it needs (`request`) and turns the model's outputs into values (`compute`). To add one: one file in this folder with a
subclass that has an `info: MetricInfo` of its own, and its test. It is found by the registry, the command line, the integrations,
the report and the docs without further changes.

Every registered class can be imported from here by its name: `from saliency_ext.metrics import Deletion`.
"""

import typing as _typing

from .base import MapMetric as MapMetric
from .base import MetricOptions as MetricOptions
from .base import ModelMetric as ModelMetric
from .context import MetricContext as MetricContext
from .curve_metric import CurveMetric as CurveMetric
from .presets import PRESETS as PRESETS
from .presets import preset as preset
from .registry import METRICS as METRICS
from .result import MetricResult as MetricResult

_SHARED = (
    "METRICS",
    "PRESETS",
    "CurveMetric",
    "MapMetric",
    "MetricContext",
    "MetricOptions",
    "MetricResult",
    "ModelMetric",
    "preset",
)


def __getattr__(name: str) -> _typing.Any:
    """A registered metric by the name of its class; `__all__`, which names them all."""
    return METRICS.attribute(__name__, name, _SHARED)


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__getattr__("__all__")})
