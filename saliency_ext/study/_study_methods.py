"""What takes part in a study: the methods that were given, and the controls that every method must beat."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.nn import Module

from ..attribution import Centre, Edge, GreyLevel, Method, RandomControl, RandomWeights
from ..checks import bad_type, bad_value
from ..protocols import Forward

_STUDY = "Study"


def contestants(model: Forward, methods: Any, controls: bool, random_weights: Sequence[str] | None, seed: int) -> dict[str, Any]:
    """Methods by name, then controls by name: what `evaluate` takes as maps.

    Args:
        model: what methods given as a class are made on.
        methods: name -> method, or a sequence of methods, which are named by their `info`. A method is what `evaluate` takes, or
            a class of `attribution` or a functools.partial of one, which is called with the model.
        controls: whether to add "random", "centre", "edge" and "grey_level", and "NAME_random_weights".
        random_weights: names of methods given as classes for which that last control is made; None: the first of them.
        seed: of the controls.

    Returns:
        Name -> method. A control is left out where a given method has its name, and without a module no weights are redrawn.
    """
    given = _named(methods)
    factories = {name: method for name, method in given.items() if is_factory(method)}
    result = {name: method(model) if name in factories else method for name, method in given.items()}
    if not controls:
        return result
    if random_weights is None:
        random_weights = list(factories)[:1] if isinstance(model, Module) else []
    added: dict[str, Any] = {
        "random": RandomControl(seed),
        "centre": Centre(),
        "edge": Edge(),
        "grey_level": GreyLevel(),
    }
    for name in random_weights:
        if name not in factories:
            remedy = "give the method as a class, or as functools.partial of one, not as an object"
            bad_value(_STUDY, "random_weights", f"to be among {list(factories)}", repr(name), remedy)
        added[f"{name}_random_weights"] = RandomWeights(factories[name], model, seed)  # type: ignore[arg-type]
    return result | {name: control for name, control in added.items() if name not in result}


def is_factory(method: Any) -> bool:
    """Whether a method is given as something to be called with the model."""
    made: Callable[..., Any] = method.func if isinstance(method, functools.partial) else method
    return isinstance(made, type) and issubclass(made, Method)


def _named(methods: Any) -> dict[str, Any]:
    if isinstance(methods, Mapping):
        return dict(methods)
    if isinstance(methods, str) or not isinstance(methods, Sequence):
        bad_type(_STUDY, "methods", "to be name -> method, or a sequence of methods", type(methods).__name__)
    named: dict[str, Any] = {}
    for method in methods:
        info = getattr(method.func if isinstance(method, functools.partial) else method, "info", None)
        if info is None:
            bad_type(_STUDY, "methods", "to hold methods with an info", type(method).__name__, "name them: {'mine': method}")
        if info.name in named:
            bad_value(_STUDY, "methods", "with different names", f"{info.name!r} twice", "name them: {'a': ..., 'b': ...}")
        named[info.name] = method
    return named
