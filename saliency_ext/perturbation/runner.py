"""Runs the model on buffers of one shape, within the memory there is."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..checks import bad_value, dtype_name
from ..models._modules import plain_module
from ..models._placement import require_model_device
from ..models.logits import model_logits, require_outputs
from ..models.precision import model_dtype
from ..ops.native import empty
from ..protocols import Forward
from ._cuda_graph import CudaGraph
from ._memory import batch_that_fits
from ._stream_scheduling import StreamScheduling, stream_scheduling

# More images per forward than this gain nothing: the device is busy, and on the CPU a larger buffer leaves the cache.
_LARGEST = {"cpu": 32, "cuda": 512}

_Kind = tuple[tuple[int, ...], torch.dtype, torch.device]  # images whose forwards take the same memory


@dataclass
class Counters:
    """What an engine did: counts have no noise, seconds have.

    `requested`, `unique`: kinds of masked input, each run on all images of a chunk; `refined` those of single images, where
    each image chose points of its own.
    """

    requested: int = 0
    unique: int = 0
    refined: int = 0
    forwards: int = 0
    images_forwarded: int = 0
    images_padded: int = 0
    images_failed: int = 0
    out_of_memory: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"render": 0.0, "forward": 0.0, "rest": 0.0})


@dataclass
class Settings:
    """How a runner runs: the arguments of `Engine`."""

    memory_budget: int
    max_batch: int | None
    dtype: torch.dtype | None
    channels_last: bool | str
    compile: bool
    cuda_graph: bool
    overlap: bool
    pad: bool


class ModelRunner:
    """The model, its buffers and its counters.

    Out of memory, on any device: the batch is halved, and the buffer is run in parts. An image for which there is no memory alone
    gets NaN for logits and is reported; so the others finish.
    """

    def __init__(self, forward: Forward, settings: Settings) -> None:
        self.model = forward
        self.settings = settings
        self.max_batch = settings.max_batch
        self.counters = Counters()
        self._call: Callable[[Tensor], Any] = torch.compile(forward, dynamic=False) if settings.compile else forward
        self._buffers: list[Tensor] = []
        self._replays: dict[int, CudaGraph] = {}  # by place of the buffer
        self._batches: dict[_Kind, int] = {}
        self._classes: int | None = None
        self._user: dict[str, int] = {}  # the thread that runs it now

    @contextmanager
    def used(self) -> Iterator[None]:
        """Within the block no other thread may use this runner: its buffers are written as they are run.

        Raises:
            RuntimeError: another thread is using it.
        """
        me, outer = threading.get_ident(), "thread" in self._user
        if self._user.setdefault("thread", me) != me:
            raise RuntimeError("Engine: expected to be used by one thread at a time, got a second; give each thread an Engine")
        try:
            yield
        finally:
            if not outer:
                self._user.clear()

    def batch(self, example: Tensor) -> int:
        """Images per forward: given, or measured at the first image of its shape, dtype and device."""
        kind = self._kind(example)
        if kind not in self._batches:
            if self.settings.max_batch is not None:
                self._batches[kind] = self.settings.max_batch
            elif len(example) == 0:
                return 1
            else:
                first = torch.zeros_like(self.cast(example[:1]))
                largest = _LARGEST.get(example.device.type, _LARGEST["cpu"])
                self._batches[kind] = batch_that_fits(self.model, first, self.settings.memory_budget, largest)
        self.max_batch = self._batches[kind]
        return self.max_batch

    def _kind(self, images: Tensor) -> _Kind:
        return (*images.shape[1:],), self._dtype(images), images.device

    def check_device(self, inputs: Tensor) -> None:
        """Refuses inputs that are not where the model is."""
        require_model_device("Engine.run", self.model, inputs, ", or pass device= to the Engine")

    def buffers_like(self, inputs: Tensor, count: int = 1) -> list[Tensor]:
        """Buffers (max_batch, C, H, W), made anew when shape, dtype, device or layout change."""
        shape, dtype = (self.batch(inputs), *inputs.shape[1:]), self._dtype(inputs)
        old = self._buffers[0] if self._buffers else None
        if old is None or old.shape != shape or old.dtype != dtype or old.device != inputs.device:
            self._buffers, self._replays = [], {}
        while len(self._buffers) < count:
            self._buffers.append(self._zeros(shape, dtype, inputs.device))
        return self._buffers[:count]

    def _zeros(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """A buffer in large pages: each row is written and read once per forward, and small pages cost a tenth of that."""
        if not self._channels_last():
            return empty(shape, dtype, device).zero_()
        batch, channels, height, width = shape
        return empty((batch, height, width, channels), dtype, device).zero_().permute(0, 3, 1, 2)

    def scheduling(self, device: torch.device) -> StreamScheduling:
        """How rendering and forwards take turns on this device."""
        return stream_scheduling(device, self.settings.overlap)

    def forward_buffer(self, buffer: Tensor, used: int) -> tuple[Tensor, Tensor | None]:
        """Logits (used, K), and which rows (used,) have none for want of memory, None where all have."""
        if not self.settings.pad:
            buffer = buffer[:used]
        kind = self._kind(buffer)
        while True:
            start = time.perf_counter()
            most = self._batches.get(kind, len(buffer))
            try:
                pieces = [buffer] if len(buffer) <= most else torch.split(buffer, most)
                parts = [self._logits(piece) for piece in pieces]
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                self.counters.out_of_memory += 1
                if most > 1:
                    self._batches[kind] = self.max_batch = most // 2
                    continue
                return self._one_by_one(buffer, used)
            self.counters.seconds["forward"] += time.perf_counter() - start
            self._count(len(parts), buffer.shape[0], used)
            return (parts[0] if len(parts) == 1 else torch.cat(parts))[:used], None

    def _one_by_one(self, buffer: Tensor, used: int) -> tuple[Tensor, Tensor]:
        rows: list[Tensor | None] = []
        for image in buffer[:used].split(1):  # type: ignore[no-untyped-call]
            try:
                rows.append(self._logits(image))
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error) or self._classes is None:
                    raise
                rows.append(None)
        failed = torch.tensor([row is None for row in rows])
        self.counters.images_failed += int(failed.sum())
        self._count(used, used, used)
        like = next((row for row in rows if row is not None), buffer.new_empty(1, self._classes or 0))
        return torch.cat([torch.full_like(like, torch.nan) if row is None else row for row in rows]), failed

    def _logits(self, part: Tensor) -> Tensor:
        place = next((place for place, buffer in enumerate(self._buffers) if part is buffer), None)
        if self.settings.cuda_graph and part.is_cuda and place is not None:
            if place not in self._replays:
                self._replays[place] = CudaGraph(lambda x: model_logits(self._call, x), part)
            logits = self._replays[place]()
        else:
            logits = model_logits(self._call, part)
        if self._classes is not None:
            require_outputs(logits, self._classes)
        self._classes = logits.shape[1]
        return logits

    def _count(self, forwards: int, images: int, used: int) -> None:
        self.counters.forwards += forwards
        self.counters.images_forwarded += images
        self.counters.images_padded += images - used

    def cast(self, images: Tensor) -> Tensor:
        """The images in the dtype that the model is given."""
        return images.to(self._dtype(images))

    def _dtype(self, images: Tensor) -> torch.dtype:
        """That of the model's parameters, as a module would fail on others; else as set, or that of the images."""
        own, chosen = model_dtype(self.model), self.settings.dtype
        if chosen is not None and own not in (None, chosen):
            remedy = f"convert the model with .to(torch.{dtype_name(chosen)}), or leave dtype out"
            bad_value(
                "Engine", "dtype", f"that of the model's parameters, {dtype_name(own or chosen)}", dtype_name(chosen), remedy
            )
        return own or chosen or images.dtype

    def _channels_last(self) -> bool:
        """As set; "auto" follows the model: its weights are in that layout, or not."""
        if self.settings.channels_last != "auto":
            return bool(self.settings.channels_last)
        module = plain_module(self.model)
        weights = [] if module is None else [p for p in module.parameters() if p.ndim == 4]
        return any(p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous() for p in weights)


def _is_out_of_memory(error: Exception) -> bool:
    """CUDA says so by type, the CPU's allocator in words."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
