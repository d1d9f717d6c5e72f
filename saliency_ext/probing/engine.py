"""The one place that runs the model: render, forward, read out, in batches of one shape."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..checks import bad_value, require_dtype, require_integer, require_ndim, require_shape, require_tensor
from ..models import evaluation_mode, logits_of
from ..protocols import Forward
from .answers import Answers
from .forwarding import Forwarding
from .plan import Plan

Progress = Callable[[int, int], None]


@dataclass
class Counters:
    """What an engine did: counts have no noise, seconds have."""

    asked: int = 0
    unique: int = 0
    forwards: int = 0
    images_forwarded: int = 0
    images_padded: int = 0
    out_of_memory: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"render": 0.0, "forward": 0.0, "rest": 0.0})


class Engine:
    """Runs plans on a model.

    Every forward has the same shape (max_batch, C, H, W): the buffer is allocated once, probes are rendered into it, and what
    is left of it at the end is padding whose answers are dropped. So a score does not depend on how many probes or images were
    asked together, to the bit, as far as the model's own batch rows are independent.

    Args:
        forward: callable (B, C, H, W) -> logits (B, K), or what `models.logits_of` unwraps. An nn.Module is run in eval mode
            and restored.
        max_batch: images per forward; the bound on memory.
        dtype: of the rendered inputs: None (the inputs'), torch.bfloat16 or torch.float16.
        channels_last: layout of the rendered inputs.
        progress: called with (masked inputs done, masked inputs of this run) after each forward.

    Note:
        On a CUDA out-of-memory error max_batch is halved and the batch is run again; `counters.out_of_memory` counts it.

    Example:
        >>> import torch
        >>> from saliency_ext.infill import Constant
        >>> from saliency_ext.ops import rank
        >>> from saliency_ext.probing import Engine, Plan, RankMasks, Ranked
        >>> engine, images = Engine(lambda x: x.flatten(1)[:, :2]), torch.tensor([[[[1.0, 2.0]]]])
        >>> plan = Plan()
        >>> keys = plan.ask(RankMasks(Ranked(rank(images[:, 0])), [0, 1, 2], keep="tail"), Constant(0.0))
        >>> answers = engine.run(plan, images, torch.tensor([[1]]))
        >>> answers.score(keys[0], "logit")
        tensor([[2., 0., 0.]], dtype=torch.float64)
    """

    def __init__(
        self,
        forward: Forward,
        *,
        max_batch: int = 64,
        dtype: torch.dtype | None = None,
        channels_last: bool = False,
        progress: Progress | None = None,
    ) -> None:
        if not callable(forward):
            raise TypeError(f"Engine: expected forward to be callable, got {type(forward).__name__}; pass a model or a function")
        require_integer("Engine", "max_batch", max_batch, 1, 2**31 - 1)
        if dtype not in (None, torch.float32, torch.float64, torch.bfloat16, torch.float16):
            bad_value("Engine", "dtype", "None or a floating dtype", dtype)
        self.forward = forward
        self.max_batch = max_batch
        self.dtype = dtype
        self.channels_last = channels_last
        self.progress = progress
        self.counters = Counters()
        self._buffer: Tensor | None = None

    def logits(self, inputs: Tensor) -> Tensor:
        """Clean logits (N, K), in forwards of the engine's shape."""
        with evaluation_mode(self.forward):
            parts = torch.split(inputs, self.max_batch)
            return torch.cat([self.forward_buffer(self._padded(part), part.shape[0])[: part.shape[0]].clone() for part in parts])

    def run(
        self,
        plan: Plan,
        inputs: Tensor,
        classes: Tensor,
        *,
        sample_ids: Tensor | None = None,
        answers: Answers | None = None,
    ) -> Answers:
        """Answers every probe of the plan that `answers` does not know yet.

        Args:
            plan: what is asked.
            inputs: (N, C, H, W) float32 or float64, in model input space.
            classes: (N, T) int64, the classes whose logits are kept.
            sample_ids: (N,) int64, identities for keyed infills; 0 .. N-1 if not given.
            answers: of an earlier run on the same images, to be extended.

        Returns:
            Answers with a row for every key of the plan.

        Raises:
            TypeError, ValueError: wrong inputs, classes or ids, or logits of a wrong shape.
        """
        start, spent = time.perf_counter(), sum(self.counters.seconds.values())
        ids = _checked_ids(inputs, classes, sample_ids)
        found = Answers(classes.cpu()) if answers is None else answers
        known = found.known()
        fresh = [key for key in plan.unique() if key not in known]
        self.counters.asked += plan.asked
        self.counters.unique += len(fresh)
        highest = int(found.classes.max()) if found.classes.numel() else 0  # read once, before any forward
        rows = {key: torch.empty(inputs.shape[0], classes.shape[1] + 2, dtype=torch.float64) for key in fresh}
        batches = list(plan.batches(known))
        done = 0

        def report(count: int) -> None:
            nonlocal done
            done += count
            if self.progress is not None:
                self.progress(done, len(fresh) * inputs.shape[0])

        with evaluation_mode(self.forward):
            for images in self._image_slices(inputs.shape[0]):
                forwarding = Forwarding(self, inputs[images], classes[images], ids[images], images, rows, highest, report)
                for batch in batches:
                    forwarding.add(batch)
                forwarding.flush()
        for key, row in rows.items():
            found.add(key, row)
        elapsed = time.perf_counter() - start
        self.counters.seconds["rest"] += elapsed - (sum(self.counters.seconds.values()) - spent)
        return found

    def _image_slices(self, count: int) -> list[slice]:
        """Splits N images so that a whole number of steps of each part fills a forward."""
        slices, start = [], 0
        while start < count:
            size = self.max_batch // -(-self.max_batch // min(count - start, self.max_batch))
            slices.append(slice(start, start + size))
            start += size
        return slices

    def _padded(self, part: Tensor) -> Tensor:
        buffer = self.buffer_like(part)
        buffer[: part.shape[0]].copy_(part)
        return buffer

    def buffer_like(self, inputs: Tensor) -> Tensor:
        """The one buffer (max_batch, C, H, W), made anew when shape, dtype or device change."""
        shape = (self.max_batch, *inputs.shape[1:])
        dtype = inputs.dtype if self.dtype is None else self.dtype
        old = self._buffer
        if old is None or old.shape != shape or old.dtype != dtype or old.device != inputs.device:
            memory_format = torch.channels_last if self.channels_last else torch.contiguous_format
            old = torch.zeros(shape, dtype=dtype, device=inputs.device).contiguous(memory_format=memory_format)
            self._buffer = old
        return old

    def forward_buffer(self, buffer: Tensor, used: int) -> Tensor:
        """Logits of a buffer of which `used` images count. Out of memory: max_batch is halved, and the buffer goes in parts."""
        while True:
            start = time.perf_counter()
            try:
                parts = [logits_of(self.forward(part), part.shape[0]) for part in torch.split(buffer, self.max_batch)]
            except torch.OutOfMemoryError:
                if self.max_batch == 1:
                    raise
                self.max_batch //= 2
                self.counters.out_of_memory += 1
                continue
            self.counters.seconds["forward"] += time.perf_counter() - start
            self.counters.forwards += len(parts)
            self.counters.images_forwarded += buffer.shape[0]
            self.counters.images_padded += buffer.shape[0] - used
            return parts[0] if len(parts) == 1 else torch.cat(parts)


def _checked_ids(inputs: Tensor, classes: Tensor, sample_ids: Tensor | None) -> Tensor:
    function = "Engine.run"
    require_tensor(function, "inputs", inputs)
    require_dtype(function, "inputs", inputs, (torch.float32, torch.float64), "convert with .float() and normalise")
    require_ndim(function, "inputs", inputs, "(N, C, H, W)")
    require_tensor(function, "classes", classes)
    require_dtype(function, "classes", classes, (torch.int64,))
    require_ndim(function, "classes", classes, "(N, T)")
    require_shape(function, "classes", classes, "(N, T)", (inputs.shape[0], classes.shape[1]))
    if classes.numel() and int(classes.min()) < 0:
        bad_value(function, "classes", ">= 0", int(classes.min()))
    if sample_ids is None:
        return torch.arange(inputs.shape[0], device=inputs.device)
    require_shape(function, "sample_ids", sample_ids, "(N,)", inputs.shape[:1])
    return sample_ids.to(inputs.device)
