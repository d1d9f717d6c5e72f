"""EigenCAM: the first principal component of a layer's activation. It is not class-specific."""

from typing import ClassVar

import torch
from torch import Tensor

from ..checks import bad_type
from ..models.layers import Layer, TargetLayer
from ..models.tokens import Grid
from ..nonfinite import finite_rows, with_zeros
from ..protocols import Forward, MethodInfo
from ._cam import CamMethod

_EVEN = 1e-6  # below this share of its possible value, a sum over channels decides no sign


class EigenCAM(CamMethod):
    """Saliency as the first principal component of a layer's activation: class-blind [Muhammad 2020].

    saliency = upsample(X v),  X (cells, C) the activation of one image, v its first right singular vector

    The map of an image is the same for every target: it shows what the layer responds to, not why a class is predicted.

    A singular vector has no sign of its own. Here v is turned so that the sum of its C entries is positive: the map then
    correlates positively with the sum of the activation over channels. Where that sum is 0 (to 1e-6 of the largest it could
    be), the cell of largest magnitude, the first of equals, is made positive.

    Args:
        model, layer, grid, max_batch: as `GradCAM`; no gradient is needed.
        relu: negative values become 0. The source has no rectifier; with center=False and activations that are not negative
            the map is not negative anyway.
        center: subtract each channel's mean over the cells first, which makes it the principal component of statistics. The
            source does not.

    Polarity: positive where the layer's dominant pattern is present; with center=True negative where there is less of it than
    on average. Unit: that of the activation. Cost: one forward, and one eigendecomposition per image of a matrix of
    min(cells, C) squared, in float64. Memory: the activation twice in float64. Deterministic.
    Trap: the dominant pattern may be the background. Where the first two singular values are equal, any mixture of their
    vectors is as good.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> EigenCAM(net.eval(), "0")(torch.tensor([[[[3.0, 0.0]], [[4.0, 0.0]]]]), 0)
        tensor([[[5., 0.]]])

    References:
        Muhammad, Yeasin. Eigen-CAM: Class Activation Map using Principal Components. IJCNN 2020, arXiv 2008.00299.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="eigen_cam",
        family="cam",
        signed=False,
        cost="1 F",
        reference="Muhammad 2020",
        summary="the main direction of the activations; the same for all classes",
    )
    evidence: ClassVar[bool] = False  # negative values speak against no class

    def __init__(
        self,
        model: Forward,
        layer: Layer = None,
        *,
        relu: bool = False,
        center: bool = False,
        grid: Grid | None = None,
        max_batch: int = 64,
    ) -> None:
        super().__init__(model, layer, relu=relu, grid=grid, max_batch=max_batch)
        if not isinstance(center, bool):
            bad_type("EigenCAM", "center", "to be a bool", type(center).__name__)
        self.center = center

    def _coarse(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor, target: TargetLayer) -> Tensor:
        with self._forward(inputs, classes, target) as (_, maps, _logits):
            good = finite_rows(maps)  # a decomposition fails for the whole batch if one matrix is not finite
            cells = with_zeros(maps, good).double().flatten(2).transpose(1, 2)
            if self.center:
                cells = cells - cells.mean(1, keepdim=True)
            component = first_component(cells).view(len(maps), 1, *maps.shape[2:])
            component = torch.where(good.view(-1, 1, 1, 1), component, torch.nan)
            return component.expand(-1, classes.shape[1], -1, -1)


def first_component(values: Tensor) -> Tensor:
    """X v for the first right singular vector v of each X (n, L, C) float64, as (n, L), with the sign `EigenCAM` states."""
    rows, columns = values.shape[1:]
    if rows <= columns:  # the smaller of the two Gram matrices has the same first eigenvalue
        power, vectors = torch.linalg.eigh(values @ values.transpose(1, 2))
        component = vectors[..., -1] * power[:, -1:].clamp(min=0).sqrt()
    else:
        vectors = torch.linalg.eigh(values.transpose(1, 2) @ values)[1]
        component = (values @ vectors[..., -1:])[..., 0]
    # sum(v) = (X v)' X 1 / |X v|^2; its largest possible value is sqrt(C).
    agreement = (component * values.sum(2)).sum(1)
    even = agreement.abs() <= _EVEN * columns**0.5 * component.square().sum(1)
    largest = component.gather(1, component.abs().argmax(1, keepdim=True))[:, 0]
    negative = torch.where(even, largest, agreement) < 0
    return torch.where(negative[:, None], -component, component)
