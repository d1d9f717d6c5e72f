"""Attribution methods, one per file, with one call shape: `Method(model, ...)(inputs, target) -> (N, H, W)`.

To add one: one file in this folder with a subclass of `Method` that has an `info: MethodInfo` of its own and implements
`_explain`, its docstring like a short paper (what it is, equation with source, variants, cost, traps, reference), and its test
with a closed form. It is found by the registry, the command line, the report and the docs without further changes.

Every registered class can be imported from here by its name: `from saliency_ext.attribution import GradCAM`.
"""

import typing as _typing

from .adapters import as_method as as_method
from .base import Method as Method
from .base import MethodOptions as MethodOptions
from .controls import Control as Control
from .mask_method import MaskMethod as MaskMethod
from .mask_method import OptimisedMasks as OptimisedMasks
from .random_weights import RandomWeights as RandomWeights
from .registry import METHODS as METHODS
from .rise import NoiseFloor as NoiseFloor
from .sampled_gradients import SampledGradientMethod as SampledGradientMethod
from .segment_mean import SegmentMean as SegmentMean

_SHARED = (
    "METHODS",
    "Control",
    "MaskMethod",
    "Method",
    "MethodOptions",
    "NoiseFloor",
    "OptimisedMasks",
    "RandomWeights",
    "SampledGradientMethod",
    "SegmentMean",
    "as_method",
)


def __getattr__(name: str) -> _typing.Any:
    """A registered method by the name of its class; `__all__`, which names them all."""
    return METHODS.attribute(__name__, name, _SHARED)


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__getattr__("__all__")})
