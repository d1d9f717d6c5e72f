"""The engine of an evaluation: the given one, or one made from options."""

from collections.abc import Mapping
from typing import Any

from ..checks import bad_type, bad_value
from ..perturbation import Engine
from ..protocols import Forward


def engine_for(function: str, model: Forward, engine: Engine | Mapping[str, Any] | None) -> Engine:
    """The engine, if it runs this model; else one with these options.

    Raises:
        ValueError: an engine on another model. TypeError: neither an engine nor options of one.
    """
    if isinstance(engine, Engine):
        if engine.forward is not model:
            bad_value(function, "engine", "to run the given model", "an engine on another callable", "pass Engine(model, ...)")
        return engine
    if engine is not None and not isinstance(engine, Mapping):
        remedy = "engine=Engine(model, max_batch=32), or engine={'max_batch': 32}"
        bad_type(function, "engine", "to be an Engine or a mapping of options of one", type(engine).__name__, remedy)
    return Engine(model, **dict(engine or {}))
