"""Loads the trained nets: safetensors only, checked before anything is believed, never unpickled."""

import hashlib
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import bad_type, bad_value, dtype_name, require_choice
from .nets import NETS, make_net
from .scenes import MEAN, STD

WEIGHTS = Path(__file__).with_name("weights")
FILES = {"residual": "residual_net.safetensors", "transformer": "vision_transformer.safetensors"}
LOG = "training_log.json"
_LARGEST = 4 << 20  # bytes: a net of ours has one
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_AGAIN = "reinstall the package, or train again: python -m saliency_ext.testbed train"


def load_net(name: str = "residual", *, folder: str | Path | None = None, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A trained net in eval mode, on the CPU. Inputs: (image / 255 - MEAN) / STD of `scenes`, (N, 3, 64, 64); logits (N, 14).

    Args:
        name: "residual" or "transformer".
        folder: where the weights and their training log are; None = those of the package.
        dtype: float32, float16 or bfloat16; BatchNorm stays float32 in each, as its statistics do not survive rounding.

    Returns:
        The module, gradients of its parameters off.

    Raises:
        ValueError: an unknown name; a file that is too large, cut short, not safetensors, of other tensors than the net's, not
            finite, not the one its log describes, or a log made for another input space. The message names the file.
        FileNotFoundError: no such file. ImportError: safetensors is missing.

    Note:
        Reads at most 4 MiB, checks the size and the hash before parsing, and never unpickles.

    Example:
        >>> load_net("residual")(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 14])
    """
    require_choice("load_net", "name", name, tuple(NETS))
    if dtype not in _DTYPES:
        bad_type("load_net", "dtype", "to be " + " or ".join(map(dtype_name, _DTYPES)), dtype)
    home = WEIGHTS if folder is None else Path(folder)
    path = home / FILES[name]
    content = _read(path)
    log = training_log(home)
    if name not in log:
        _refuse(home / LOG, f"to tell of the net {name!r}", "only " + ", ".join(map(repr, sorted(log))))
    record = log[name]
    result = hashlib.sha256(content).hexdigest()
    if result != record["sha256"]:
        _refuse(path, f"with the sha256 of its log, {record['sha256']}", result)
    if (tuple(record["mean"]), tuple(record["std"])) != (MEAN, STD):
        _refuse(path, f"trained on inputs with mean {MEAN} and std {STD}", f"{record['mean']} and {record['std']}")
    net = make_net(name)
    net.load_state_dict(_checked_tensors(path, content, net.state_dict()))
    net.requires_grad_(False).to(dtype)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.float()
    return net


def training_log(folder: str | Path | None = None) -> dict[str, Any]:
    """How the nets were trained and what they recognise: one record per net, from the JSON beside the weights.

    Args:
        folder: where it is; None = that of the package.

    Raises:
        ValueError: not a log of nets. FileNotFoundError: no such file.

    Example:
        >>> sorted(training_log())
        ['residual', 'transformer']
    """
    path = (WEIGHTS if folder is None else Path(folder)) / LOG
    try:
        log: Any = json.loads(_read(path))
        complete = isinstance(log, dict) and all(map(_is_record, log.values()))
    except (ValueError, RecursionError):
        complete = False
    if not complete:
        _refuse(path, "to be the JSON log of trained nets, with sha256, mean and std of each", "something else")
    return log  # type: ignore[no-any-return]


def _is_record(value: Any) -> bool:
    types = {"sha256": str, "mean": list, "std": list}
    return isinstance(value, dict) and all(isinstance(value.get(key), kind) for key, kind in types.items())


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"load_net: expected the file {path}, got no such file; {_AGAIN}")
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        _refuse(path, f"of at most {_LARGEST} bytes", "more")
    return content


def _checked_tensors(path: Path, content: bytes, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file, if they are those of a net: names, shapes, dtypes, finite values."""
    safetensors = _safetensors()
    try:
        tensors: dict[str, Tensor] = safetensors.load(content)
    except Exception as error:  # its own class for a bad header, but also UnicodeDecodeError, KeyError, OverflowError
        _refuse(path, "to be a valid safetensors file", f"{type(error).__name__}: {error}")
    odd = sorted(set(tensors) ^ set(wanted))
    if odd:
        _refuse(path, "with the tensors of the net", f"{'no' if odd[0] in wanted else 'also'} {odd[0]!r}")
    for name, value in wanted.items():
        got = tensors[name]
        if got.shape != value.shape or got.dtype != value.dtype:
            expected = f"{name} of shape {tuple(value.shape)} and dtype {dtype_name(value.dtype)}"
            _refuse(path, f"with {expected}", f"{tuple(got.shape)} and {dtype_name(got.dtype)}")
        if not bool(torch.isfinite(got).all()):
            _refuse(path, f"with finite values in {name}", "NaN or infinity")
    return tensors


def _safetensors() -> Any:
    try:
        return import_module("safetensors.torch")
    except ImportError as error:
        raise ImportError(f"load_net: expected safetensors to be installed, got {error}; pip install safetensors") from error


def _refuse(path: Path, expected: str, got: object) -> Any:
    bad_value("load_net", str(path), expected, got, _AGAIN)
