"""The forward queue: masked inputs of any family and image are rendered side by side into a buffer, forwarded when it is full."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from ..checks import bad_value
from ..protocols import Infill, MaskedInfill
from ._stream_scheduling import StreamScheduling
from .outputs import read_out
from .plan import PlannedBatch


class Runner(Protocol):
    """What is needed of the one who runs the model."""

    counters: Any

    def buffers_like(self, inputs: Tensor, count: int) -> list[Tensor]:
        """Buffers (B, C, H, W)."""

    def forward_buffer(self, buffer: Tensor, used: int) -> tuple[Tensor, Tensor | None]:
        """Logits (used, K), and which rows have none for want of memory."""


@dataclass(frozen=True)
class Part:
    """Some images of a run, few enough for the buffer.

    Attributes:
        images: where their outputs go: the second index of the rows given to `ForwardQueue.add`.
        among: (n,) int64, on the host, which images of the run they are; an image may come again.
        inputs, classes, sample_ids: of these images.
    """

    images: slice
    among: Tensor
    inputs: Tensor
    classes: Tensor
    sample_ids: Tensor


@dataclass(frozen=True)
class _Entry:
    """Where the outputs of consecutive rows of the buffer belong: those of some steps for all images of a part."""

    rows: Tensor
    part: Part

    @property
    def size(self) -> int:
        """Rows of the buffer."""
        return self.rows.shape[0] * self.part.inputs.shape[0]


class ForwardQueue:
    """Fills the buffer with masked inputs and forwards it when it is full.

    An accelerator is not waited for: the outputs of one buffer are fetched when the next one has been handed over.
    """

    def __init__(
        self,
        runner: Runner,
        failed: Tensor,
        highest_class: int,
        report: Callable[[int], None],
        scheduling: StreamScheduling,
    ) -> None:
        self.runner, self.failed = runner, failed
        self.highest_class, self.report, self.scheduling = highest_class, report, scheduling
        self.entries: list[_Entry] = []
        self.used, self.turn = 0, 0
        self.num_classes: int | None = None  # of the model
        self.buffers: list[Tensor] = []
        self.pending: deque[tuple[Callable[[], Tensor], Tensor | None, list[_Entry]]] = deque()
        self._last_fill: tuple[Part, Infill, int, Tensor] | None = None

    @contextmanager
    def request(self, inputs: Tensor) -> Iterator[None]:
        """Around `add`: what it is given may be freed after the block, also after an exception.

        The buffers come first: they are cleared where they are forwarded, which is before anything is rendered into them.
        """
        self._prepare(inputs)
        self.scheduling.begin()
        try:
            yield
        finally:
            self.scheduling.end()

    def add(self, batch: PlannedBatch, part: Part, rows: Tensor) -> None:
        """Renders all steps of a batch for one part of the images, forwarding as often as the buffer is full; within `request`.

        `rows` (steps, images of the run, T + 2) is where the outputs go.
        """
        n, at = part.inputs.shape[0], 0
        infill = None if isinstance(batch.infill, MaskedInfill) else self._filled(batch, part)
        while at < len(batch.steps):
            buffer = self.buffers[self.turn]
            room = (buffer.shape[0] - self.used) // n
            if room == 0:
                self.flush()
                continue
            take = min(room, len(batch.steps) - at)
            out = buffer[self.used : self.used + take * n].view(take, n, *buffer.shape[1:])
            start = time.perf_counter()
            with self.scheduling.rendering(self.turn):
                _render(batch, part, batch.steps[at : at + take], infill, out)
            self.runner.counters.seconds["render"] += time.perf_counter() - start
            self.entries.append(_Entry(rows[at : at + take], part))
            self.used += take * n
            at += take

    def room(self, inputs: Tensor) -> int:
        """Rows that can be rendered before a forward; never 0, for a full buffer is forwarded first."""
        self._prepare(inputs)
        size = self.buffers[self.turn].shape[0]
        return size - self.used % size

    def _prepare(self, inputs: Tensor) -> None:
        if not self.buffers:
            self.buffers = self.runner.buffers_like(inputs, self.scheduling.buffers)

    def _filled(self, batch: PlannedBatch, part: Part) -> Tensor:
        """The infill of a part. The last one is kept: orders and directions that follow each other share it."""
        last = self._last_fill
        if last is None or last[0] is not part or last[1] is not batch.infill or last[2] != batch.draw:
            last = self._last_fill = None  # freed before the next one is made: one at a time
            with self.scheduling.rendering(self.turn):
                values = batch.infill.fill(part.inputs, part.sample_ids, batch.draw)
            self._last_fill = last = (part, batch.infill, batch.draw, values)
        return last[3]

    def flush(self) -> None:
        """Forwards what is in the buffer."""
        if not self.entries:
            return
        self.scheduling.rendered()
        logits, failed = self.runner.forward_buffer(self.buffers[self.turn], self.used)
        self.num_classes = logits.shape[1]
        if self.highest_class >= logits.shape[1]:
            bad_value("Engine.run", "classes", f"in [0, {logits.shape[1]})", self.highest_class)
        classes = torch.cat([entry.part.classes.repeat(len(entry.rows), 1) for entry in self.entries])
        self.pending.append((_fetched(read_out(logits, classes)), failed, self.entries))
        self.report(self.used)
        self.scheduling.forwarded(self.turn)
        self.entries, self.used, self.turn = [], 0, (self.turn + 1) % len(self.buffers)
        if len(self.pending) > 1:
            self._store()

    def finish(self) -> None:
        """Forwards the rest, and waits for all outputs."""
        self.flush()
        while self.pending:
            self._store()

    def _store(self) -> None:
        fetch, failed, entries = self.pending.popleft()
        outputs, at = fetch(), 0
        for entry in entries:
            steps, own = len(entry.rows), slice(at, at + entry.size)
            entry.rows[:, entry.part.images] = outputs[own].view(steps, -1, outputs.shape[1])
            if failed is not None:
                self.failed[entry.part.among[failed[own].view(steps, -1).any(0)]] = True
            at += entry.size


def _render(batch: PlannedBatch, part: Part, steps: tuple[int, ...], infill: Tensor | None, out: Tensor) -> None:
    if infill is not None:
        batch.masks.render(part.inputs, infill, steps, part.images, out)
        return
    # An infill that must see the mask: blending ones into zeros gives it.
    ones = torch.ones_like(part.inputs[:, :1])
    keep = ones.new_empty((len(steps), *ones.shape))
    batch.masks.render(ones, torch.zeros_like(ones), steps, part.images, keep)
    imputing = cast(MaskedInfill, batch.infill)
    out.copy_(imputing.fill_removed(part.inputs, keep[:, :, 0] < 0.5, part.sample_ids, batch.draw))


def _fetched(values: Tensor) -> Callable[[], Tensor]:
    """Begins the one copy to the host; what is returned waits for it and gives float64."""
    if values.device.type != "cuda":
        return lambda: values.cpu().double()
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    host.copy_(values, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record(torch.cuda.current_stream(values.device))

    def wait() -> Tensor:
        copied.synchronize()
        return host.double()

    return wait
