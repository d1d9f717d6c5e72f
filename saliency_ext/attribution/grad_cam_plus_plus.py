"""Grad-CAM++: positive gradients weighted per cell, so that small objects count as much as large ones."""

from typing import ClassVar

import torch
from torch import Tensor

from ..models.layers import Layer
from ..models.tokens import Grid
from ..protocols import Forward, MethodInfo
from ._cam import GradientCam, weighted_sum


class GradCAMPlusPlus(GradientCam):
    """Saliency as a layer's channels, weighted by their positive gradients, cell by cell [Chattopadhay 2018].

    saliency = upsample(relu(sum_k w_k A_k)),  w_k = sum over cells of a_k(i, j) relu(g_k(i, j))
    a_k(i, j) = g^2 / (2 g^2 + g^3 sum over cells of A_k) = 1 / (2 + g_k(i, j) sum A_k),  g = d logit_t / d A_k(i, j)

    The source derives a_k for the score exp(logit) in a network that is piecewise linear, where second and third derivatives
    are powers of the first. Deviation: the factor exp(logit) of all w_k is left out; it only scales the map, and overflows.
    a_k is 0 where g <= 0, which changes no weight, and where its denominator is 0.

    Args:
        model, layer, relu, grid, max_batch: as `GradCAM`. The score is the logit.

    Polarity: positive where the activation is; with activations that are not negative the map is not, with or without relu.
    Unit: activation x gradient / activation, so a doubled layer with a halved head gives another map.
    Cost: one forward, and one backward per target. Memory and determinism: as `GradCAM`.
    Trap: choose a layer behind its rectifier. Where activations may be negative the denominator can come near 0, or be
    negative, and the weights mean nothing. On a pooled-linear head every positive weight v becomes v / (2 + v mean A_k): the
    map of a class whose weights are all negative is 0.

    Example:
        >>> import torch
        >>> pooled = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> image = torch.tensor([[[[1.0, 3.0]], [[5.0, 0.0]]]])
        >>> GradCAMPlusPlus(pooled.eval(), "0")(image, 0)  # g = 1/2, sum = 4, w = 2 (1 / 4) (1 / 2)
        tensor([[[0.2500, 0.7500]]])

    References:
        Chattopadhay, Sarkar, Howlader, Balasubramanian. Grad-CAM++. WACV 2018, arXiv 1710.11063.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="grad_cam_plus_plus",
        family="cam",
        signed=False,
        cost="1 F + T B",
        reference="Chattopadhay 2018",
        summary="as grad_cam, with weights that favour several objects",
    )

    def __init__(
        self, model: Forward, layer: Layer = None, *, relu: bool = True, grid: Grid | None = None, max_batch: int = 64
    ) -> None:
        super().__init__(model, layer, relu=relu, score="logit", grid=grid, max_batch=max_batch)

    def _weighted(self, maps: Tensor, gradient: Tensor) -> Tensor:
        denominator = 2 + gradient * maps.sum((2, 3), keepdim=True)
        counts = (gradient > 0) & (denominator != 0)
        return weighted_sum(torch.where(counts, gradient / denominator, 0).sum((2, 3)), maps)
