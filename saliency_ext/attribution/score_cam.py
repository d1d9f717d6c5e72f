"""Score-CAM: channels weighted by the score of the input masked by them. No gradients."""

from collections.abc import Hashable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..checks import bad_type, require_choice, require_integer
from ..infill.base import require_infill
from ..models.layers import Layer, TargetLayer
from ..models.tokens import Grid
from ..perturbation import DenseMasks, Plan
from ..perturbation.outputs import SCORES
from ..protocols import Forward, Infill, MaskedInfill, MethodInfo
from ._cam import CamMethod, weighted_sum
from ._channel_masks import ChannelMasks
from .base import MethodOptions

WEIGHTS = ("softmax", "increase", "score")


class ScoreCAM(CamMethod):
    """Saliency as a layer's channels, each weighted by the score of the image masked with it [Wang 2020].

    saliency = upsample(relu(sum_k w_k A_k)),  w = softmax over k of the increase f_t(inputs through M_k) - f_t(infill)
    M_k = (u - min u) / (max u - min u), u = upsample(A_k);  inputs through M = M inputs + (1 - M) infill

    Channels that are constant over the image have no M_k; they are left out, of the softmax too. The source keeps the infill
    at 0 and states increase over a baseline image; here both are the infill.

    Args:
        model: a module; or a callable, with the layer given as a module that it runs.
        infill: what is seen where the mask is 0. `saliency_ext.infill.DatasetMean()` is published.
        layer, relu, grid, max_batch: as `GradCAM`; no gradient is needed.
        score: "logit", "probability", "log_probability", "sigmoid" or "accuracy" of the target.
        weights: "softmax"; "increase" the increase itself, which may be negative; "score" f_t(inputs through M_k). The
            published code has "score" with score="probability", and no softmax.
        top_channels: only the channels of an image that vary most over its cells (largest variance; of equals the first);
            None for all.

    Polarity: positive where the weighted channels are active; signed with relu=False. With weights="softmax" all weights are
    positive, so against the target nothing speaks. Unit: that of the activation ("softmax"), or times the score.
    Cost: one forward, and one per channel that varies (one more for the infill with "increase"), whatever the number of
    targets; times the draws of the infill. Memory: activations of max_batch images and a buffer of max_batch inputs and
    masks. Deterministic; draws of the infill are keyed by sample id.
    Trap: with weights="softmax" the size of the logits decides: where they differ by ten or more, one channel takes all.

    Example:
        >>> import torch
        >>> from saliency_ext.infill import DatasetMean
        >>> net = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> image = torch.tensor([[[[4.0, 0.0]], [[0.0, 2.0]]]])
        >>> ScoreCAM(net.eval(), DatasetMean(), "0", weights="increase")(image, 0)
        tensor([[[8., 0.]]])

    References:
        Wang, Wang, Du, Yang, Zhang, Ding, Mardziel, Hu. Score-CAM. CVPR workshops 2020, arXiv 1910.01279.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="score_cam",
        family="cam",
        signed=False,
        cost="1 + channels F",
        reference="Wang 2020",
        summary="activations weighted by the score of the image masked by them",
    )

    @classmethod
    def from_options(cls, model: Any, options: MethodOptions, **further: Any) -> Self:
        """With the options that concern it."""
        return cls(model, options.infill, max_batch=options.max_batch, **further)

    def __init__(
        self,
        model: Forward,
        infill: Infill,
        layer: Layer = None,
        *,
        relu: bool = True,
        score: str = "logit",
        weights: str = "softmax",
        top_channels: int | None = None,
        grid: Grid | None = None,
        max_batch: int = 64,
    ) -> None:
        super().__init__(model, layer, relu=relu, grid=grid, max_batch=max_batch)
        name = type(self).__name__
        require_infill(name, infill)
        if isinstance(infill, MaskedInfill):
            remedy = "its masks are not binary: an imputing infill cannot be mixed into"
            bad_type(name, "infill", "to be one that need not know the mask", type(infill).__name__, remedy)
        require_choice(name, "score", score, SCORES)
        require_choice(name, "weights", weights, WEIGHTS)
        if top_channels is not None:
            require_integer(name, "top_channels", top_channels, 1, 2**31 - 1)
        self.infill = infill
        self.score = score
        self.weights = weights
        self.top_channels = top_channels

    def _coarse(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor, target: TargetLayer) -> Tensor:
        with self._forward(inputs, classes, target) as (_, maps, _logits):
            chosen, masks = self._chosen(maps.to(inputs.dtype), (inputs.shape[2], inputs.shape[3]))
        weights = self._weights(masks, inputs, classes, sample_ids)
        return weighted_sum(weights.to(chosen), chosen)

    def _chosen(self, maps: Tensor, size: tuple[int, int]) -> tuple[Tensor, ChannelMasks]:
        """Channels (n, S, h, w) of each image that count, those that vary most first, and their masks."""
        varies = maps.amax((2, 3)) > maps.amin((2, 3))
        order = maps.var((2, 3), correction=0).masked_fill(~varies, -1).sort(dim=1, descending=True, stable=True).indices
        maximum = int(varies.sum(1).max())
        count = max(1, maximum if self.top_channels is None else min(maximum, self.top_channels))
        chosen = maps.gather(1, order[:, :count, None, None].expand(-1, -1, *maps.shape[2:]))
        return chosen, ChannelMasks(chosen, size)

    def _weights(self, masks: ChannelMasks, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        """(n, T, S) float64."""
        plan = Plan()
        seen = plan.request(masks, self.infill)
        nothing = (
            plan.request(DenseMasks(inputs.new_zeros(1, *inputs.shape[2:])), self.infill) if self.weights == "increase" else []
        )
        outputs = self._engine().run(plan, inputs, classes, sample_ids=sample_ids)

        def scores(draws: Sequence[Sequence[Hashable]]) -> Tensor:
            columns = [outputs.mean_score(draws, self.score, t) for t in range(classes.shape[1])]
            return torch.stack(columns, 1).to(inputs.device)

        weights = scores(seen)
        live = masks.live[:, None].expand_as(weights)
        if self.weights == "softmax":  # the score of the infill is the same for all channels, and cancels
            weights = weights.masked_fill(~live, -torch.inf).softmax(2)
        elif self.weights == "increase":
            weights = weights - scores(nothing)
        return torch.where(live, weights, 0)
