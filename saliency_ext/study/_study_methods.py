"""The methods of a study: those given, and the controls that every method must beat."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch.nn import Module

from ..attribution.controls import Centre, Edge, GreyLevel, RandomControl
from ..attribution.random_weights import RandomWeights
from ..checks import bad_value
from ..evaluation.maps import is_factory, made_maps
from ..protocols import Forward

_STUDY = "Study"


def with_controls(
    model: Forward, named: Mapping[str, Any], controls: bool, random_weights: Sequence[str] | None, seed: int
) -> dict[str, Any]:
    """Methods by name, then controls by name: what `evaluate` takes as maps.

    Args:
        model: methods given as a class are made on it.
        named: name -> map or method, see `named_maps`.
        controls: whether to add "random", "centre", "edge" and "grey_level", and "NAME_random_weights".
        random_weights: names of methods given as classes for which that last control is made; None: the first of them.
        seed: of the controls.

    Returns:
        Name -> method. A control is left out where a given method has its name, and without a module no weights are drawn.
    """
    methods = made_maps(named, model)
    if not controls:
        return methods
    factories = {name: method for name, method in named.items() if is_factory(method)}
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
    return methods | {name: control for name, control in added.items() if name not in methods}
