"""Gradient and input x gradient: the derivative of the score with respect to each input value."""

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from .._registry import Variant
from ..checks import require_choice
from ..models.gradients import input_gradients
from ..models.score import SCORES
from ..protocols import Forward, MethodInfo
from .base import CHANNELS, Method, reduce_channels


class GradientMethod(Method):
    """A method made of input gradients: which score is differentiated, and how channels are reduced.

    Args:
        model: callable (B, C, H, W) -> logits (B, K), differentiable.
        channels: "sum" (signed), "abs_sum", "max" or "max_abs"; None: as published, which is `published` of the class. With
            another one `info` says that it is a variant.
        score: "logit", "probability", "log_probability" or "sigmoid" of the target.
        max_batch: images per forward and backward.
    """

    published: ClassVar[str] = "sum"  # how the publication reduces channels

    def __init__(self, model: Forward, *, channels: str | None = None, score: str = "logit", max_batch: int = 64) -> None:
        super().__init__(model, max_batch=max_batch)
        self.channels = self.published if channels is None else channels
        require_choice(type(self).__name__, "channels", self.channels, CHANNELS)
        require_choice(type(self).__name__, "score", score, SCORES)
        self.score = score
        if self.channels != self.published:
            reference = f"variant of {self.info.reference}: channels {self.channels}, published {self.published}"
            signed = self.channels in ("sum", "max") and (self.info.signed or self.published not in ("sum", "max"))
            vars(self)["info"] = replace(self.info, signed=signed, reference=reference)

    def _gradients(self, inputs: Tensor, classes: Tensor) -> Tensor:
        """Gradients (N, T, C, H, W), in forwards of at most max_batch images."""
        name = type(self).__name__
        parts = zip(torch.split(inputs, self.max_batch), torch.split(classes, self.max_batch), strict=True)
        return torch.cat([input_gradients(name, self.model, images, requested, self.score)[1] for images, requested in parts])

    def _reduced(self, attribution: Tensor) -> Tensor:
        return reduce_channels(type(self).__name__, attribution, self.channels)


class Gradient(GradientMethod):
    """Saliency as the gradient of the target's score [Simonyan 2014, Sec. 3].

    attribution = d f_t / d inputs, reduced over channels: the largest absolute value, as published. channels="sum" is the signed
    sum, a variant whose maps can order pixels worse than chance.

    Args: as `GradientMethod`.

    Polarity: how much the score changes with the input, up or down; with channels="sum" or "max" positive where a larger input
    raises it. Unit: score per unit of input. Cost: one forward, and one backward per target. Memory: max_batch inputs with their
    graph, and T gradients of each. Deterministic up to the model.
    Traps: it says what an infinitely small change does, which in a saturated region is nothing, however much the pixel matters;
    where the softmax saturates, the gradient of a probability vanishes: the default differentiates the logit. Neighbouring
    pixels often have opposite signs, so averaging a signed map over regions cancels it.

    Example:
        >>> import torch
        >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)).eval()
        >>> saliency = Gradient(linear)(torch.zeros(1, 1, 2, 2), 1)
        >>> bool(torch.equal(saliency.flatten(), linear[1].weight[1].detach().abs()))
        True

    References:
        Simonyan, Vedaldi, Zisserman. Deep Inside Convolutional Networks. ICLR workshop 2014.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="gradient",
        family="gradient",
        signed=False,
        cost="1 F + T B",
        reference="Simonyan 2014",
        summary="how the score changes with each pixel",
        default=3,
    )
    variants: ClassVar[tuple[Variant, ...]] = (
        Variant("gradient_abs", "the size of the gradient: how much the score changes, up or down", {"channels": "abs_sum"}),
    )
    published: ClassVar[str] = "max_abs"

    def _explain(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        return self._reduced(self._gradients(inputs, classes))


class InputXGradient(GradientMethod):
    """Saliency as input times gradient: the terms of a linear model [Shrikumar 2016].

    attribution = inputs * d f_t / d inputs, multiplied before channels are reduced; for a model linear in its inputs, without
    bias, the sum over all pixels is the score.

    Args: as `GradientMethod`.

    Polarity: positive where the input, measured from 0, raises the score to first order. Unit: that of the score. Cost, memory
    and determinism: as `Gradient`. Trap: a pixel that is 0 in model input space (usually the dataset's mean colour) gets 0
    whatever its role.

    Example:
        >>> import torch
        >>> linear = lambda x: torch.stack([x.sum((1, 2, 3)), x.sum((1, 2, 3)) * 2], 1)
        >>> InputXGradient(linear)(torch.tensor([[[[1.0, 3.0]]]]), 1)
        tensor([[[2., 6.]]])

    References:
        Shrikumar, Greenside, Shcherbina, Kundaje. Not Just a Black Box. arXiv 1605.01713.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="input_x_gradient",
        family="gradient",
        signed=True,
        cost="1 F + T B",
        reference="Shrikumar 2016",
        summary="the gradient times the input: the terms of a linear model",
        default=4,
    )
    variants: ClassVar[tuple[Variant, ...]] = (
        Variant("input_x_gradient_abs", "the size of the gradient times the input", {"channels": "abs_sum"}),
    )

    def _explain(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        return self._reduced(inputs[:, None] * self._gradients(inputs, classes))
