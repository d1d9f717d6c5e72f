"""Where functions meet kernels: calling a native op, and registering its fake kernel, autograd and fallback.

Each op's file calls `define` once; `install` then registers all definitions under a namespace of `torch.ops`. The product has
one namespace. The tests install the same definitions a second time, for the CUDA kernels that run under the host emulation.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import torch

from ..checks import has_address
from ._autograd import autograd_kernel, writing_kernel

# Devices for which there may be no kernel of ours (CUDA: in a build without it): the reference runs there.
FALLBACK_KEYS = ("CUDA", "MPS", "XPU", "HPU", "PrivateUse1")

_namespace = "saliency_ext"


@dataclass(frozen=True)
class Definition:
    """What Python adds to a native op."""

    fake: Callable[..., Any]
    reference: Callable[..., Any]
    backward: Callable[..., Any] | None = None
    setup_context: Callable[..., Any] | None = None
    tangent: Callable[..., Any] | None = None


_definitions: dict[str, Definition] = {}
_libraries: list[torch.library.Library] = []


def define(name: str, definition: Definition) -> None:
    """Notes what belongs to an op; `install` registers it."""
    _definitions[name] = definition


def call(name: str, *args: Any) -> Any:
    """Runs a native op through the dispatcher."""
    return getattr(getattr(torch.ops, _namespace), name)(*args)


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """An unwritten tensor; a large one on the CPU gets large pages, since mapping small ones would cost more than writing."""
    result = torch.empty(shape, dtype=dtype, device=device)
    if device.type == "cpu" and has_address(result):
        _library().prefer_huge_pages(result.data_ptr(), result.nbytes)
    return result


@cache
def _library() -> Any:
    return import_module("saliency_ext._C")


def op_names() -> list[str]:
    """All native ops, in the order of their definition."""
    return list(_definitions)


def install(namespace: str) -> None:
    """Registers every definition for the ops of one namespace."""
    library = torch.library.Library(namespace, "FRAGMENT")  # type: ignore[no-untyped-call]
    _libraries.append(library)
    for name, definition in _definitions.items():
        qualified = f"{namespace}::{name}"
        for key in FALLBACK_KEYS:
            if has_kernel(qualified, key):
                continue
            library.impl(name, _warned_once(name, key, definition.reference), key)  # type: ignore[no-untyped-call]
        torch.library.register_fake(qualified, definition.fake, lib=library)
        op = getattr(getattr(torch.ops, namespace), name).default
        if definition.backward is not None and definition.setup_context is not None:
            kernel = autograd_kernel(op, definition.backward, definition.setup_context, definition.tangent)
            library.impl(name, kernel, "Autograd", with_keyset=True)  # type: ignore[no-untyped-call]
        if op._schema.is_mutable:
            library.impl(name, writing_kernel(op), "ADInplaceOrView", with_keyset=True)  # type: ignore[no-untyped-call]


def has_kernel(qualified: str, key: str) -> bool:
    """Whether a kernel is registered for exactly this dispatch key."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(qualified, key)


@contextmanager
def using(namespace: str) -> Iterator[None]:
    """Sends `call` to another namespace for the duration of a block."""
    global _namespace
    before, _namespace = _namespace, namespace
    try:
        yield
    finally:
        _namespace = before


def _warned_once(name: str, key: str, reference: Callable[..., Any]) -> Callable[..., Any]:
    warned = False

    def run(*args: Any) -> Any:
        nonlocal warned
        if not warned:
            warned = True
            warnings.warn(
                f"{name}: no native kernel for {key} tensors; the slow reference runs instead. "
                "`python -m saliency_ext doctor` lists which backend serves each op.",
                RuntimeWarning,
                stacklevel=2,
            )
        return reference(*args)

    return run
