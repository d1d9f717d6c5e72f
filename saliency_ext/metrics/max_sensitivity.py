"""Max-sensitivity: the largest relative change of the map under small noise on the image."""

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from .. import rng_streams
from ..checks import bad_type, bad_value, require_integer
from ..ops import philox_uniform
from ..protocols import MetricInfo
from ._explainer_metric import ExplainerMetric
from .base import MetricOptions
from .context import MetricContext
from .result import OK, UNDEFINED, MetricResult


@dataclass(frozen=True)
class MaxSensitivity(ExplainerMetric):
    """Largest relative change of the map under small noise on the image [Yeh 2019].

    value = max over draws of ||E(inputs + noise) - E(inputs)|| / ||E(inputs)||,  Euclidean norms over the pixels of the map,
    noise uniform in [-r, r) per value, r = radius * (max - min of the image), keyed by (seed, sample id, draw). The target stays.

    Direction: lower is better. Unit: relative change. Range: >= 0; 2 is the negated map. A factor on the map changes nothing,
    an added constant does. It needs the method, not only its maps: `evaluate` refuses tensors. Deviations: the source divides
    by no norm and bounds the noise by a radius in model input space; here it is relative to the range of each image, so that
    normalisation does not matter. Noisy inputs are not clamped to the range of images.

    Args:
        radius: bound of the noise as a share of the image's range, > 0.
        draws: noisy images per image.
        seed: of the noise.

    extras: mean_change (mean over the draws), norm (of the clean map).

    Note:
        Cost: `draws` maps per image. Memory: two more maps and one noisy copy of a chunk of images. The maximum grows with the
        draws: compare equal numbers of them; an optimised perturbation would be worse. Deterministic if the method is;
        methods of this library draw the same numbers for an image and its noisy copy. For a method with unseeded draws the value
        includes their noise. An image of one colour has no range and no noise: 0.
        A zero map has no relative change: 0 if it stays zero, else NaN, status undefined.
        Traps: low is not good by itself: a map that ignores the image has 0. If the model's output changes under the noise, so
        should the map.

    Example:
        >>> import torch
        >>> from saliency_ext.attribution import Gradient, InputXGradient
        >>> from saliency_ext.evaluation import evaluate
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)).eval()
        >>> image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        >>> methods = {"gradient": Gradient(model), "input_x_gradient": InputXGradient(model)}
        >>> results = evaluate(model, image, 0, methods, [MaxSensitivity(radius=0.1)])
        >>> results["gradient", "max_sensitivity"].values.item()  # of a linear model it is constant
        0.0
        >>> 0 < results["input_x_gradient", "max_sensitivity"].values.item() < 0.3
        True

    References:
        Yeh, Hsieh, Suggala, Inouye, Ravikumar. On the (In)fidelity and Sensitivity of Explanations. NeurIPS 2019.
    """

    radius: float = 0.02
    draws: int = 10
    seed: int = 0

    info: ClassVar[MetricInfo] = MetricInfo(
        name="max_sensitivity",
        direction="lower",
        unit="relative change of the map",
        measures="stability of the map under small noise",
        reference="Yeh 2019",
        role="sanity",
        needs="method",
        meaning="How much the map changes under a little noise. Low is not good by itself: a map that ignores the image has 0.",
    )

    @classmethod
    def from_options(cls, options: MetricOptions) -> Self:
        """The metric with those of the shared options that apply to it."""
        return cls(seed=options.seed)

    def __post_init__(self) -> None:
        name = "MaxSensitivity"
        if isinstance(self.radius, bool) or not isinstance(self.radius, int | float):
            bad_type(name, "radius", "to be a number", type(self.radius).__name__)
        if not 0 < self.radius < float("inf"):
            bad_value(name, "radius", "> 0", self.radius, "it is a share of the image's range")
        require_integer(name, "draws", self.draws, 1, 2**16)
        require_integer(name, "seed", self.seed, 0, 2**63 - 1)

    def request(self, context: MetricContext) -> MetricResult:
        """Explains noisy images, one draw at a time."""
        explain, clean = self.explainer(context), context.saliency.double()
        norm = _norm(clean)
        largest, total = torch.zeros_like(norm), torch.zeros_like(norm)
        for draw in range(self.draws):
            change = _norm(explain(self.noisy(context, draw), context.target).double() - clean)
            relative = torch.where(change == 0, 0.0, change / norm)  # a zero map that stays zero
            largest, total = torch.maximum(largest, relative), total + relative
        values = largest.cpu()
        status = [UNDEFINED if value == float("inf") else OK for value in values.tolist()]
        extras = {"mean_change": (total / self.draws).cpu(), "norm": norm.cpu()}
        return MetricResult(self.info, values, self.parameters, status, extras=extras)

    def noisy(self, context: MetricContext, draw: int) -> Tensor:
        """inputs + noise (N, C, H, W) of one draw."""
        inputs = context.inputs
        if inputs.numel() == 0:
            return inputs
        bound = self.radius * (inputs.amax((1, 2, 3), keepdim=True) - inputs.amin((1, 2, 3), keepdim=True))
        u = philox_uniform(inputs.shape[1:], context.sample_ids, seed=self.seed, stream=rng_streams.PERTURBATION + draw)
        return inputs + (2 * u - 1).to(inputs.dtype) * bound


def _norm(values: Tensor) -> Tensor:
    """(N,) Euclidean norms of maps (N, H, W)."""
    if values.numel() == 0:
        return values.new_zeros(len(values))
    # Shares of the peak: squares stay in range. Rows first: torch may split a single long sum between threads.
    peak = values.abs().amax((1, 2))
    shares = values.contiguous() / peak.clamp(min=torch.finfo(torch.float64).tiny)[:, None, None]
    return peak * shares.square().sum(2).sum(1).sqrt()
