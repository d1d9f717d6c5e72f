"""The fingerprint of a run: everything that determines its values, so that results of two runs are never mixed."""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from .._atomic_io import DamagedError, read_record, write_record
from .._digests import digest
from ..checks import bad_value
from ..fingerprinting import Fingerprinter, tensor_digest
from ._model_observation import ModelObservation, ObservedOutputs, outputs_differ

Fingerprint = dict[str, Any]
RUN = "run.json"  # what the run of a folder is

_SHOWN, _WIDTH = 6, 60
_ABSENT = "absent"


def fingerprint(
    *,
    model: Any,
    observed: ModelObservation,
    inputs: Mapping[str, Any],
    target: Any,
    truth: Tensor | None,
    maps: Mapping[str, Any],
    metrics: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Fingerprint:
    """Plain values that are equal if and only if two studies compute the same from the same.

    Args:
        model: the model itself; what methods and metrics hold of it is named.
        observed: what it is, from `observe`.
        inputs: what the samples are.
        target, truth: as given to the study; tensors by digest.
        maps, metrics: by name, in their order; see `Fingerprinter` for what is seen of an object.
        options: further choices, such as seed, engine and reading of maps.

    Example:
        >>> from saliency_ext.study._model_observation import observe
        >>> from saliency_ext.perturbation import Engine
        >>> def of(seed):
        ...     model, choices = torch.nn.Flatten(), {"target": 0, "truth": None, "maps": {}, "metrics": {}}
        ...     seen = observe(Engine(model), torch.ones(1, 1, 2, 2))
        ...     return fingerprint(model=model, observed=seen, inputs={"samples": 1}, options={"seed": seed}, **choices)
        >>> differences(of(0), of(0)), differences(of(0), of(1))
        ([], ['options.seed: was 0, now 1'])
    """
    about = Fingerprinter(model, observed.passing)
    return {
        "library": {"saliency_ext": _version(), "torch": torch.__version__},
        "model": observed.model,
        "inputs": dict(inputs),
        "target": tensor_digest(target) if isinstance(target, Tensor) else target,
        "truth": None if truth is None else tensor_digest(truth),
        "maps": {name: about.describe(given) for name, given in maps.items()},
        "metrics": {name: about.describe(metric) for name, metric in metrics.items()},
        "order": {"maps": list(maps), "metrics": list(metrics)},
        "options": about.describe(options),
    }


def run_name(made: Fingerprint, outputs: ObservedOutputs | None = None) -> str:
    """16 hex digits that identify a run by its fingerprint and the observed outputs of the model."""
    return digest(json.dumps([made, outputs], sort_keys=True))


def begin_or_join(
    function: str,
    folder: Path,
    new: Mapping[str, Any],
    *,
    has_files_of: Callable[[str], bool],
    drop: Callable[[], None] | None = None,
    remedy: str,
) -> dict[str, Any]:
    """The record of the run in a folder: that in run.json if it is of the same run, else the new one, which is written there.

    The same run: equal fingerprints and layouts, and outputs of the model that are equal up to rounding. A damaged run.json is
    written anew where the folder holds files of this run.

    Args:
        function: named in errors.
        folder: that of the run.
        new: the record of the run: "fingerprint", "outputs", "run" (`run_name` of both), perhaps "layout" and more.
        has_files_of: whether an intact file of the folder belongs to a run.
        drop: removes the files of another run; None: another run is refused.
        remedy: for another run, in the error.

    Raises:
        ValueError: the folder holds another run, or a run.json that is no record.
    """
    path = folder / RUN
    fresh: dict[str, Any] = json.loads(json.dumps(new))  # comparable with what is read
    try:
        old = read_record(path, function)
    except DamagedError:
        if not has_files_of(fresh["run"]):
            if drop is None:
                raise
            drop()
        warnings.warn(f"{function}: {path} was damaged; it is written anew", RuntimeWarning, stacklevel=4)
        old = None
    if old is not None:
        was, now = ({key: record.get(key) for key in ("fingerprint", "layout")} for record in (old, fresh))
        changed = differences(was, now)
        if not changed and (deviation := outputs_differ(old.get("outputs") or {}, fresh["outputs"])):
            changed = [deviation]
        if not changed:
            return old
        if drop is None:
            refuse_other_run(function, folder, changed, remedy)
        drop()
    write_record(path, fresh)
    return fresh


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """The differences between two fingerprints, one line each: the key, the old and the new value."""
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
    from .. import __version__

    return __version__
