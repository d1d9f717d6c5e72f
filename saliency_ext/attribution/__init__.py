"""Attribution methods, one per file, with one call shape: `Method(model, ...)(inputs, target) -> (N, H, W)`.

To add a method: subclass `Method` in a new file, give it a class attribute `info: MethodInfo`, implement `_explain`, write
its docstring like a short paper (what it is, equation with source, variants, cost, traps, reference), list it here, and give its
tests a closed form.
"""

from .base import Method
from .gradient import Gradient, InputXGradient

__all__ = ["Gradient", "InputXGradient", "Method"]
