"""What an object is, in plain values that are equal in another process if and only if the object would do the same."""

import dataclasses
import functools
import hashlib
import json
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from pathlib import Path, PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy
import torch
from torch import Tensor
from torch.nn import Module

from ._digests import BY_VERSION, PYTHON, WORKINGS, code_digest, digest, is_of, managed_names, slots

_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_DEVICE = re.compile(r"^(cpu|cuda|hpu|mps|xpu):\d+$")
_LONGEST_PATH = 4096
_COMPILED = "_torchdynamo_orig_callable"
_FORWARD_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
_HOOKS = (*_FORWARD_HOOKS, "_backward_pre_hooks", "_backward_hooks")
_OF_EVERY_MODULE = frozenset(vars(Module()))
_NO_CHOICE = frozenset({"_abc_impl", "__annotate_func__", "__annotations_cache__"})


class Fingerprinter:
    """Describes objects around one model; the model and its parts are named, not described.

    Plain values stay; tensors and arrays become digests of dtype, shape and bytes; modules digests of their weights and
    structure, of the code of their classes, of their public attributes and hooks; dataclasses their fields; functions their
    name, a digest of their code, and what they closed over; other objects the code of their class and all attributes, also
    those that begin with an underscore. Of classes of torch and of this library the version stands for the code, and public
    attributes for those with an underscore, which are caches.

    Not seen: globals that a function uses; what objects of the standard library hold, beyond their text; which of several
    devices of a kind it is; where a file lies. The digest of code changes with the version of Python.

    Args:
        model: named where it is met.
        passing: names of attributes of modules that change while a model works, such as counters: they are left out.
        deep: False sees of classes their name, of modules weights and structure, and no attribute that begins with an underscore:
            what an object is called and set to, not all that it does.
    """

    def __init__(self, model: object, passing: Collection[str] = (), *, deep: bool = True) -> None:
        self._parts: dict[int, str] = {}
        if isinstance(model, Module):
            self._parts = {id(part): f"model.{name}" for name, part in model.named_modules() if name}
        self._parts[id(model)] = "model"
        self._passing, self._deep = frozenset(passing), deep
        parts = model.modules() if isinstance(model, Module) else ()
        self._hooks = {id(hook) for part in parts for name in _FORWARD_HOOKS for hook in vars(part).get(name, {}).values()}
        self._known: dict[int, Any] = {}  # of modules and classes
        self._kept: list[Any] = []  # alive, so that no id is used twice
        self._open: set[int] = set()

    def describe(self, value: Any) -> Any:
        """The value as JSON would hold it."""
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, str | PurePath):
            return _text(str(value))
        if isinstance(value, float):
            return repr(value)
        if id(value) in self._parts:
            return self._parts[id(value)]
        if isinstance(value, Tensor):
            return f"tensor {tensor_digest(value)}"
        if isinstance(value, numpy.ndarray):
            return f"array {digest(str(value.dtype), str(value.shape), numpy.ascontiguousarray(value).tobytes())}"
        if isinstance(value, type):
            return qualified(value)
        if isinstance(value, torch.device):
            return value.type
        if isinstance(value, torch.dtype | ModuleType | BuiltinFunctionType | Enum):
            return without_addresses(str(value))
        if id(value) in self._open:
            return "itself"
        self._open.add(id(value))
        try:
            return self._compound(value)
        finally:
            self._open.discard(id(value))

    def _compound(self, value: Any) -> Any:
        if isinstance(value, Module):
            return self._once(value, lambda: module_digest(value) | (self.behaviour(value) if self._deep else {}))
        if isinstance(value, Mapping):
            return {without_addresses(str(key)): self.describe(item) for key, item in value.items()}
        if isinstance(value, list | tuple | deque):
            return [self.describe(item) for item in value]
        if isinstance(value, set | frozenset):
            return sorted((self.describe(item) for item in value), key=repr)
        if isinstance(value, functools.partial):
            return {"partial": self.describe(value.func), "args": self.describe(value.args), **self.describe(value.keywords)}
        if isinstance(value, MethodType):
            return {"method": value.__func__.__qualname__, "of": self.describe(value.__self__)}
        if isinstance(value, FunctionType):
            return self._function(value)
        return {"class": qualified(type(value)), **self._code_of_class(type(value)), **self._attributes(value)}

    def behaviour(self, module: Module) -> dict[str, Any]:
        """What a module does besides its weights: the code of its classes; public attributes and hooks, a digest for each name.

        Hooks on the forward of the model that this describer is about are left out, as what they do shows in its answers.
        """
        code: dict[str, Any] = {}
        attributes: dict[str, list[Any]] = {}
        for place, part in module.named_modules():
            kind = type(part)
            code[qualified(kind)] = self._code_of_class(kind)
            if is_of(kind, WORKINGS):
                text = getattr(part, "code", None)  # of torch.fx and torch.jit
                code[place] = text if isinstance(text, str) else ""
                continue
            hooks = [(name, hook) for name in _HOOKS for hook in vars(part).get(name, {}).values()]
            result = [(name, item) for name, item in vars(part).items() if name not in _OF_EVERY_MODULE and name[:1] != "_"]
            for name, item in [*result, *(("hooks", each) for each in hooks if id(each[1]) not in self._hooks)]:
                if name not in self._passing:
                    attributes.setdefault(name, []).append([place, self.describe(item)])
        return {"code": _digest_of(code), "attributes": {name: _digest_of(each) for name, each in sorted(attributes.items())}}

    def _once(self, value: Any, make: Callable[[], Any]) -> Any:
        if id(value) not in self._known:
            self._known[id(value)] = make()
            self._kept.append(value)
        return self._known[id(value)]

    def _code_of_class(self, kind: type) -> dict[str, str]:
        """The code of a class and those it inherits from, as far as no version stands for it."""
        own = [each for each in kind.__mro__ if not is_of(each, BY_VERSION)]
        if not own or not self._deep:
            return {}

        def made() -> dict[str, str]:
            return {"class code": f"{PYTHON} {_digest_of([self._members(each) for each in own])}"}

        result: dict[str, str] = self._once(kind, made)
        return result

    def _members(self, kind: type) -> list[Any]:
        result = []
        for name, item in sorted(vars(kind).items()):
            inner = item.__func__ if isinstance(item, staticmethod | classmethod) else item
            inner = item.func if isinstance(item, functools.cached_property) else inner
            inner = [item.fget, item.fset] if isinstance(item, property) else inner
            special = name.startswith("__") and name.endswith("__")
            if name not in _NO_CHOICE and not (special and not isinstance(inner, FunctionType)):
                result.append([name, self.describe(inner)])
        return result

    def _attributes(self, value: Any) -> dict[str, Any]:
        if is_of(type(value), WORKINGS):
            return {}
        if is_of(type(value), sys.stdlib_module_names):
            wrapped = getattr(value, "__wrapped__", None)
            plain = getattr(type(value), "__repr__", None) is getattr(object, "__repr__", None)
            text = {} if plain else {"repr": without_addresses(repr(value))}
            return text if wrapped is None else {"wrapped": self.describe(wrapped)}
        result = dict(getattr(value, "__dict__", {}))
        names = [name for kind in type(value).__mro__ for name in slots(kind)]
        if dataclasses.is_dataclass(value):
            names += [field.name for field in dataclasses.fields(value)]
        result |= {name: getattr(value, name) for name in names if hasattr(value, name)}
        if not result and not hasattr(value, "__dict__"):
            return {"repr": without_addresses(repr(value))}
        kind: Any = type(value)
        inner = managed_names(kind) if self._deep else result
        return {
            name: self.describe(item) for name, item in sorted(result.items()) if not (name.startswith("_") and name in inner)
        }

    def _function(self, value: FunctionType) -> dict[str, Any]:
        if _COMPILED in vars(value):
            return {"compiled": self.describe(vars(value)[_COMPILED])}
        closed = [_content(cell) for cell in value.__closure__ or ()]
        return {
            "function": f"{value.__module__}.{value.__qualname__}",
            "code": code_digest(value.__code__),
            "closed_over": dict(zip(value.__code__.co_freevars, map(self.describe, closed), strict=True)),
            "defaults": self.describe(value.__defaults__ or ()),
            "keyword_defaults": self.describe(value.__kwdefaults__ or {}),
            **({"attributes": self.describe(vars(value))} if vars(value) else {}),
        }


