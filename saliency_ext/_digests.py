"""Digests of texts and of code, and what code a version of a package stands for."""

import functools
import hashlib
import sys
from collections.abc import Collection
from types import CodeType, FunctionType
from typing import Any

PYTHON = f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}"
# What the versions of torch, of this library and of Python say already.
BY_VERSION = frozenset({"torch", __name__.split(".")[0], "numpy", *sys.stdlib_module_names})
# Classes of torch that hold compiled code, graphs and caches.
WORKINGS = frozenset({"torch._dynamo", "torch._inductor", "torch.jit", "torch.fx", "torch._jit_internal"})


def is_of(kind: type, packages: Collection[str]) -> bool:
    """Whether a class is of one of these packages, or of a module in them."""
    parts = kind.__module__.split(".")
    return any(".".join(parts[:count]) in packages for count in range(1, len(parts) + 1))


@functools.cache
def managed_names(kind: type) -> frozenset[str]:
    """Names in the code of those of a class's parents for which a version stands."""
    members = [item for parent in kind.__mro__ if is_of(parent, BY_VERSION) for item in vars(parent).values()]
    return frozenset(name for item in members if isinstance(item, FunctionType) for name in _names(item.__code__))


def _names(code: CodeType) -> set[str]:
    return set(code.co_names).union(*(_names(item) for item in code.co_consts if isinstance(item, CodeType)))


def slots(kind: type) -> tuple[str, ...]:
    """Names of the attributes that a class keeps without a dictionary."""
    result = vars(kind).get("__slots__", ())
    return tuple(name for name in ((result,) if isinstance(result, str) else result) if not name.startswith("__"))


def code_digest(code: CodeType) -> str:
    """Digest of what a function does: its instructions, names and constants, those of inner functions too."""
    constants = [code_digest(item) if isinstance(item, CodeType) else _constant(item) for item in code.co_consts]
    return digest(code.co_code, *map(str, code.co_names), "|", *constants)


def _constant(value: Any) -> str:
    """A constant by its text; sets in order, as theirs changes from process to process."""
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


def digest(*parts: str | bytes | memoryview) -> str:
    """16 hex digits of SHA-256."""
    result = hashlib.sha256()
    for part in parts:
        content = part.encode(errors="surrogatepass") if isinstance(part, str) else part
        result.update(f"{len(content)} ".encode())
        result.update(content)
    return result.hexdigest()[:16]
