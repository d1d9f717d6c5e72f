"""Filling the buffer: probes of whatever family comes next are rendered side by side, and forwarded when it is full."""

import time
from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from ..checks import bad_value
from ..protocols import MaskedInfill
from .answers import read_out
from .plan import Batch, Key


class Runner(Protocol):
    """What is needed of the engine."""

    counters: Any

    def buffer_like(self, inputs: Tensor) -> Tensor:
        """The buffer (B, C, H, W)."""

    def forward_buffer(self, buffer: Tensor, used: int) -> Tensor:
        """Logits (B, K)."""


class Forwarding:
    """Fills the buffer with steps of one slice of images, from whatever family comes next, and forwards it when it is full."""

    def __init__(
        self,
        engine: Runner,
        inputs: Tensor,
        classes: Tensor,
        ids: Tensor,
        images: slice,
        rows: dict[Key, Tensor],
        highest_class: int,
        report: Callable[[int], None],
    ) -> None:
        self.engine, self.inputs, self.classes, self.ids, self.images, self.rows = engine, inputs, classes, ids, images, rows
        self.keys: list[Key] = []
        self.report = report
        self.highest_class = highest_class
        n = inputs.shape[0]
        self.buffer = engine.buffer_like(inputs)
        self.capacity = self.buffer.shape[0] // n
        self.steps = self.buffer[: self.capacity * n].view(self.capacity, n, *self.buffer.shape[1:])

    def add(self, batch: Batch) -> None:
        """Renders all steps of a batch, forwarding as often as the buffer is full."""
        masked = isinstance(batch.infill, MaskedInfill)
        infill = None if masked else batch.infill.fill(self.inputs, self.ids, batch.draw)
        at = 0
        while at < len(batch.steps):
            take = min(self.capacity - len(self.keys), len(batch.steps) - at)
            out = self.steps[len(self.keys) : len(self.keys) + take]
            start = time.perf_counter()
            self._render(batch, batch.steps[at : at + take], infill, out)
            self.engine.counters.seconds["render"] += time.perf_counter() - start
            self.keys += batch.keys[at : at + take]
            at += take
            if len(self.keys) == self.capacity:
                self.flush()

    def flush(self) -> None:
        """Forwards what is in the buffer and stores the read-outs."""
        if not self.keys:
            return
        count, n = len(self.keys), self.inputs.shape[0]
        logits = self.engine.forward_buffer(self.buffer, count * n)[: count * n]
        if self.highest_class >= logits.shape[1]:
            bad_value("Engine.run", "classes", f"in [0, {logits.shape[1]})", self.highest_class)
        for key, row in zip(self.keys, read_out(logits, self.classes).unbind(0), strict=True):
            self.rows[key][self.images] = row
        self.report(count * n)
        self.keys = []

    def _render(self, batch: Batch, steps: tuple[int, ...], infill: Tensor | None, out: Tensor) -> None:
        if infill is not None:
            batch.masks.render(self.inputs, infill, steps, self.images, out)
            return
        # An infill that must see the mask: blending ones into zeros gives it.
        ones = torch.ones_like(self.inputs[:, :1])
        keep = ones.new_empty((len(steps), *ones.shape))
        batch.masks.render(ones, torch.zeros_like(ones), steps, self.images, keep)
        imputing = cast(MaskedInfill, batch.infill)
        out.copy_(imputing.fill_removed(self.inputs, keep[:, :, 0] < 0.5, self.ids, batch.draw))