def module_digest(module: Module) -> dict[str, str]:
    """Class, structure and weights of a module: all parameters and buffers, by name, to the bit."""
    result = hashlib.sha256()
    for kind, named in (("p", module.named_parameters), ("b", module.named_buffers)):
        for name, tensor in named(remove_duplicate=False):
            result.update(f"{kind} {name} {tensor_digest(tensor)}\n".encode())
    return {
        "class": qualified(type(module)),
        "structure": digest(without_addresses(repr(module))),
        "weights": result.hexdigest()[:16],
    }


def tensor_digest(tensor: Tensor) -> str:
    """Digest of dtype, shape and bytes; the device and the strides make no difference."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    content = flat.view(torch.uint8).numpy().data if len(flat) else b""  # no copy
    return digest(str(tensor.dtype), str(tuple(tensor.shape)), content)


def qualified(kind: type) -> str:
    """Module and name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def without_addresses(text: str) -> str:
    """The text without memory addresses, which differ from process to process."""
    return _ADDRESS.sub("0x", text)


def _text(value: str) -> str:
    """A text; of a device without its number, which differs among processes, of a file or folder not where it lies."""
    if os.sep in value and len(value) < _LONGEST_PATH and "\0" not in value and Path(value).exists():
        return "a path"
    return _DEVICE.sub(r"\1", value)


def _digest_of(plain: Any) -> str:
    return digest(json.dumps(plain, sort_keys=True))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that was never bound
        return None
