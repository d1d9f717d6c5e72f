"""Runs compiled parts of a model eagerly: hooks and in-place layers are not visible in a compiled graph."""

import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch


class _Eager:
    """The compiler's stance is one for all threads: the first block sets it, and the last one out gives it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._stance: AbstractContextManager[None] | None = None

    def enter(self) -> None:
        with self._lock:
            self._blocks += 1
            if self._stance is None:
                self._stance = torch.compiler.set_stance("force_eager")

    def leave(self) -> None:
        with self._lock:
            self._blocks -= 1
            if self._blocks == 0 and self._stance is not None:
                self._stance.__exit__(None, None, None)
                self._stance = None


_EAGER = _Eager()


@contextmanager
def uncompiled() -> Iterator[None]:
    """Within the block, what torch.compile made runs without its compiled code, in all threads."""
    if "torch._dynamo" not in sys.modules:  # then nothing is compiled, and the compiler need not be imported
        yield
        return
    _EAGER.enter()
    try:
        yield
    finally:
        _EAGER.leave()
