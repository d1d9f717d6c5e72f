"""Every attribution method by name. Classes in public modules of this folder that have their own `info` are registered
automatically."""

from collections.abc import Mapping, Sequence
from typing import Any

from .._registry import Registry
from ..checks import bad_type, bad_value
from ..protocols import Forward, MethodInfo
from .base import Method, MethodOptions
from .random_weights import SUFFIX, RandomWeights

METHODS: Registry[Method] = Registry("method", "saliency_ext.attribution", "saliency_ext.methods", MethodInfo)


def controls() -> tuple[str, ...]:
    """Names of the methods that do not depend on the model."""
    return tuple(name for name, kind in METHODS.items() if kind.info.family == "control")


def make_methods(names: Sequence[str], model: Forward, options: MethodOptions) -> Mapping[str, Method]:
    """Methods by name, for `evaluate`.

    Args:
        names: of METHODS and their variants, or `package.module:Class`; with "_random_weights" appended, the method on a copy of
            the model with random weights: a control.
        model: callable (N, C, H, W) -> logits (N, K); a torch.nn.Module for the CAM family, AGF and random weights.
        options: what they share.

    Returns:
        name -> method, in the order given.

    Raises:
        TypeError, ValueError: an unknown name, or an error of the method about the model.

    Example:
        >>> model = lambda inputs: inputs.mean((2, 3))
        >>> list(make_methods(["gradient", "random"], model, MethodOptions()))
        ['gradient', 'random']
    """
    return {name: make_method(name, model, options) for name in names}


def make_method(name: str, model: Any, options: MethodOptions) -> Method:
    """The method of one name, as `make_methods` describes."""
    plain = name.removesuffix(SUFFIX)
    kind, further = METHODS.made_by("make_methods", "names", plain)
    if not issubclass(kind, Method):
        expected, remedy = "to be a subclass of Method, to be made by name", "see docs/how-to/own-method.md"
        bad_type("make_methods", f"names ({name!r})", expected, kind.__name__, remedy)
    if plain == name:
        return kind.from_options(model, options, **further)
    if kind.info.family == "control":
        bad_value("make_methods", f"names ({name!r})", "a method that depends on the model", repr(plain))
    return RandomWeights(lambda copied: kind.from_options(copied, options, **further), model, options.seed)
