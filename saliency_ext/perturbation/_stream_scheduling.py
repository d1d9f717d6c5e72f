"""Who waits for whom while buffers are rendered and forwarded: in order, or on two streams of an accelerator."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch


class StreamScheduling(Protocol):
    """The order of rendering into some buffers and forwarding them."""

    buffers: int

    def begin(self) -> None:
        """What the caller has made so far may be rendered from now on."""

    def rendering(self, buffer: int) -> AbstractContextManager[None]:
        """Around what writes to a buffer, or only to memory of its own."""

    def rendered(self) -> None:
        """Before a buffer is forwarded."""

    def forwarded(self, buffer: int) -> None:
        """After a buffer was forwarded."""

    def end(self) -> None:
        """The caller may free from now on what it made for rendering."""


class Serial:
    """One buffer, one stream: each operation begins when the one before is done."""

    buffers = 1

    def begin(self) -> None:
        """Nothing to wait for."""

    def rendering(self, buffer: int) -> AbstractContextManager[None]:
        """Nothing to wait for."""
        return nullcontext()

    def rendered(self) -> None:
        """Nothing to wait for."""

    def forwarded(self, buffer: int) -> None:
        """Nothing to tell."""

    def end(self) -> None:
        """Nothing to wait for."""


class DoubleBuffered:
    """Two buffers: one is rendered on a stream of its own while the other one is forwarded on the current stream.

    An allocator hands out freed memory again to the stream it was made on, at once, and knows nothing of other streams that still
    read it. So: whatever is made while rendering is made on the side stream and used there alone; and what the caller made on
    the current stream (ranks, images of a part, ids) is freed after `end`, when the current stream waits for all reads of it.

    Args:
        current: the stream of the caller.
        side: the stream to render on.
        event: makes an event.
        on: makes a stream the current one for a block.
    """

    buffers = 2

    def __init__(self, current: Any, side: Any, event: Any, on: Any) -> None:
        self._current, self._side, self._on = current, side, on
        self._free = [event() for _ in range(self.buffers)]
        self._used = [False] * self.buffers

    def begin(self) -> None:
        """The side stream waits for what the current one was asked so far."""
        self._side.wait_stream(self._current)

    @contextmanager
    def rendering(self, buffer: int) -> Iterator[None]:
        """On the side stream, when the last forward of the buffer is over."""
        if self._used[buffer]:
            self._side.wait_event(self._free[buffer])
        with self._on(self._side):
            yield

    def rendered(self) -> None:
        """The current stream waits for the side stream."""
        self._current.wait_stream(self._side)

    def forwarded(self, buffer: int) -> None:
        """From here on the buffer may be rendered again."""
        self._free[buffer].record(self._current)
        self._used[buffer] = True

    def end(self) -> None:
        """The current stream waits for the side stream: what is written to freed memory is written after the last read."""
        self._current.wait_stream(self._side)


def stream_scheduling(device: torch.device, overlap: bool) -> StreamScheduling:
    """Two streams on CUDA if asked; else one."""
    if not overlap or device.type != "cuda":
        return Serial()
    current, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return DoubleBuffered(current, side, torch.cuda.Event, torch.cuda.stream)
