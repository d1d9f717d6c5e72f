"""What an object is, in plain values that are equal in another process if and only if the object would do the same."""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Mapping
from enum import Enum
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy
import torch
from torch import Tensor
from torch.nn import Module

_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")


class Describer:
    """Describes objects around one model; the model and its parts are named, not described.

    Plain values stay; tensors and arrays become digests of dtype, shape and bytes; modules digests of their parameters, buffers
    and structure; dataclasses their fields; functions their name, a digest of their code, and what they closed over; other
    objects their class and public attributes. Not seen: attributes that begin with an underscore, and globals that a function
    uses.
    """

    def __init__(self, model: object) -> None:
        self._parts: dict[int, str] = {}
        if isinstance(model, Module):
            self._parts = {id(part): f"model.{name}" for name, part in model.named_modules() if name}
        self._parts[id(model)] = "model"
        self._digests: dict[int, dict[str, str]] = {}
        self._modules: list[Module] = []  # kept alive, so that no id is used twice
        self._open: set[int] = set()

    def describe(self, value: Any) -> Any:
        """The value as JSON would hold it."""
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return repr(value)
        if id(value) in self._parts:
            return self._parts[id(value)]
        if isinstance(value, Tensor):
            return f"tensor {tensor_digest(value)}"
        if isinstance(value, numpy.ndarray):
            return f"array {digest(str(value.dtype), str(value.shape), numpy.ascontiguousarray(value).tobytes())}"
        if isinstance(value, Module):
            return self._module(value)
        if isinstance(value, type):
            return qualified(value)
        if isinstance(value, torch.dtype | torch.device | ModuleType | BuiltinFunctionType | Enum):
            return without_addresses(str(value))
        if id(value) in self._open:
            return "itself"
        self._open.add(id(value))
        try:
            return self._compound(value)
        finally:
            self._open.discard(id(value))

    def _compound(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): self.describe(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.describe(item) for item in value]
        if isinstance(value, set | frozenset):
            return sorted((self.describe(item) for item in value), key=repr)
        if isinstance(value, functools.partial):
            return {"partial": self.describe(value.func), "args": self.describe(value.args), **self.describe(value.keywords)}
        if isinstance(value, MethodType):
            return {"method": value.__func__.__qualname__, "of": self.describe(value.__self__)}
        if isinstance(value, FunctionType):
            return self._function(value)
        return {"class": qualified(type(value)), **self._attributes(value)}

    def _attributes(self, value: Any) -> dict[str, Any]:
        found = dict(getattr(value, "__dict__", {}))
        if dataclasses.is_dataclass(value):
            found |= {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        public = {name: self.describe(item) for name, item in sorted(found.items()) if not name.startswith("_")}
        return public if found or hasattr(value, "__dict__") else {"repr": without_addresses(repr(value))}

    def _function(self, value: FunctionType) -> dict[str, Any]:
        closed = [_content(cell) for cell in value.__closure__ or ()]
        return {
            "function": f"{value.__module__}.{value.__qualname__}",
            "code": _code_digest(value.__code__),
            "closed_over": dict(zip(value.__code__.co_freevars, map(self.describe, closed), strict=True)),
            "defaults": self.describe(value.__defaults__ or ()),
            "keyword_defaults": self.describe(value.__kwdefaults__ or {}),
        }

    def _module(self, module: Module) -> dict[str, str]:
        if id(module) not in self._digests:
            self._digests[id(module)] = module_digest(module)
            self._modules.append(module)
        return self._digests[id(module)]


def module_digest(module: Module) -> dict[str, str]:
    """Class, structure and weights of a module: all parameters and buffers, by name, to the bit."""
    found = hashlib.sha256()
    for kind, named in (("p", module.named_parameters), ("b", module.named_buffers)):
        for name, tensor in named(remove_duplicate=False):
            found.update(f"{kind} {name} {tensor_digest(tensor)}\n".encode())
    return {
        "class": qualified(type(module)),
        "structure": digest(without_addresses(repr(module))),
        "weights": found.hexdigest()[:16],
    }


def tensor_digest(tensor: Tensor) -> str:
    """Digest of dtype, shape and bytes; the device and the strides make no difference."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    content = flat.view(torch.uint8).numpy().data if len(flat) else b""  # no copy
    return digest(str(tensor.dtype), str(tuple(tensor.shape)), content)


def digest(*parts: str | bytes | memoryview) -> str:
    """16 hex digits of SHA-256."""
    found = hashlib.sha256()
    for part in parts:
        content = part.encode(errors="surrogatepass") if isinstance(part, str) else part
        found.update(f"{len(content)} ".encode())
        found.update(content)
    return found.hexdigest()[:16]


def qualified(kind: type) -> str:
    """Module and name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def without_addresses(text: str) -> str:
    """The text without memory addresses, which differ from process to process."""
    return _ADDRESS.sub("0x", text)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that was never bound
        return None


def _code_digest(code: CodeType) -> str:
    """Digest of what a function does: its instructions, names and constants, those of inner functions too."""
    constants = [_code_digest(item) if isinstance(item, CodeType) else _constant(item) for item in code.co_consts]
    return digest(code.co_code, *map(str, code.co_names), "|", *constants)


def _constant(value: Any) -> str:
    """A constant by its text; sets in order, as theirs changes from process to process."""
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)
