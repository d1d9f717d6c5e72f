"""Base of class activation maps: a layer's activation, weights per channel, their weighted sum, upsampling to the image."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..checks import bad_type, bad_value, require_choice
from ..models._modules import plain_module
from ..models.eval_mode import evaluation_mode
from ..models.gradients import detach_inference, differentiable
from ..models.hooks import Capture, captured
from ..models.layers import Layer, TargetLayer, find_module, target_layer
from ..models.logits import model_logits
from ..models.score import SCORES, target_scores
from ..models.targets import check_classes
from ..models.tokens import Grid, checked_grid
from ..protocols import Forward, MethodInfo
from ._upsampling import upsampled
from .base import Method


class CamMethod(Method):
    """A method that sums a layer's activations over channels, at the layer's resolution, and scales the map to the image.

    saliency = upsample(relu(coarse map)), bilinear, half-pixel centres, not rescaled to [0, 1]. Cells are assumed to be spread
    evenly over the image.

    Args:
        model: a module; or any callable, where the layer is given as a module that it runs.
        layer: dotted name or module; None for the last feature maps before pooling, or the last transformer block whose cells
            the logits read: see `models.layers.target_layer`. What was chosen is in `layer_name` and `target`.
        relu: negative values of the map become 0, before it is scaled up.
        grid: where the cells are in the layer's activation, for transformers whose token grid cannot be inferred: (rows,
            columns), or (rows, columns, leading tokens).
        max_batch: images per forward.

    The first call for an input size traces one forward of one image, to find out how the activation is read. Subclasses
    implement `_coarse`.
    """

    info: ClassVar[MethodInfo]
    evidence: ClassVar[bool] = True  # without relu, negative values speak against the target

    def __init__(
        self, model: Forward, layer: Layer = None, *, relu: bool = True, grid: Grid | None = None, max_batch: int = 64
    ) -> None:
        super().__init__(model, max_batch=max_batch)
        name = type(self).__name__
        if layer is not None:
            find_module(name, self._eager, layer)  # a wrong name is refused now, not at the first call
        if not isinstance(relu, bool):
            bad_type(name, "relu", "to be a bool", type(relu).__name__)
        self.layer = layer
        self.relu = relu
        self.grid = checked_grid(name, grid)
        self._target: TargetLayer | None = None
        self._targets: dict[tuple[int, ...], TargetLayer] = {}
        # Whether a map is signed depends on relu: this method's own info hides that of its class.
        vars(self)["info"] = replace(self.info, signed=self.evidence and not relu)

    @property
    def target(self) -> TargetLayer | None:
        """The layer of the last call; None before the first."""
        return self._target

    @property
    def _eager(self) -> Forward:
        """The model as it was before torch.compile: a compiled layer is not seen."""
        return (plain_module(self.model) or self.model) if isinstance(self.model, nn.Module) else self.model

    @property
    def layer_name(self) -> str | None:
        """Name of the layer of the last call; None before the first."""
        return None if self.target is None else self.target.layer_name

    def _explain(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        shape = tuple(inputs.shape[1:])
        with evaluation_mode(self.model):
            if shape not in self._targets:
                name = type(self).__name__
                self._targets[shape] = target_layer(self._eager, inputs, self.layer, grid=self.grid, function=name)
            self._target = target = self._targets[shape]
            parts = zip(*(torch.split(whole, self.max_batch) for whole in (inputs, classes, sample_ids)), strict=True)
            coarse = torch.cat([self._coarse(images, requested, ids, target) for images, requested, ids in parts]).to(
                inputs.dtype
            )
        if self.relu:
            coarse = coarse.relu()
        return upsampled(coarse, (inputs.shape[2], inputs.shape[3]))

    @contextmanager
    def _forward(
        self, inputs: Tensor, classes: Tensor, target: TargetLayer, *, gradients: bool = False
    ) -> Iterator[tuple[Capture, Tensor, Tensor]]:
        """Runs the model: the capture, the maps (n, C, h, w) of the layer, detached, and the logits (n, K)."""
        name = type(self).__name__
        mode = differentiable if gradients else evaluation_mode
        with (
            mode(self.model),
            captured(name, target.module, target.layer_name, call=target.call, differentiable=gradients) as capture,
        ):
            # A copy goes in: a model may begin with an in-place operation.
            logits = model_logits(self._eager, detach_inference(inputs).clone())
            maps = target.grid.spatial(capture.activation.detach())
            if len(maps) != len(inputs):
                expected = f"to return one row per image, N = {len(inputs)}"
                bad_value(name, f"layer {target.layer_name!r}", expected, tuple(maps.shape), "choose one outside windows")
            check_classes(name, classes, logits.shape[1])
            # An image with a NaN among its logits gets NaN, whatever the layer holds.
            unknown = logits.detach().isnan().any(1)
            yield capture, maps.masked_fill(unknown.view(-1, 1, 1, 1), torch.nan) if bool(unknown.any()) else maps, logits

    @abstractmethod
    def _coarse(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor, target: TargetLayer) -> Tensor:
        """Maps (n, T, h, w) at the layer's resolution, of at most max_batch images."""


class GradientCam(CamMethod):
    """A class activation map made of the activation and its gradient. Subclasses implement `_weighted`.

    Args:
        model, layer, relu, grid, max_batch: as `CamMethod`; the model must be differentiable from the layer on.
        score: "logit", "probability", "log_probability" or "sigmoid" of the target.
    """

    def __init__(
        self,
        model: Forward,
        layer: Layer = None,
        *,
        relu: bool = True,
        score: str = "logit",
        grid: Grid | None = None,
        max_batch: int = 64,
    ) -> None:
        super().__init__(model, layer, relu=relu, grid=grid, max_batch=max_batch)
        require_choice(type(self).__name__, "score", score, SCORES)
        self.score = score

    def _coarse(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor, target: TargetLayer) -> Tensor:
        with self._forward(inputs, classes, target, gradients=True) as (capture, maps, logits):
            gradients = self._gradients(capture, logits, classes, target)
            return torch.stack([self._weighted(maps, gradient) for gradient in gradients], 1)

    def _gradients(self, capture: Capture, logits: Tensor, classes: Tensor, target: TargetLayer) -> Iterator[Tensor]:
        """d score / d maps (n, C, h, w), target by target, to be used inside `_forward`."""
        name = type(self).__name__
        for gradient in capture.gradients(target_scores(name, logits, detach_inference(classes), self.score)):
            cells = target.grid.spatial(gradient)
            if target.grid.leading and not cells.any() and gradient.any():
                bad_value(
                    name,
                    "layer",
                    "to have cells that the logits read",
                    f"{target.layer_name!r}, of which they read the leading tokens alone (their class token)",
                    "choose an earlier layer, or leave it to the method with layer=None",
                )
            yield cells

    @abstractmethod
    def _weighted(self, maps: Tensor, gradient: Tensor) -> Tensor:
        """Map (n, h, w) from activation and gradient, both (n, C, h, w)."""


def weighted_sum(weights: Tensor, maps: Tensor) -> Tensor:
    """sum_k weights[..., k] maps[:, k]: weights (n, C) or (n, T, C) and maps (n, C, h, w) give (n, h, w) or (n, T, h, w)."""
    return torch.einsum("n...c,nchw->n...hw", weights, maps)
