"""Base of all attribution methods: their interface, argument checks, the reduction of channels."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from .._registry import Variant
from ..checks import (
    bad_type,
    bad_value,
    require_choice,
    require_device,
    require_dtype,
    require_integer,
    require_ndim,
    require_sample_ids,
    require_shape,
    require_tensor,
)
from ..infill.constant import DatasetMean
from ..models.eval_mode import without_autocast
from ..models.precision import full_dtype
from ..models.targets import Target, requested_classes
from ..nonfinite import finite_rows, with_zeros
from ..perturbation import Engine
from ..protocols import Forward, Infill, MethodInfo
from ..segmentation import Segmenter, slic

CHANNELS = ("sum", "abs_sum", "max", "max_abs")


def reduce_channels(function: str, attribution: Tensor, channels: str) -> Tensor:
    """(..., C, H, W) to (..., H, W).

    "sum" signed sum, "abs_sum" sum of absolute values, "max" signed maximum, "max_abs" maximum of absolute values.
    """
    require_choice(function, "channels", channels, CHANNELS)
    if channels == "sum":
        return attribution.sum(-3)
    if channels == "abs_sum":
        return attribution.abs().sum(-3)
    return attribution.amax(-3) if channels == "max" else attribution.abs().amax(-3)


@dataclass(frozen=True)
class MethodOptions:
    """The options that all methods of a run share, as the command line knows them.

    Attributes:
        infill: what a removed pixel becomes, in methods that remove pixels (but for meaningful and extremal perturbation, which
            blur); also the baseline of integrated gradients.
        segmenter: of LIME and KernelSHAP.
        reference_images: (M, C, H, W) images that stand for the data, for expected gradients and intrinsic masks.
        seed: of all random draws.
        max_batch: images per forward.
        samples: at most so many draws (masks, coalitions, noisy copies) per image in the methods whose cost they are; None: as
            many as each takes by itself.
    """

    infill: Infill = field(default_factory=DatasetMean)
    segmenter: Segmenter = slic
    reference_images: Tensor | None = None
    seed: int = 0
    max_batch: int = 64
    samples: int | None = None

    def limited(self, usual: int) -> int:
        """A method's own number of draws, or fewer where fewer are wanted."""
        return usual if self.samples is None else min(self.samples, usual)

    def images_for(self, method: str) -> Tensor:
        """The reference images; refused where there are none."""
        if self.reference_images is None:
            remedy = "pass images, in model input space, that stand for the data"
            bad_value("make_methods", "options.reference_images", f"images (M, C, H, W) for {method}", None, remedy)
        return self.reference_images


@dataclass(frozen=True)
class Explanation:
    """Maps, and what a method knows about how they came about.

    Attributes:
        saliency: (N, T, H, W).
        diagnostics: name -> (N, T, ...), one entry per image and target; empty for an empty batch.
    """

    saliency: Tensor
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)


