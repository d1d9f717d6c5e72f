"""Expected gradients: integrated gradients averaged over baselines of the data."""

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from .. import rng_streams
from ..checks import require_integer
from ..infill.other_image import OtherImage
from ..ops import philox_uniform
from ..protocols import Forward, MethodInfo
from .base import MethodOptions
from .sampled_gradients import MOST_SAMPLES, SampledGradientMethod

_SAMPLES = 200  # by itself


class ExpectedGradients(SampledGradientMethod):
    """Saliency as integrated gradients in expectation over baselines drawn from images [Erion 2021, Eq. 3].

    attribution = 1/n sum over k of (x - x_k) * d f_t / d x at x_k + alpha_k (x - x_k), with x_k drawn uniformly from the
    reference images and alpha_k uniform in [0, 1): one pair per sample. Channels are reduced after the mean.

    Completeness in expectation: the sum over pixels and channels estimates f(x) - mean of f over the reference images, with an
    error that falls as 1 / sqrt(samples).

    Args:
        model: callable (B, C, H, W) -> logits (B, K), differentiable.
        reference_images: (M, C, H, W) float32 or float64, M >= 1, finite, in model input space; a copy is kept, on its device.
            Training images are usual. An image's own copy in it adds 0.
        samples: pairs per image, in [1, 2^22].
        seed: in [0, 2^63); a pair is keyed by (seed, sample id, k).
        channels: "sum" (signed, as published), "abs_sum", "max" or "max_abs"; None: "sum".
        score: "logit", "probability", "log_probability" or "sigmoid" of the target.
        max_batch: pairs per forward and backward.

    Polarity: positive = raises the score, compared with the reference images. Unit: that of the score, with channels="sum".

    Cost: samples (F + T B). Memory: the reference images, max_batch inputs with their graph, T gradients of each, one attribution
    of each target: flat in samples. Determinism: that of the model; neither batch, order nor device changes a draw.

    Traps: an estimate: two seeds differ, and the sum misses completeness by chance. With one reference image it is integrated
    gradients with random nodes. The reference images are checked by the infill that holds them: errors begin with OtherImage.

    Example:
        >>> import torch
        >>> linear = lambda x: (x * torch.tensor([1.0, -2.0])).sum((1, 2, 3))[:, None]
        >>> reference_images = torch.tensor([[[[0.0, 1.0]]]])
        >>> ExpectedGradients(linear, reference_images, samples=8)(torch.tensor([[[[3.0, 2.0]]]]), 0)
        tensor([[[ 3., -2.]]])

    References:
        Erion, Janizek, Sturmfels, Lundberg, Lee. Improving performance of deep learning models with axiomatic attribution priors
        and expected gradients. Nature Machine Intelligence 2021.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="expected_gradients",
        family="gradient",
        signed=True,
        cost="samples (F + T B)",
        reference="Erion 2021",
        summary="integrated gradients over many other images as starting points",
        needs="reference_images",
    )

    @classmethod
    def from_options(cls, model: Any, options: MethodOptions, **further: Any) -> Self:
        """With the options that concern it."""
        return cls(
            model,
            options.images_for(cls.info.name),
            seed=options.seed,
            max_batch=options.max_batch,
            **({"samples": options.limited(_SAMPLES)} | further),
        )

    def __init__(
        self,
        model: Forward,
        reference_images: Tensor,
        *,
        samples: int = _SAMPLES,
        seed: int = 0,
        channels: str | None = None,
        score: str = "logit",
        max_batch: int = 64,
    ) -> None:
        super().__init__(model, channels=channels, score=score, max_batch=max_batch)
        require_integer(type(self).__name__, "samples", samples, 1, MOST_SAMPLES)
        self.references = OtherImage(reference_images, seed)
        self.samples = samples

    def _attribution(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        mean = inputs.new_zeros(*classes.shape, *inputs.shape[1:])
        for difference, _, gradients in self._gradients_at(self._pairs(inputs, sample_ids), classes):
            mean.addcmul_(difference[:, None], gradients, value=1 / self.samples)
        return mean

    def _pairs(self, inputs: Tensor, sample_ids: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Per sample: x - x_k, and the point between them. Words 0 and 1 of a draw choose the image, word 2 is alpha."""
        for k in range(self.samples):
            stream = rng_streams.REFERENCE + k
            reference = self.references.fill(inputs, sample_ids, stream)
            words = philox_uniform((1, 1, 3), sample_ids, seed=self.references.seed, stream=stream)
            yield inputs - reference, torch.lerp(reference, inputs, words[..., 2:].to(inputs.dtype))
