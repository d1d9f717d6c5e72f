"""Proofs as JSON, read without trust: no pickle, no code, sizes checked before allocation."""

import json
import math
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from .._atomic_io import write_whole
from .._digests import digest
from ..checks import bad_value
from ._proof_infill import check_describable, infill_from
from .proof import Evidence, Proof, mask_names

FORMAT, VERSION = "saliency_ext pair proof", 2
LARGEST = 4 << 20  # bytes of a file
_PIXELS, _INFILLS = 1 << 24, 8
_TEXT = 200
# What Python raises for numbers that are too large and for nesting that is too deep, beside what our own checks raise.
_HOSTILE = (TypeError, ValueError, OverflowError, RecursionError)


def proof_json(proof: Proof) -> str:
    """The proof as JSON text, with a digest of its own content.

    Masks are run lengths in row-major order: pixels kept, removed, kept, ... The digest shows damage and careless edits; it is
    no signature.

    Raises:
        ValueError: an infill that a few plain numbers do not describe (other images), or with numbers that a reader refuses:
            more than 16 draws, a blur wider than the image, a size above 1e6, a solver finer than 1e-6.

    Example:
        >>> import torch
        >>> run_lengths(torch.tensor([[False, True], [True, False]]))
        [1, 2, 1]
    """
    for shown in proof.shown:
        check_describable("proof_json", shown.infill, tuple(proof.masks[0].shape))  # type: ignore[arg-type]
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "kind": proof.kind,
        "labels": list(proof.labels),
        "delta": proof.delta,
        "score": proof.score,
        "area_limit": proof.area_limit,
        "shape": list(proof.masks[0].shape),
        "masks": {name: run_lengths(mask) for name, mask in zip(mask_names(proof.kind), proof.masks, strict=True)},
        "shown": [
            {"infill": each.infill.name, "parameters": each.infill.parameters, "retention": _plain(each.retention)}
            for each in proof.shown
        ],
        "clean": _plain(proof.clean),
        "sample_id": proof.sample_id,
        "model": proof.model,
        "image": proof.image,
        "partition": proof.partition,
    }
    return json.dumps(content | {"digest": _digest(content)}, allow_nan=False) + "\n"


def write_proof(proof: Proof, path: str | Path) -> Path:
    """Writes `proof_json` to a file, which is there complete or not at all."""
    place = Path(path)
    write_whole(place, proof_json(proof).encode())
    return place


def read_proof(source: str | Path) -> Proof:
    """The proof in a file, or in JSON text (which begins with a brace).

    Raises:
        ValueError: too large, no JSON, not a proof, a field missing, unknown or out of bounds, changed since it was written. The
            message names the field. OSError: the file cannot be read.

    Note:
        Reads at most 4 MiB. Nothing of the file is run; infills are made by name from a fixed list.
    """
    text = source if isinstance(source, str) and source.lstrip().startswith("{") else _text_of(Path(source))
    if len(text) > LARGEST:
        _refuse("the text", f"of at most {LARGEST} characters", len(text))
    try:
        content = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except _HOSTILE as error:
        _refuse_for(error, "the text", "to be JSON")
    fields = {
        "format", "version", "kind", "labels", "delta", "score", "area_limit", "shape", "masks", "shown", "clean", "sample_id",
        "model", "image", "partition", "digest",
    }  # fmt: skip
    _keys("the proof", content, fields)
    if content["format"] != FORMAT or content["version"] != VERSION:
        _refuse(
            "format and version", f"{FORMAT!r}, {VERSION}", f"{str(content['format'])[:_TEXT]!r}, {str(content['version'])[:9]}"
        )
    try:
        if content["digest"] != _digest({key: value for key, value in content.items() if key != "digest"}):
            _refuse("the proof", "as it was written", "a digest that differs: the file was changed")
        return _proof(content)
    except _HOSTILE as error:
        _refuse_for(error, "its fields", "to make a proof")


def _proof(content: dict[str, Any]) -> Proof:
    names = mask_names(str(content["kind"]))
    shape = [_integer("shape", size, 1, _PIXELS) for size in _list("shape", content["shape"], 2)]
    if shape[0] * shape[1] > _PIXELS:
        _refuse("shape", f"of at most {_PIXELS} pixels", shape)
    _keys("masks", content["masks"], set(names))
    _list("shown", content["shown"], None, _INFILLS)
    for name, part in content["model"].items() if isinstance(content["model"], dict) else [("model", None)]:
        _text(f"model.{str(name)[:_TEXT]}", part)
    return Proof(
        _text("kind", content["kind"]),
        tuple(_integer("labels", label, 0, 2**31 - 1) for label in _list("labels", content["labels"], 2)),  # type: ignore[arg-type]
        tuple(mask_from_runs(content["masks"][name], shape[0], shape[1], f"masks.{name}") for name in names),
        _number("delta", content["delta"]),
        _text("score", content["score"]),
        _number("area_limit", content["area_limit"]),
        tuple(_shown(each, len(names), (shape[0], shape[1])) for each in content["shown"]),
        _numbers("clean", content["clean"], (2, 2)),
        _integer("sample_id", content["sample_id"], 0, 2**48 - 1),
        content["model"],
        _text("image", content["image"]),
        _text("partition", content["partition"]),
    )


