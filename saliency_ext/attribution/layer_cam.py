"""LayerCAM: each cell of each channel weighted by its own positive gradient."""

from typing import ClassVar

from torch import Tensor

from ..protocols import MethodInfo
from ._cam import GradientCam


class LayerCAM(GradientCam):
    """Saliency as activation times positive gradient, cell by cell [Jiang 2021].

    saliency = upsample(relu(sum_k relu(d f_t / d A_k(i, j)) A_k(i, j)))

    Without averaging the gradient over cells, so early layers with fine grids give usable maps as well.

    Args:
        model, layer, relu, grid, max_batch: as `GradCAM`.
        score: "logit" (as published), "probability", "log_probability" or "sigmoid" of the target.

    Polarity: positive where present features raise the score. With activations that are not negative the map is not, with or
    without relu. Unit: that of the score. Deviation: the source rescales early layers with tanh before it fuses layers; here
    one layer is shown, as it is. Cost: one forward, and one backward per target. Memory and determinism: as `GradCAM`.
    Trap: features that lower the score are left out, not subtracted, so classes that share features share much of their map.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
        >>> _ = net[2].weight.data.copy_(torch.tensor([[2.0, -1.0]]))
        >>> LayerCAM(net.eval())(torch.tensor([[[[1.0, 3.0]]]]), 0)
        tensor([[[2., 0.]]])

    References:
        Jiang, Zhang, Hou, Cheng, Wei. LayerCAM: Exploring Hierarchical Class Activation Maps. IEEE TIP 2021.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="layer_cam",
        family="cam",
        signed=False,
        cost="1 F + T B",
        reference="Jiang 2021",
        summary="as grad_cam, but each place of the layer has its own weight",
        default=2,
    )

    def _weighted(self, maps: Tensor, gradient: Tensor) -> Tensor:
        return (gradient.relu() * maps).sum(1)
