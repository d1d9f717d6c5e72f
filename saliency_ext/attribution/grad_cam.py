"""Grad-CAM: channels weighted by their mean gradient; in closed form for global-average-pooling heads."""

from itertools import chain
from typing import ClassVar

import torch
from torch import Tensor

from ..checks import bad_value, require_choice
from ..models._gap_head import gap_head, head_gradients
from ..models.layers import Layer, TargetLayer
from ..models.tokens import Grid
from ..protocols import Forward, MethodInfo
from ._cam import GradientCam, weighted_sum

CLOSED_FORMS = ("auto", "always", "never")


class GradCAM(GradientCam):
    """Saliency as a layer's channels, weighted by how much each raises the score on average [Selvaraju 2017, Eq. 1 and 2].

    saliency = upsample(relu(sum_k w_k A_k)),  w_k = mean over cells (i, j) of d f_t / d A_k(i, j)

    Where the logits are one linear layer on the mean of A over its cells, d f_t / d A_k(i, j) = weight[t, k] / cells
    everywhere, and the map is the class activation map [Zhou 2016] divided by the number of cells. Such heads are recognised:
    the linear layer is held against the logits of every batch, and on the first batch of this object the gradient of the
    first target is held against the closed form. From then on no backward is needed; a batch that does not fit gets one.

    Args:
        model: a module differentiable from the layer on; or a callable, with the layer given as a module.
        layer: dotted name or module; None to choose it, see `CamMethod`.
        relu: keep positive evidence only, as published.
        score: "logit" (as published; the closed form is of it), "probability", "log_probability" or "sigmoid" of the target.
        closed_form: "auto"; "always" runs no backward, and refuses models and batches whose logits do not fit it; "never".
        grid: of the layer's tokens, where it cannot be inferred.
        max_batch: images per forward and backward.

    Polarity: positive where more of what the channels see raises the score. Signed with relu=False.
    Unit: score per cell (activation x mean gradient); not rescaled to [0, 1].
    Cost: one forward, and one backward per target from the logits down to the layer; one forward alone in closed form.
    Memory, for max_batch images: the layer's activation twice, one gradient, and the graph from the layer on. While a forward
    with gradients is on its way to the layer, parameters that require grad make it keep its graph; model.requires_grad_(False)
    spares that. Deterministic up to the model.
    Trap: the map has the layer's resolution; upsampling adds no detail. Before a layer whose gradient changes sign within a
    channel the mean is not informative: see `LayerCAM`. Transformers with a class token give zero gradient at the cells of the
    last block: such a layer is refused.

    Example:
        >>> import torch
        >>> layers = torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False)
        >>> net = torch.nn.Sequential(*layers).eval()
        >>> _ = net[3].weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
        >>> image = torch.tensor([[[[2.0, 4.0]], [[6.0, 8.0]]]])
        >>> GradCAM(net)(image, 0), GradCAM(net, "0", relu=False)(image, 1)
        (tensor([[[1., 2.]]]), tensor([[[-3., -4.]]]))

    References:
        Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra. Grad-CAM. ICCV 2017, arXiv 1610.02391.
        Zhou, Khosla, Lapedriza, Oliva, Torralba. Learning Deep Features for Discriminative Localization. CVPR 2016.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="grad_cam",
        family="cam",
        signed=False,
        cost="1 F + T B (1 F on pooled-linear heads)",
        reference="Selvaraju 2017",
        summary="activations of the last layer with places, weighted by their gradients",
        default=1,
    )

    def __init__(
        self,
        model: Forward,
        layer: Layer = None,
        *,
        relu: bool = True,
        score: str = "logit",
        closed_form: str = "auto",
        grid: Grid | None = None,
        max_batch: int = 64,
    ) -> None:
        super().__init__(model, layer, relu=relu, score=score, grid=grid, max_batch=max_batch)
        require_choice("GradCAM", "closed_form", closed_form, CLOSED_FORMS)
        if closed_form == "always" and score != "logit":
            bad_value("GradCAM", "score", "'logit' with closed_form='always'", repr(score))
        self.closed_form = closed_form
        # Layer name -> whether its gradient was found to be that of the closed form.
        self._proven: dict[str, bool] = {}

    def _coarse(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor, target: TargetLayer) -> Tensor:
        if self.closed_form == "never" or self.score != "logit":
            return super()._coarse(inputs, classes, sample_ids, target)
        proven = True if self.closed_form == "always" else self._proven.get(target.layer_name)
        if proven is None:
            return self._proving(inputs, classes, target)
        if proven:
            with self._forward(inputs, classes, target) as (_, maps, logits):
                closed = self._closed(maps, logits, classes)
            if closed is not None:
                return weighted_sum(closed, maps)
            if self.closed_form == "always":
                expected = "'auto' or 'never' where the logits are not one linear layer on the mean of the layer's cells"
                bad_value("GradCAM", "closed_form", expected, f"'always' with layer {target.layer_name!r}")
        return super()._coarse(inputs, classes, sample_ids, target)

    def _closed(self, maps: Tensor, logits: Tensor, classes: Tensor) -> Tensor | None:
        """Weights (n, T, C) in closed form, or None where the logits do not fit."""
        head = gap_head(self.model, maps, logits)
        return None if head is None else head_gradients(head, classes.to(maps.device), maps.shape[2] * maps.shape[3])

    def _proving(self, inputs: Tensor, classes: Tensor, target: TargetLayer) -> Tensor:
        """Maps of a first batch: the gradient of the first target decides whether the closed form holds for this layer."""
        with self._forward(inputs, classes, target, gradients=True) as (capture, maps, logits):
            closed = self._closed(maps, logits.detach(), classes)
            gradients = self._gradients(capture, logits, classes, target)
            first = next(gradients)
            proven = closed is not None and _agree(first, closed[:, 0])
            self._proven[target.layer_name] = proven
            if closed is not None and proven:
                return weighted_sum(closed, maps)
            return torch.stack([self._weighted(maps, gradient) for gradient in chain([first], gradients)], 1)

    def _weighted(self, maps: Tensor, gradient: Tensor) -> Tensor:
        return weighted_sum(gradient.mean((2, 3)), maps)


def _agree(gradient: Tensor, weights: Tensor) -> bool:
    """Whether a gradient (n, C, h, w) has the value of the weights (n, C) in every cell, to rounding."""
    largest = weights.abs().amax(1)[:, None, None, None]
    tolerance = 100 * torch.finfo(gradient.dtype).eps * largest
    return bool(((gradient - weights[:, :, None, None]).abs() <= tolerance).all())
