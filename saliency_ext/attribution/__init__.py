"""Attribution methods, one per file, with one call shape: `Method(model, ...)(inputs, target) -> (N, H, W)`.

To add a method: subclass `Method` in a new file, give it a class attribute `info: MethodInfo`, implement `_explain`, write
its docstring like a short paper (what it is, equation with source, variants, cost, traps, reference), list it here, and give its
tests a closed form.
"""

from .adapters import as_method
from .base import Method
from .controls import Centre, Control, Edge, GreyLevel, RandomControl
from .expected_gradients import ExpectedGradients
from .gradient import Gradient, InputXGradient
from .integrated_gradients import IntegratedGradients
from .random_weights import RandomWeights
from .sampled_gradients import SampledGradientMethod
from .smooth_grad import SmoothGrad, SmoothGradSquared, VarGrad

__all__ = [
    "Centre",
    "Control",
    "Edge",
    "ExpectedGradients",
    "Gradient",
    "GreyLevel",
    "InputXGradient",
    "IntegratedGradients",
    "Method",
    "RandomControl",
    "RandomWeights",
    "SampledGradientMethod",
    "SmoothGrad",
    "SmoothGradSquared",
    "VarGrad",
    "as_method",
]
