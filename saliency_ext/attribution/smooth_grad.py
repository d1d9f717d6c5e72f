"""SmoothGrad, SmoothGrad-Squared and VarGrad: mean, mean square and variance of gradients at noisy inputs."""

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from .. import rng_streams
from ..checks import require_integer, require_number
from ..ops import philox_normal
from ..protocols import Forward, MethodInfo
from .base import MethodOptions
from .sampled_gradients import MOST_SAMPLES, SampledGradientMethod

_SAMPLES = 50  # by itself


class NoisyGradientMethod(SampledGradientMethod):
    """A statistic of gradients at x + sigma z_k, z_k standard normal, sigma = spread (max x - min x) of each image.

    Args:
        model: callable (B, C, H, W) -> logits (B, K), differentiable.
        samples: noisy copies per image, in [1, 2^22].
        spread: noise as a share of the image's own range, over all channels; finite, >= 0.
        seed: in [0, 2^63); z_k is keyed by (seed, sample id, k, channel, pixel).
        channels: "sum" (signed), "abs_sum", "max" or "max_abs"; None: as published, which is `published` of the class.
        score: "logit", "probability", "log_probability" or "sigmoid" of the target.
        max_batch: noisy copies per forward and backward.
    """

    @classmethod
    def from_options(cls, model: Any, options: MethodOptions, **further: Any) -> Self:
        """With the options that concern it."""
        return cls(model, seed=options.seed, max_batch=options.max_batch, **({"samples": options.limited(_SAMPLES)} | further))

    def __init__(
        self,
        model: Forward,
        *,
        samples: int = _SAMPLES,
        spread: float = 0.15,
        seed: int = 0,
        channels: str | None = None,
        score: str = "logit",
        max_batch: int = 64,
    ) -> None:
        super().__init__(model, channels=channels, score=score, max_batch=max_batch)
        name = type(self).__name__
        require_integer(name, "samples", samples, 1, MOST_SAMPLES)
        require_integer(name, "seed", seed, 0, 2**63 - 1)
        self.samples = samples
        self.spread = require_number(name, "spread", spread)
        self.seed = seed

    def _noisy_gradients(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Iterator[tuple[int, Tensor]]:
        """For k = 1 .. samples: k and the gradients (n, T, C, H, W) at the k-th noisy copy."""
        low, high = torch.aminmax(inputs.flatten(1), dim=1)
        sigma = (self.spread * (high - low)).view(-1, 1, 1, 1)

        def copies() -> Iterator[tuple[int, Tensor]]:
            for k in range(self.samples):
                noise = philox_normal(inputs.shape[1:], sample_ids, seed=self.seed, stream=rng_streams.INPUT_NOISE + k)
                yield k + 1, torch.addcmul(inputs, sigma, noise.to(inputs.dtype))

        for k, _, gradients in self._gradients_at(copies(), classes):
            yield k, gradients


class SmoothGrad(NoisyGradientMethod):
    """Saliency as the mean of gradients around the image [Smilkov 2017, Sec. 3].

    attribution = 1/n sum over k of d f_t / d x at x + sigma z_k; channels are reduced after the mean, to the largest absolute
    value as in `Gradient`. Arguments: as `NoisyGradientMethod`.

    Polarity and unit: as `Gradient`. Signed with channels="sum" or "max" alone. Cost: samples (F + T B). Memory: max_batch inputs
    with their graph, T gradients of each, and one mean per target: flat in samples. Determinism: that of the model; the noise
    of an image does not depend on its batch, on order or device. Without spread it is `Gradient`.

    Traps: an estimate: two seeds differ, by the more the fewer samples. The noise follows the range of each image, so one
    extreme pixel raises it everywhere. Taking absolute values before or after the mean are two methods: here after.

    Example:
        >>> import torch
        >>> square = lambda x: x.square().sum((1, 2, 3))[:, None]
        >>> around = SmoothGrad(square, samples=200)(torch.tensor([[[[0.0, 1.0]]]]), 0)
        >>> bool(((around - torch.tensor([0.0, 2.0])).abs() < 0.1).all())
        True

    References:
        Smilkov, Thorat, Kim, Viegas, Wattenberg. SmoothGrad: removing noise by adding noise. arXiv 1706.03825.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="smooth_grad",
        family="gradient",
        signed=False,
        cost="samples (F + T B)",
        reference="Smilkov 2017",
        summary="gradients averaged over noisy copies of the image",
    )
    published: ClassVar[str] = "max_abs"

    def _attribution(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        mean = inputs.new_zeros(*classes.shape, *inputs.shape[1:])
        for k, gradients in self._noisy_gradients(inputs, classes, sample_ids):
            mean.lerp_(gradients, 1 / k)
        return mean


class SmoothGradSquared(NoisyGradientMethod):
    """Saliency as the mean of squared gradients around the image [Hooker 2019, Sec. 3].

    attribution = 1/n sum over k of (d f_t / d x at x + sigma z_k)^2 = SmoothGrad^2 + VarGrad, channel by channel; channels are
    reduced after the mean. Arguments: as `NoisyGradientMethod`.

    Polarity: >= 0, larger = the score reacts more, up or down. Unit: (score per unit of input)^2. Cost, memory, determinism and
    traps: as `SmoothGrad`. Without spread it is the square of the gradient.

    Example:
        >>> import torch
        >>> linear = lambda x: (x * torch.tensor([1.0, -3.0])).sum((1, 2, 3))[:, None]
        >>> SmoothGradSquared(linear, samples=4)(torch.tensor([[[[0.0, 1.0]]]]), 0)
        tensor([[[1., 9.]]])

    References:
        Hooker, Erhan, Kindermans, Kim. A Benchmark for Interpretability Methods in Deep Neural Networks. NeurIPS 2019.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="smooth_grad_squared",
        family="gradient",
        signed=False,
        cost="samples (F + T B)",
        reference="Hooker 2019",
        summary="mean of the squared gradients of noisy copies",
    )

    def _attribution(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        mean = inputs.new_zeros(*classes.shape, *inputs.shape[1:])
        for k, gradients in self._noisy_gradients(inputs, classes, sample_ids):
            mean.lerp_(gradients.square(), 1 / k)
        return mean


class VarGrad(NoisyGradientMethod):
    """Saliency as the variance of gradients around the image [Adebayo 2018, local explanations].

    attribution = 1/n sum over k of (g_k - mean g)^2, g_k = d f_t / d x at x + sigma z_k, divided by n, not n - 1; channels are
    reduced after it. Arguments: as `NoisyGradientMethod`.

    Polarity: >= 0, larger = the gradient changes more. Unit: (score per unit of input)^2. Cost, memory (two values per pixel and
    target instead of one) and determinism: as `SmoothGrad`. Without spread, and for a linear model, it is 0. The running update
    [Welford 1962] does not cancel where the mean is much larger than the deviations.

    Traps: as `SmoothGrad`; a pixel with a constant gradient gets 0.

    Example:
        >>> import torch
        >>> square = lambda x: (x * x * torch.tensor([1.0, 2.0])).sum((1, 2, 3))[:, None]
        >>> small, large = VarGrad(square, samples=400)(torch.tensor([[[[0.0, 1.0]]]]), 0).flatten()
        >>> bool(large > 3 * small)
        True

    References:
        Adebayo, Gilmer, Goodfellow, Kim. Local Explanation Methods for Deep Neural Networks Lack Sensitivity to Parameter
        Values. ICLR workshop 2018. Welford. Note on a Method for Calculating Corrected Sums of Squares. Technometrics 1962.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="var_grad",
        family="gradient",
        signed=False,
        cost="samples (F + T B)",
        reference="Adebayo 2018",
        summary="variance of the gradients of noisy copies",
    )

    def _attribution(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        mean = inputs.new_zeros(*classes.shape, *inputs.shape[1:])
        squares = torch.zeros_like(mean)
        for k, gradients in self._noisy_gradients(inputs, classes, sample_ids):
            deviation = gradients - mean
            mean.add_(deviation, alpha=1 / k)
            squares.addcmul_(deviation, gradients - mean)
        return squares.div_(self.samples)
