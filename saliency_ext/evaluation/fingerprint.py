"""The fingerprint of a study: everything that decides its numbers, so that results of two studies are never mixed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn import Module

from ..checks import bad_value
from .describe import Describer, digest, module_digest, tensor_digest

Fingerprint = dict[str, Any]

_SHOWN, _WIDTH = 6, 60
_ABSENT = "absent"


def fingerprint(
    *,
    model: Any,
    data: Mapping[str, Any],
    target: Any,
    truth: Tensor | None,
    methods: Mapping[str, Any],
    metrics: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Fingerprint:
    """Plain values that are equal if and only if two studies ask the same of the same.

    Args:
        model: a module by its class, structure, parameters and buffers; another callable by its code and what it closed over.
        data: what the samples are.
        target, truth: as given to the study; tensors by digest.
        methods, metrics: by name, in their order; see `Describer` for what is seen of an object.
        options: further choices, such as seed, engine and reading of maps.

    Example:
        >>> def of(seed):
        ...     choices = {"target": 0, "truth": None, "methods": {}, "metrics": {}, "options": {"seed": seed}}
        ...     return fingerprint(model=torch.nn.Identity(), data={"samples": 3}, **choices)
        >>> differences(of(0), of(0)), differences(of(0), of(1))
        ([], ['options.seed: was 0, now 1'])
    """
    about = Describer(model)
    return {
        "library": {"saliency_ext": _version(), "torch": torch.__version__},
        "model": module_digest(model) if isinstance(model, Module) else Describer(None).describe(model),
        "data": dict(data),
        "target": tensor_digest(target) if isinstance(target, Tensor) else target,
        "truth": None if truth is None else tensor_digest(truth),
        "methods": {name: about.describe(method) for name, method in methods.items()},
        "metrics": {name: about.describe(metric) for name, metric in metrics.items()},
        "order": {"methods": list(methods), "metrics": list(metrics)},
        "options": about.describe(options),
    }


def run_name(found: Fingerprint) -> str:
    """16 hex digits that name the run of a fingerprint."""
    return digest(json.dumps(found, sort_keys=True))


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """What differs between two fingerprints, one line each: where, what it was and what it is now."""
    if isinstance(old, dict) and isinstance(new, dict):
        each = [(f"{place}.{key}" if place else key, old.get(key, _ABSENT), new.get(key, _ABSENT)) for key in old | new]
    elif isinstance(old, list) and isinstance(new, list):
        pairs = zip(old, new, strict=False)  # of the items that one of them lacks, the number says enough
        each = [("" if len(old) == len(new) else f"number of {place}", len(old), len(new))]
        each += [(f"{place}[{index}]", was, now) for index, (was, now) in enumerate(pairs)]
    else:
        return [] if old == new else [f"{place}: was {_short(old)}, now {_short(new)}"]
    return [line for where, was, now in each for line in differences(was, now, where)]


def listed(lines: Sequence[str]) -> str:
    """The first few lines in one sentence, and how many more there are."""
    more = len(lines) - _SHOWN
    return "; ".join(lines[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def refuse_other_run(function: str, folder: Path, changed: Sequence[str], remedy: str) -> NoReturn:
    """Refuses a folder with a run that differs."""
    got = f"{str(folder)!r} with another run ({listed(changed)})"
    bad_value(function, "out", "a folder with this run or none", got, remedy)


def _short(value: Any) -> str:
    """A value in a few words; of an object its class."""
    if isinstance(value, dict) and "class" in value:
        value = f"a {value['class']}"
    if isinstance(value, list):
        value = f"{len(value)} items"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def _version() -> str:
    from .. import __version__  # not known yet while the package is imported

    return __version__
