"""Integrated gradients: gradients averaged along the straight path from a baseline to the image."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy
import torch
from torch import Tensor

from ..checks import bad_type, bad_value, require_choice, require_integer, require_tensor
from ..infill.base import require_infill
from ..models.targets import Target
from ..ops._arguments import rendering
from ..protocols import Forward, Infill, MaskedInfill, MethodInfo
from .base import Explanation, MethodOptions
from .sampled_gradients import SampledGradientMethod

RULES = ("gauss_legendre", "trapezoid", "right_riemann", "midpoint")


class IntegratedGradients(SampledGradientMethod):
    """Saliency as each pixel's contribution along the straight path from a baseline to the image [Sundararajan 2017, Eq. 1].

    attribution = (x - b) * integral over alpha in [0, 1] of d f_t / d x at b + alpha (x - b), by a rule of nodes alpha_k and
    weights w_k: sum over k of w_k gradient(b + alpha_k (x - b)). With several baselines, and over the draws of a random one,
    attributions are averaged; then channels are reduced.

    Completeness: the sum over pixels and channels is f(x) - mean f(b), up to the error of the rule. `with_gap` returns that
    error.

    Args:
        model: callable (B, C, H, W) -> logits (B, K), differentiable.
        baselines: an infill of `saliency_ext.infill`, or several: a sequence. A number of draws above 1 is followed. Zero in
            model input space is DatasetMean(). There is no default, because the choice decides the map.
        steps: nodes of the rule, >= 1 ("trapezoid": >= 2).
        rule: "gauss_legendre": exact for gradients that are polynomials in alpha of degree 2 steps - 1. "midpoint": alpha_k =
            (k - 1/2) / steps. "trapezoid": both ends, alpha_k = (k - 1) / (steps - 1), half weight at the ends. "right_riemann":
            alpha_k = k / steps. Weights sum to 1 in all of them.
        channels: "sum" (signed, as published), "abs_sum", "max" or "max_abs"; None: "sum".
        score: "logit", "probability", "log_probability" or "sigmoid" of the target.
        max_batch: points per forward and backward.

    Polarity: positive = raises the score, compared with the baseline. Unit: that of the score, with channels="sum".

    Cost: steps x baseline draws (F + T B) per image. Memory: max_batch inputs with their graph, T gradients of each, and one
    attribution of each target for at most max_batch images: flat in steps and baselines.

    Determinism: that of the model; random baselines are keyed by (their seed, sample id, draw).

    Traps: a pixel equal to the baseline gets 0 whatever its role. Rules differ visibly at equal steps: state the rule. An
    average over nodes that include both ends without halving them is biased by O(1 / steps). ReLU models have kinks on the way:
    check the gap. A random baseline with the seed of a metric's infill has the very pixels of that infill.
    As a baseline, an infill that must know what is removed gives what it gives where everything is.

    Example:
        >>> import torch
        >>> from saliency_ext.infill import Constant
        >>> square = lambda x: torch.stack([x.sum((1, 2, 3)), x.square().sum((1, 2, 3))], 1)
        >>> method = IntegratedGradients(square, Constant(1.0), steps=2)
        >>> saliency, gap = method.with_gap(torch.tensor([[[[1.0, 3.0]]]]), 1)
        >>> saliency.round(decimals=4), bool(gap.abs() < 1e-4)
        (tensor([[[0., 8.]]]), True)

    References:
        Sundararajan, Taly, Yan. Axiomatic Attribution for Deep Networks. ICML 2017.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="integrated_gradients",
        family="gradient",
        signed=True,
        cost="steps x baselines (F + T B)",
        reference="Sundararajan 2017",
        summary="gradients averaged along the straight path from the infill to the image",
        default=5,
    )

    @classmethod
    def from_options(cls, model: Any, options: MethodOptions, **further: Any) -> Self:
        """With the options that concern it."""
        return cls(model, options.infill, max_batch=options.max_batch, **further)

    def __init__(
        self,
        model: Forward,
        baselines: Infill | Sequence[Infill],
        *,
        steps: int = 50,
        rule: str = "gauss_legendre",
        channels: str | None = None,
        score: str = "logit",
        max_batch: int = 64,
    ) -> None:
        super().__init__(model, channels=channels, score=score, max_batch=max_batch)
        self.baselines = _checked_baselines(baselines)
        self.nodes = path_nodes(rule, steps)

    def with_gap(self, inputs: Tensor, target: Target, *, sample_ids: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The saliency, and the completeness gap.

        Args:
            inputs, target, sample_ids: as in a call.

        Returns:
            Saliency (N, H, W), or (N, T, H, W) for several targets; and gap (N,), or (N, T): sum of the attribution over pixels
            and channels, before channels are reduced, minus (f(x) - mean f(b)), in the unit of the score.

        Note:
            Costs one point more per baseline draw, and one for the image.
        """

        def explain(images: Tensor, classes: Tensor, ids: Tensor) -> Explanation:
            maps, gaps = [], []
            for part in self._slices(images, classes, ids):
                total, difference = self._integrated(*part, ends=True)
                gaps.append(total.sum((2, 3, 4), dtype=torch.float64) - difference)
                maps.append(self._reduced(total))
            return Explanation(torch.cat(maps), {"gap": torch.cat(gaps)})

        explanation = self._explained(inputs, target, sample_ids, explain)
        saliency = explanation.saliency
        gap = explanation.diagnostics.get("gap", saliency.new_zeros(saliency.shape[:-2]))
        return saliency, gap.to(saliency.dtype)

    def _attribution(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        return self._integrated(inputs, classes, sample_ids, ends=False)[0]

    def _integrated(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor, *, ends: bool) -> tuple[Tensor, Tensor]:
        """Attribution (n, T, C, H, W); and f(x) - mean f(b) (n, T) float64 if the `ends` of the path are evaluated, else 0."""
        total = inputs.new_zeros(*classes.shape, *inputs.shape[1:])
        rise = torch.zeros(classes.shape, dtype=torch.float64, device=inputs.device)
        for term, scores, gradients in self._gradients_at(self._path(inputs, sample_ids, ends), classes):
            if term.difference is not None:
                total.addcmul_(term.difference[:, None], gradients, value=term.weight)
            else:
                rise.add_(scores, alpha=term.weight)
        return total, rise

    def _path(self, inputs: Tensor, sample_ids: Tensor, ends: bool) -> Iterator[tuple["_Term", Tensor]]:
        """All nodes of all baselines; with `ends` also the baselines and the image."""
        for baseline in self.baselines:
            share = 1.0 / (len(self.baselines) * baseline.draws)
            for draw in range(baseline.draws):
                start = self._start(baseline, inputs, sample_ids, draw)
                difference = inputs - start
                for alpha, weight in self.nodes:
                    yield _Term(share * weight, difference), torch.lerp(start, inputs, alpha)
                if ends:
                    yield _Term(-share, None), start
        if ends:
            yield _Term(1.0, None), inputs

    def _start(self, baseline: Infill, inputs: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        """The baseline's pixels, expanded to the inputs."""
        name = type(self).__name__
        with torch.no_grad():
            pixels = require_tensor(name, "the infill of its baseline", baseline.fill(inputs, sample_ids, draw)).detach()
        packed = torch.contiguous_format
        return rendering(name, inputs, pixels, mean=None, std=None, dtype=None, memory_format=packed).infill


class _Term(NamedTuple):
    """What a point of the path adds: weight x difference x gradient to the attribution, or weight x score to the rise."""

    weight: float
    difference: Tensor | None


def path_nodes(rule: str, steps: int) -> tuple[tuple[float, float], ...]:
    """Nodes in [0, 1] and weights of sum 1: pairs (alpha, weight), alpha growing."""
    function = "IntegratedGradients"
    require_choice(function, "rule", rule, RULES)
    require_integer(function, "steps", steps, 2 if rule == "trapezoid" else 1, 2**31 - 1)
    if rule == "gauss_legendre":
        places, weights = numpy.polynomial.legendre.leggauss(steps)  # on [-1, 1]
        return tuple(zip(((1 + places) / 2).tolist(), (weights / 2).tolist(), strict=True))
    if rule == "trapezoid":
        inner = 1 / (steps - 1)
        return tuple((k * inner, inner / 2 if k in (0, steps - 1) else inner) for k in range(steps))
    shift = 1.0 if rule == "right_riemann" else 0.5
    return tuple(((k + shift) / steps, 1 / steps) for k in range(steps))


def _checked_baselines(baselines: Infill | Sequence[Infill]) -> tuple[Infill, ...]:
    function = "IntegratedGradients"
    sequence = tuple(baselines) if isinstance(baselines, Sequence) and not isinstance(baselines, str) else (baselines,)
    if not sequence:
        bad_value(function, "baselines", "to hold at least one infill", "none")
    for baseline in sequence:
        require_infill(function, baseline, "baselines")
        if isinstance(baseline, MaskedInfill):
            bad_type(
                function, "baselines", "to need no mask", type(baseline).__name__, "nothing of the image is left to fill from"
            )
    return sequence
