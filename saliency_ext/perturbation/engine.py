"""The one place that runs the model: render, forward, read out, in batches of one shape."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..checks import bad_type, bad_value, require_dtype, require_integer, require_ndim, require_shape, require_tensor
from ..models import evaluation_mode
from ..models.precision import full_dtype
from ..protocols import Forward
from .outputs import Outputs
from .plan import Plan
from .runner import Counters, ModelRunner, Settings
from .session import Progress, Session

_DTYPES = (None, torch.float32, torch.float64, torch.bfloat16, torch.float16)


class Engine:
    """Runs plans on a model.

    Every forward has the same shape (B, C, H, W): the buffer is allocated once, masked inputs are rendered into it, and what is
    left of it at the end is padding whose outputs are dropped. So a score does not depend on how many masked inputs or images
    were requested together, to the bit, as far as the model's own batch rows are independent. Another B may change the last bits
    of a model's outputs (relative 1e-5 in float32 is usual): libraries choose their algorithms by shape.

    Args:
        forward: callable (B, C, H, W) -> logits (B, K), or what `models.logits_of` unwraps. An nn.Module is run in eval mode
            and restored.
        memory_budget: bytes for the tensors of a forward; B is the largest batch that stays within it, up to 32 on the CPU and
            512 on CUDA, measured by forwarding one image and two, once for each shape, dtype and device of images. Not
            counted: weights, and workspaces inside operations.
        max_batch: B itself; nothing is measured then.
        dtype: of the rendered inputs; None: that of the model's parameters (where it has none, the inputs'). Another one than the
            model's is refused.
        channels_last: layout of the rendered inputs; "auto" follows the model's weights.
        compile: run the forward through torch.compile.
        cuda_graph: on CUDA, record the forward once and replay it; the forward must be capturable.
        overlap: on CUDA, render the next batch on a stream of its own while the model runs; costs a second input buffer.
        device: where images are moved to before they are rendered; None: they stay where they are.
        pad: False lets the last forward be smaller: less work, but last bits may depend on how much was asked together.
        progress: called with (masked inputs done, masked inputs requested so far) after each forward.

    Note:
        Out of memory (CUDA or CPU) halves B and runs the batch again; `counters.out_of_memory` counts it. An image that has no
        room alone is marked in `Outputs.failed`. An accelerator is not waited for within a run, except for the outputs of the
        last but one forward.

    Example:
        >>> import torch
        >>> from saliency_ext.infill import Constant
        >>> from saliency_ext.ops import rank
        >>> from saliency_ext.perturbation import Engine, Plan, RankMasks, Ranked
        >>> engine, images = Engine(lambda x: x.flatten(1)[:, :2]), torch.tensor([[[[1.0, 2.0]]]])
        >>> plan = Plan()
        >>> keys = plan.request(RankMasks(Ranked(rank(images[:, 0])), [0, 1, 2], keep="tail"), Constant(0.0))
        >>> outputs = engine.run(plan, images, torch.tensor([[1]]))
        >>> outputs.score(keys[0], "logit")
        tensor([[2., 0., 0.]], dtype=torch.float64)
    """

    def __init__(
        self,
        forward: Forward,
        *,
        memory_budget: int = 2**30,
        max_batch: int | None = None,
        dtype: torch.dtype | None = None,
        channels_last: bool | str = "auto",
        compile: bool = False,
        cuda_graph: bool = False,
        overlap: bool = False,
        device: torch.device | str | None = None,
        pad: bool = True,
        progress: Progress | None = None,
    ) -> None:
        if not callable(forward):
            bad_type("Engine", "forward", "to be callable", type(forward).__name__, "pass a model or a function")
        require_integer("Engine", "memory_budget", memory_budget, 1, 2**63 - 1)
        if max_batch is not None:
            require_integer("Engine", "max_batch", max_batch, 1, 2**31 - 1)
        if dtype not in _DTYPES:
            bad_value("Engine", "dtype", "None or a floating dtype", dtype)
        if channels_last not in (True, False, "auto"):
            bad_value("Engine", "channels_last", "True, False or 'auto'", repr(channels_last))
        self.forward = forward
        self.device = None if device is None else torch.device(device)
        self.progress = progress
        self._runner = ModelRunner(
            forward, Settings(memory_budget, max_batch, dtype, channels_last, compile, cuda_graph, overlap, pad)
        )

    @property
    def counters(self) -> Counters:
        """What was requested and done so far."""
        return self._runner.counters

    @property
    def options(self) -> dict[str, object]:
        """The options it was made with, except progress."""
        return {**vars(self._runner.settings), "device": self.device}

    @property
    def max_batch(self) -> int | None:
        """Images per forward, for images like the last ones; None until it is measured."""
        return self._runner.max_batch

    def logits(self, inputs: Tensor) -> Tensor:
        """Clean logits (N, K), in forwards of the engine's shape.

        Raises:
            TypeError, ValueError: wrong inputs, or logits of a wrong shape. OutOfMemoryError: not even one image fits.
            RuntimeError: another thread is using this engine.
        """
        images = self.placed_images(_checked_inputs("Engine.logits", inputs))
        if len(images) == 0:
            with self._runner.used(), evaluation_mode(self.forward):
                return self._runner.forward_buffer(self._runner.buffers_like(images)[0], 0)[0]
        result = []
        with self._runner.used(), evaluation_mode(self.forward):
            for part in torch.split(images, self._runner.batch(images)):
                buffer = self._runner.buffers_like(part)[0]
                buffer[: part.shape[0]].copy_(part)
                logits, failed = self._runner.forward_buffer(buffer, part.shape[0])
                if failed is not None and failed.all():
                    raise torch.OutOfMemoryError("Engine.logits: no memory for a single image; free some, or shrink the images")
                result.append(logits.clone())
        return torch.cat(result)

    def batch_for(self, inputs: Tensor) -> int:
        """Images (N, C, H, W) like these per forward: given, or measured at the first call with such images."""
        with self._runner.used():
            return self._runner.batch(self.placed_images(inputs[:1]))

    def placed_images(self, inputs: Tensor) -> Tensor:
        """The images on the engine's device, in the model's dtype unless that is half; refused if the model is elsewhere."""
        images = self.placed(inputs)
        self._runner.check_device(images)
        return images.to(full_dtype(self.forward, images))

    def cast(self, inputs: Tensor) -> Tensor:
        """The images in the dtype that the model is given."""
        return self._runner.cast(inputs)

    def placed(self, values: Tensor) -> Tensor:
        """The values on the engine's device."""
        return values if self.device is None else values.to(self.device)

    @contextmanager
    def session(
        self,
        inputs: Tensor,
        classes: Tensor,
        *,
        sample_ids: Tensor | None = None,
        outputs: Outputs | None = None,
    ) -> Iterator[Session]:
        """A pass over these images in which plans come one by one (`.request(plan)`) and share the buffer.

        Arguments as in `run`. `.outputs` is complete after the block; an exception inside leaves the given outputs unchanged.
        """
        start, spent = time.perf_counter(), sum(self.counters.seconds.values())
        images, ids = self.placed_images(inputs), None if sample_ids is None else self.placed(sample_ids)
        columns = self.placed(classes)
        ids = _checked_ids(images, columns, ids)
        result = Outputs(classes.cpu()) if outputs is None else outputs
        with self._runner.used(), evaluation_mode(self.forward):
            session = Session(self._runner, images, columns, ids, result, self.progress)
            yield session
            session.finish()
        elapsed = time.perf_counter() - start
        self.counters.seconds["rest"] += elapsed - (sum(self.counters.seconds.values()) - spent)

    def run(
        self,
        plan: Plan,
        inputs: Tensor,
        classes: Tensor,
        *,
        sample_ids: Tensor | None = None,
        outputs: Outputs | None = None,
    ) -> Outputs:
        """Runs every masked input of the plan that `outputs` does not hold yet.

        Args:
            plan: what is requested.
            inputs: (N, C, H, W) float32 or float64, in model input space.
            classes: (N, T) int64, the classes whose logits are kept.
            sample_ids: (N,) int64, identities for keyed infills; 0 .. N-1 if not given.
            outputs: of an earlier run on the same images, to be extended.

        Returns:
            Outputs with a row for every key of the plan.

        Raises:
            TypeError, ValueError: wrong inputs, classes or ids, or logits of a wrong shape.
        """
        with self.session(inputs, classes, sample_ids=sample_ids, outputs=outputs) as session:
            session.request(plan)
        return session.outputs


def _checked_inputs(function: str, inputs: Tensor) -> Tensor:
    images = require_tensor(function, "inputs", inputs)
    require_dtype(function, "inputs", images, (torch.float32, torch.float64), "convert with .float() and normalise")
    require_ndim(function, "inputs", images, "(N, C, H, W)")
    return images.detach()


def _checked_ids(inputs: Tensor, classes: Tensor, sample_ids: Tensor | None) -> Tensor:
    function = "Engine.run"
    _checked_inputs(function, inputs)
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