class Method(ABC):
    """An attribution method: made once for a model, called on images and targets.

    Args:
        model: callable (B, C, H, W) -> logits (B, K). It is run in eval mode and given back as it was; a module is shown
            images in the dtype of its parameters.
        max_batch: images per forward; the bound on memory.

    Attributes:
        explained_model: the model whose decisions the maps explain; None for a control.
        max_batch: images per forward.

    Subclasses set `info` and implement `_explain`. Calls are deterministic; the map of an image depends on that image, its target
    and its sample id alone, not on the batch. Nothing of the caller's is changed, also after an exception.
    """

    info: ClassVar[MethodInfo]
    variants: ClassVar[tuple[Variant, ...]] = ()
    max_batch: int = 64

    @classmethod
    def from_options(cls, model: Any, options: MethodOptions, **further: Any) -> Self:
        """The method as the command line makes it, with further arguments of its own; by default with `max_batch` alone."""
        return cls(model, max_batch=options.max_batch, **further)

    def __init__(self, model: Forward, *, max_batch: int = 64) -> None:
        name = type(self).__name__
        if not callable(model):
            bad_type(name, "model", "to be callable", type(model).__name__, "pass a module or a function of inputs (N, C, H, W)")
        require_integer(name, "max_batch", max_batch, 1, 2**31 - 1)
        self.model = model
        self.max_batch = max_batch

    @property
    def explained_model(self) -> Forward | None:
        """The model whose decisions the maps explain; None for a control."""
        return self.model

    def __call__(self, inputs: Tensor, target: Target, *, sample_ids: Tensor | None = None) -> Tensor:
        """Saliency of each image for its target.

        Args:
            inputs: (N, C, H, W) float32 or float64, in model input space. Not modified.
            target: (N,) classes, one class for all, or "predicted"; for several per image (N, T) classes or "top-3". Tensors,
                arrays, lists and integers of numpy are accepted.
            sample_ids: (N,) int64 identities that key random draws; 0 .. N-1 if not given.

        Returns:
            (N, H, W), or (N, T, H, W) for several targets; same dtype and device as the inputs; larger = more relevant. NaN for
            an image that is not finite, or whose logits are NaN.

        Raises:
            TypeError, ValueError: which argument, what was expected and what was got.
        """

        def explain(images: Tensor, classes: Tensor, ids: Tensor) -> Explanation:
            return Explanation(self._explain(images, classes, ids))

        return self._explained(inputs, target, sample_ids, explain).saliency

    def _explained(
        self,
        inputs: Tensor,
        target: Target,
        sample_ids: Tensor | None,
        explain: Callable[[Tensor, Tensor, Tensor], Explanation],
    ) -> Explanation:
        """The result of `explain` for checked arguments (those of `_explain`), without T where there is one target per image.

        Methods that report more than maps call it with a function that returns diagnostics too.
        """
        name = type(self).__name__
        images = require_tensor(name, "inputs", inputs)
        require_dtype(name, "inputs", images, (torch.float32, torch.float64), "convert with .float() and normalise")
        require_ndim(name, "inputs", images, "(N, C, H, W)")
        ids = torch.arange(len(images), device=images.device) if sample_ids is None else sample_ids
        require_sample_ids(name, ids)
        require_shape(name, "sample_ids", ids, "(N,)", images.shape[:1])
        require_device(name, "sample_ids", ids, images, "inputs")
        good = finite_rows(images)
        # Zeros in place of an image that is not finite, so that it cannot reach the others.
        shown = with_zeros(images.detach(), good).to(self._dtype(images))
        with without_autocast():
            classes = requested_classes(target, len(images), lambda: self._engine(pad=False).logits(shown)).to(images.device)
            if classes.numel() and int(classes.min()) < 0:
                bad_value(name, "target", ">= 0", int(classes.min()))
            several = classes.ndim == 2
            columns = classes if several else classes[:, None]
            if images.numel() == 0 or columns.numel() == 0:
                explanation = Explanation(images.new_empty(len(images), columns.shape[1], *images.shape[2:]))
            else:
                explanation = explain(shown, columns, ids)
        saliency = explanation.saliency.to(images.dtype)
        if not bool(good.all()):
            saliency = saliency.masked_fill(~good.view(-1, 1, 1, 1), torch.nan)
        if several:
            return Explanation(saliency, explanation.diagnostics)
        return Explanation(saliency[:, 0], {name: values[:, 0] for name, values in explanation.diagnostics.items()})

    def _dtype(self, images: Tensor) -> torch.dtype:
        """In which maps are made: float64 images of a float32 model are explained as float32."""
        return full_dtype(self.model, images)

    def _engine(self, **options: Any) -> Engine:
        """An engine on the model with this method's batch size."""
        return Engine(self.model, max_batch=self.max_batch, **options)

    @abstractmethod
    def _explain(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        """(N, T, H, W) from checked arguments: inputs (N, C, H, W), classes (N, T) int64, sample_ids (N,). N and T are not 0."""
