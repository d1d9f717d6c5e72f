"""What the doors to libraries of models give: a model, what it reads, and the names of its classes."""

from typing import Any, NamedTuple, NoReturn

from torch import nn

from ..checks import bad_type, bad_value
from ..models import PreprocessSpec
from ..models.preprocessing import INTERPOLATIONS


class Loaded(NamedTuple):
    """A model in eval mode from (N, C, H, W) to logits, how pictures become its inputs, and its classes if they are known."""

    forward: nn.Module
    preprocessing: PreprocessSpec
    labels: tuple[str, ...] | None


def numbers(values: Any) -> tuple[float, ...]:
    """Per-channel numbers as floats."""
    return tuple(float(value) for value in values)


def interpolation_of(value: Any, usual: str) -> str:
    """The name of an interpolation from a name, Pillow's number or an enumeration; the usual one if there is no such here."""
    pillow = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
    plain = getattr(value, "value", value)
    name = pillow.get(plain, "") if isinstance(plain, int) else str(plain).lower()
    return name if name in INTERPOLATIONS else usual


def unreadable(library: str, source: Any, expected: str, error: Exception | None = None) -> NoReturn:
    """Refuses what says nothing of a model's inputs, or something that cannot be."""
    function = f"{library}.preprocess_spec"
    remedy = "or write a models.PreprocessSpec by hand"
    if error is None:
        bad_type(function, "source", f"to be {expected}", type(source).__name__, remedy)
    bad_value(
        function, "source", f"{expected} with a size, mean and std that can be read", f"{type(error).__name__}: {error}", remedy
    )
