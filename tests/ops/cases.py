"""What the contract feeds to the ops: shapes, layouts, faults, and copies of arguments."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.backends import Backend
from tests.native import simulated_ops

Arguments = dict[str, Any]
Change = Callable[[Arguments], Arguments]  # from the plain arguments to those that differ
Shape = tuple[int, int, int, int]

# (N, C, H, W): empty, single pixels and lines, both sides of the edges of warps and blocks, 1 to 5 channels.
SHAPES: dict[str, Shape] = {
    "empty_batch": (0, 3, 4, 5),
    "no_pixels": (2, 3, 0, 4),
    "1x1": (2, 1, 1, 1),
    "1x7": (2, 3, 1, 7),
    "7x1": (1, 2, 7, 1),
    "5x6": (2, 4, 5, 6),
    "2x31": (1, 5, 2, 31),
    "3x32": (2, 2, 3, 32),
    "2x33": (1, 3, 2, 33),
    "3x255": (1, 2, 3, 255),
    "2x256": (2, 1, 2, 256),
    "2x257": (1, 3, 2, 257),
    "9x257": (1, 1, 9, 257),  # more pixels than a block has threads, twice over
}
USUAL: Shape = (3, 3, 6, 10)
PHOTOGRAPHS: Shape = (16, 3, 224, 224)
LAYOUTS = ("sliced", "channels_last", "expanded", "offset")


@dataclass(frozen=True)
class Fault:
    """Arguments that are refused, and a part of the words."""

    changes: Change
    error: type[Exception]
    text: str


class Recorder(TorchDispatchMode):
    """Notes the calls of this library's ops, below autograd."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace in ("saliency_ext", simulated_ops.NAMESPACE):
            self.calls.append((func, args))
        return func(*args, **(kwargs or {}))


def is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def moved(arguments: Arguments, backend: Backend) -> Arguments:
    """Copies on the backend's device."""
    return {name: v.clone().to(backend.device) if isinstance(v, Tensor) else v for name, v in arguments.items()}


def copied(arguments: Arguments) -> Arguments:
    return {name: v.clone() if isinstance(v, Tensor) else v for name, v in arguments.items()}


def laid_out(value: Any, layout: str) -> Any:
    """A tensor of the same values (of its first row and channel, where expanded) in another layout; others as they are."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    if layout == "sliced":
        wide = value.new_zeros([2 * size + 1 for size in value.shape])
        return wide[tuple(slice(1, None, 2) for _ in value.shape)].copy_(value)
    if layout == "offset":
        return value.new_zeros(value.numel() + 1)[1:].view(value.shape).copy_(value)
    if layout == "expanded":
        return (value[:1, :1] if value.ndim == 4 else value[:1]).expand(value.shape)
    if value.ndim == 4:
        return value.contiguous(memory_format=torch.channels_last)
    return value.mT.contiguous().mT if value.ndim >= 2 else value


def facts_of(value: Tensor) -> tuple[Any, ...]:
    return value.shape, value.stride(), value.storage_offset(), value.requires_grad, value._version


def forget_constants() -> None:
    """Empties every cache of the ops, as in a new process."""
    for name, module in list(sys.modules.items()):
        if name.startswith("saliency_ext.ops."):
            for value in vars(module).values():
                getattr(value, "cache_clear", lambda: None)()


@contextmanager
def thread_count(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
