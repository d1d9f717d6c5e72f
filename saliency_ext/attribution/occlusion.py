"""Occlusion: the drop of the score when a sliding window is covered."""

from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..checks import bad_type, bad_value, require_integer
from ..perturbation import BoxMasks
from ..protocols import Forward, Infill, MethodInfo
from ._perturbation_method import PerturbationMethod, separable_sum
from .base import MethodOptions

Size = int | tuple[int, int] | None


class Occlusion(PerturbationMethod):
    """Saliency as the mean fall of the score over the windows that cover a pixel [Zeiler 2014, Sec. 4.2].

    saliency(u) = mean over windows R with u in R of f(inputs) - f(inputs with the pixels of R replaced by infill).

    Windows start at 0, stride, 2 stride, ... along each axis until one reaches the border; the last is clipped there, so every
    pixel is covered. Deviation: the source shows the score of the covered image itself, where low means relevant.

    Args:
        model: callable (B, C, H, W) -> logits (B, K).
        infill: what the window becomes, in model input space.
        window: height and width in pixels, one int for both; at most the image. Default: a seventh of each side, rounded.
        stride: step in pixels along each axis, one int for both; at most the window. Default: half the window, rounded down.
        score: "probability", "logit", "log_probability", "sigmoid" or "accuracy" of the target.
        max_batch: masked inputs per forward.

    Polarity: positive where covering lowers the score (evidence for the target), negative where it raises it.
    Unit: that of the score. Cost: per image and draw of the infill 1 + ceil((H - window) / stride + 1) *
    ceil((W - window) / stride + 1) forwards, whatever the number of targets. Memory: a buffer of max_batch images, and one
    score per window. Deterministic.
    Trap: the map shows the infill as much as the model: pixels that already equal the infill get about 0.

    Example:
        >>> import torch
        >>> from saliency_ext.infill import Constant
        >>> total = lambda x: torch.stack([x.sum((1, 2, 3)), -x.sum((1, 2, 3))], 1)
        >>> Occlusion(total, Constant(0.0), window=(1, 2), stride=1, score="logit")(torch.tensor([[[[1.0, 0.0, 4.0]]]]), 0)
        tensor([[[1.0000, 2.5000, 4.0000]]])

    References:
        Zeiler, Fergus. Visualizing and Understanding Convolutional Networks. ECCV 2014.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="occlusion",
        family="perturbation",
        signed=True,
        cost="1 + (H / stride) (W / stride) F",
        reference="Zeiler 2014",
        summary="how the score falls when a window of the image is covered",
    )

    @classmethod
    def from_options(cls, model: Any, options: MethodOptions, **further: Any) -> Self:
        """With the options that concern it."""
        return cls(model, options.infill, max_batch=options.max_batch, **further)

    def __init__(
        self,
        model: Forward,
        infill: Infill,
        *,
        window: Size = None,
        stride: Size = None,
        score: str = "probability",
        max_batch: int = 64,
    ) -> None:
        super().__init__(model, infill, score=score, max_batch=max_batch)
        self.window = _pair("window", window)
        self.stride = _pair("stride", stride)

    def _explain(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        ends = [self._windows(axis, size) for axis, size in enumerate(inputs.shape[2:])]
        (top, bottom), (left, right) = ends
        rows, columns = len(top), len(left)
        corners = [top[:, None], left, bottom[:, None], right]
        boxes = torch.stack([corner.expand(rows, columns) for corner in corners], -1).view(-1, 4)
        boxes = torch.cat([boxes.new_zeros(1, 4), boxes]).to(inputs.device)  # an empty window: the clean image
        engine = self._engine()
        parts = [self._outputs(engine, BoxMasks(boxes[part]), inputs, classes, sample_ids) for part in self._blocks(len(boxes))]
        scores = torch.cat(parts, 2)
        falls = (scores[..., :1] - scores[..., 1:]).view(*classes.shape, rows, columns)
        down, across = (_inside(*edges, size) for edges, size in zip(ends, inputs.shape[2:], strict=True))
        windows = down.sum(1)[:, None] * across.sum(1)
        return (separable_sum(down, falls, across) / windows).to(inputs)

    def _windows(self, axis: int, size: int) -> tuple[Tensor, Tensor]:
        """First pixel of each window along an axis, and the one behind its last."""
        window = max(1, round(size / 7)) if self.window is None else self.window[axis]
        stride = max(1, window // 2) if self.stride is None else self.stride[axis]
        if window > size:
            bad_value("Occlusion", "window", f"at most {size}, the {('height', 'width')[axis]} of the inputs", window)
        if stride > window:
            bad_value("Occlusion", "stride", f"at most {window}, the window", stride, "pixels between windows would get no value")
        first = torch.arange(0, size - window + stride, stride)
        return first, (first + window).clamp(max=size)


def _pair(argument: str, value: Size) -> tuple[int, int] | None:
    """An int for both axes, or one per axis."""
    if value is None:
        return None
    pair = (value, value) if isinstance(value, int) else value
    if not isinstance(pair, tuple) or len(pair) != 2:
        bad_type("Occlusion", argument, "to be an int, or a tuple of two", repr(value))
    for number in pair:
        require_integer("Occlusion", argument, number, 1, 2**31 - 1)
    return pair


def _inside(first: Tensor, end: Tensor, size: int) -> Tensor:
    """(size, windows) float64: 1 where a pixel lies in a window."""
    pixel = torch.arange(size)[:, None]
    return ((pixel >= first) & (pixel < end)).double()