def _shown(each: Any, sets: int, size: tuple[int, int]) -> Evidence:
    _keys("shown", each, {"infill", "parameters", "retention"})
    infill = infill_from("read_proof", _text("shown.infill", each["infill"]), each["parameters"], size)
    return Evidence(infill, _numbers("shown.retention", each["retention"], (sets, 2, 2)))


def run_lengths(mask: Tensor) -> list[int]:
    """Lengths of runs of a mask (H, W) bool in row-major order: kept first (possibly 0), then removed, kept, ..."""
    flat = torch.cat([torch.tensor([False]), mask.detach().cpu().flatten()])
    ends = (flat[1:] != flat[:-1]).nonzero().flatten()
    bounds = torch.cat([torch.tensor([0]), ends, torch.tensor([len(flat) - 1])])
    return (bounds[1:] - bounds[:-1]).tolist()


def mask_from_runs(runs: Any, height: int, width: int, field: str = "runs") -> Tensor:
    """The mask (H, W) of `run_lengths`; refuses lengths that are negative or do not add up, before the mask is made."""
    lengths = [_integer(field, run, 0, _PIXELS) for run in _list(field, runs, None, height * width + 1)]
    if sum(lengths) != height * width:
        _refuse(field, f"runs of {height * width} pixels in all", sum(lengths))
    flags = torch.arange(len(lengths)) % 2 == 1
    return flags.repeat_interleave(torch.tensor(lengths, dtype=torch.int64)).view(height, width)


def _text_of(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        _refuse(str(path), f"of at most {LARGEST} bytes", "more")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse(str(path), "to be UTF-8 text", str(error)[:_TEXT])


def _digest(content: dict[str, Any]) -> str:
    return digest(json.dumps(content, sort_keys=True))


def _plain(values: Tensor) -> Any:
    """Nested lists, None for NaN."""
    listed = values.tolist()
    return _none_for_nan(listed)


def _none_for_nan(value: Any) -> Any:
    return [_none_for_nan(item) for item in value] if isinstance(value, list) else value if math.isfinite(value) else None


def _numbers(field: str, value: Any, shape: tuple[int, ...]) -> Tensor:
    flat = [value]
    for size in shape:
        flat = [item for each in flat for item in _list(field, each, size)]
    return torch.tensor([math.nan if item is None else _number(field, item) for item in flat], dtype=torch.float64).view(shape)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        _refuse("the text", "with each key once", "a key twice")
    return result


def _no_constant(name: str) -> Any:
    _refuse("the text", "without NaN and infinities", name)


def _keys(field: str, value: Any, wanted: set[str]) -> None:
    if not isinstance(value, dict):
        _refuse(field, "to be an object", type(value).__name__)
    odd = sorted(set(value) ^ wanted)
    if odd:
        _refuse(field, f"with the keys {', '.join(sorted(wanted))}", f"{'no' if odd[0] in wanted else 'also'} {odd[0][:_TEXT]!r}")


def _list(field: str, value: Any, length: int | None, most: int | None = None) -> list[Any]:
    if not isinstance(value, list) or (length is not None and len(value) != length) or (most is not None and len(value) > most):
        expected = f"a list of {length}" if length is not None else f"a list of at most {most}"
        _refuse(field, expected, f"{len(value)} items" if isinstance(value, list) else type(value).__name__)
    return value


def _integer(field: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        _refuse(field, f"an integer in [{low}, {high}]", str(value)[:_TEXT])
    return value


def _number(field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(field, "a number", type(value).__name__)
    return float(value)


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > _TEXT:
        _refuse(field, f"text of at most {_TEXT} characters", type(value).__name__)
    return value


def _refuse(field: str, expected: str, got: object) -> NoReturn:
    bad_value("read_proof", field, expected, got)


def _refuse_for(error: Exception, field: str, expected: str) -> NoReturn:
    """Passes errors of this module on, and turns all others into ValueErrors."""
    if str(error).startswith("read_proof:"):
        raise error
    _refuse(field, expected, f"{type(error).__name__}: {str(error)[:_TEXT]}")
