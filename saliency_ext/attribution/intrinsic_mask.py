"""Intrinsic mask: a small set of pixels that is sufficient for the class, whatever replaces the other pixels."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from .. import rng_streams
from ..checks import bad_value, require_choice, require_integer, require_number
from ..infill.other_image import OtherImage
from ..models import evaluation_mode
from ..models.logits import model_logits
from ..models.targets import check_classes
from ..ops import MaskRule, Resizing
from ..protocols import Forward, MethodInfo
from ._mask_descent import Draws, descend
from .base import MethodOptions
from .mask_method import MaskMethod, Objective, OptimisedMasks, outcome

LOSSES = ("prob_ce", "nll", "abs")
REDUCTIONS = ("mean", "sum")

PRESETS: dict[str, dict[str, Any]] = {
    "gupta2022": {"steps": 2000, "infills": 10, "area": 2e-5, "variation": 0.01, "reduction": "sum"},
    "gupta2022_unsmoothed": {"steps": 2000, "infills": 10, "area": 2e-5, "variation": 0.0, "reduction": "sum", "scale": 1},
}


class IntrinsicMask(MaskMethod):
    """Saliency as a smooth mask that keeps the class on random backgrounds [Gupta 2022, Sec. 5].

    With M the mask, u_1 .. u_U training images drawn anew in every step, and g = mean over u of
    softmax_A(f(M x + (1 - M) u)), minimised by Adam over the cells' logits w, M = upsampled sigmoid(w), start M = 1/2:

        loss(g) + area * mean(M) + variation * TV(M) / (H W),     TV = sum of squared differences of neighbours

        prob_ce   log sum_k exp(g_k) - g_target: the published loss, a softmax of values that are probabilities already. Its
                  span is 1, so its gradient is small for targets that are not in the image
        nll       -log g_target: keeps a large gradient for such targets too
        abs       |g_target - p_target|, p of the whole image: as much as the model believes, and no more

    TV and a coarse mask (`scale`) are what keeps the mask from drawing an adversarial pattern for a class that is not there.

    Args:
        model: callable (B, C, H, W) -> logits (B, K), differentiable.
        reference_images: (M, C, H, W) float32 or float64, M >= 1, finite: training images, in model input space. A copy is kept.
        steps: of Adam. infills: U, reference images in each step, with replacement. rate: learning rate.
        scale: pixels per cell along each axis; ceil(H / scale) cells, evenly spread where it does not divide the side.
        area, variation: weights, >= 0.
        reduction: "mean" (as above: a weight means the same at every resolution) or "sum" (area * sum(M) + variation * TV(M), the
            published form, whose weights go with the image's size).
        loss: "prob_ce", "nll" or "abs".
        labels: the set A, distinct classes; None: all. A softmax over few labels is another probability.
        planes: masks per image. Several: softmax over their logits and one more plane for the infill, losses summed; the map is
            the sum of the planes.
        seed: in [0, 2^63); a draw is keyed by (seed, sample id, step): the same for all targets of an image.
        max_batch: masked inputs per forward; a mask's infills are never split.

    Polarity: 1 = must be seen, 0 = need not. Unit: share of the pixel, in [0, 1]. Cost: steps * infills * planes (F + B).
    Memory: max_batch inputs with their graph and gradient, flat in steps. Deterministic as the model; neither batch mates nor
    order change a draw or a step. Statuses: see `masks`.

    Traps: a target the image does not hold gets a map too, of nearly 0 (collapsed) or of a pattern: see the Soundness metric.
    The result of a step is noisy. The reference images are checked by the infill that holds them: errors begin with OtherImage.

    Example:
        >>> import torch
        >>> left = lambda x: 8 * torch.stack([x[:, 0, 0, 0], -x[:, 0, 0, 0]], 1)
        >>> method = IntrinsicMask(left, torch.zeros(1, 1, 1, 2), steps=100, infills=1, scale=1, variation=0.0)
        >>> shown, hidden = method(torch.ones(1, 1, 1, 2), 0).flatten().tolist()
        >>> shown > 3 * hidden
        True

    References:
        Gupta, Saunshi, Yu, Lyu, Arora. New Definitions and Evaluations for Saliency Methods: Staying Intrinsic, Complete and
        Sound. NeurIPS 2022.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="intrinsic_mask",
        family="perturbation",
        signed=False,
        cost="steps infills (F + B)",
        reference="Gupta 2022",
        summary="few pixels that keep the class, whatever stands in the others' place",
        needs="reference_images",
    )

    @classmethod
    def from_options(cls, model: Any, options: MethodOptions, **further: Any) -> Self:
        """With the options that concern it."""
        return cls(model, options.images_for(cls.info.name), seed=options.seed, max_batch=options.max_batch, **further)

    def __init__(
        self,
        model: Forward,
        reference_images: Tensor,
        *,
        steps: int = 500,
        infills: int = 4,
        scale: int = 4,
        area: float = 1.0,
        variation: float = 100.0,
        reduction: str = "mean",
        loss: str = "prob_ce",
        labels: Sequence[int] | None = None,
        planes: int = 1,
        rate: float = 0.05,
        seed: int = 0,
        max_batch: int = 64,
    ) -> None:
        super().__init__(model, max_batch=max_batch)
        name = type(self).__name__
        self.references = OtherImage(reference_images, seed)
        self.steps = require_integer(name, "steps", steps, 1, 2**26)
        self.infills = require_integer(name, "infills", infills, 1, 2**16)
        self.scale = require_integer(name, "scale", scale, 1, 2**31 - 1)
        self.planes = require_integer(name, "planes", planes, 1, 2**10)
        self.area, self.variation = (
            require_number(name, key, value) for key, value in (("area", area), ("variation", variation))
        )
        self.rate = require_number(name, "rate", rate, above=0.0)
        require_choice(name, "reduction", reduction, REDUCTIONS)
        require_choice(name, "loss", loss, LOSSES)
        self.reduction, self.loss, self.seed = reduction, loss, seed
        self.labels = None if labels is None else tuple(require_integer(name, "labels", k, 0, 2**31 - 1) for k in labels)
        if self.labels is not None and (len(set(self.labels)) != len(self.labels) or not self.labels):
            bad_value(name, "labels", "to be distinct classes, at least one", self.labels)

    @classmethod
    def preset(cls, name: str, model: Forward, reference_images: Tensor, **changes: Any) -> "IntrinsicMask":
        """The choices of the published code, by name; `changes` are arguments of `IntrinsicMask` that differ from them.

        "gupta2022": its ImageNet script: 2000 steps, 10 infills, 4 pixels per cell, sums weighted 2e-5 (area) and 0.01
        (variation) for 224 x 224 pixels. "gupta2022_unsmoothed": the same without variation and with a cell per pixel, the
        comparison of its study. Random numbers are ours, not those of the code.
        """
        require_choice("IntrinsicMask.preset", "name", name, tuple(PRESETS))
        return cls(model, reference_images, **(PRESETS[name] | changes))

    @property
    def inputs_per_row(self) -> int:
        """Masked inputs of one mask in one step."""
        return self.infills * self.planes

    def _optimise(self, problem: Objective) -> OptimisedMasks:
        images, (height, width) = problem.images, problem.images.shape[2:]
        name, rows = type(self).__name__, len(problem.images)
        wanted = self._position(problem.classes)
        reference_images = self.references.reference_images.to(images)
        if reference_images.shape[1:] != images.shape[1:]:
            bad_value(
                name,
                "reference_images",
                f"of the inputs' shape (M, {', '.join(map(str, images.shape[1:]))})",
                tuple(reference_images.shape),
            )
        scale = 1.0 if self.reduction == "sum" else 1.0 / (height * width)
        rule = MaskRule(area=self.area * scale, variation=self.variation * scale, rate=self.rate)
        resizing = Resizing.bilinear((height, width), self.scale, dtype=images.dtype, device=images.device)
        run = descend(
            name,
            self.model,
            images,
            reference_images,
            problem.classes,
            images.new_zeros(rows, self.planes, resizing.down.shape[0], resizing.across.shape[0]),
            (height, width),
            places=self._places(problem.sample_ids, len(reference_images)),
            loss=self._loss(problem, wanted),
            resizing=resizing,
            rule=rule,
            steps=self.steps,
        )
        mask = run.state.mask
        return outcome(mask.sum(1), run.state.active, run.reacted, run.first, run.last, mask.mean((2, 3)))

    def _position(self, classes: Tensor) -> Tensor:
        """Of each class in the label set."""
        if self.labels is None:
            return classes
        same = classes[:, None] == torch.tensor(self.labels, device=classes.device)
        if not bool(same.any(1).all()):
            bad_value(type(self).__name__, "target", f"to be among the labels {self.labels}", classes[~same.any(1)].tolist())
        return same.int().argmax(1)

    def _places(self, sample_ids: Tensor, images: int) -> Callable[[int], Tensor]:
        """Row r shows image r, and U reference images."""
        rows = torch.arange(len(sample_ids), device=sample_ids.device)[:, None, None]

        def made(words: Tensor) -> Tensor:
            upper, lower = (words * 2**24).long().unbind(1)
            chosen = ((upper << 24) + lower) % images
            zero = torch.zeros_like(chosen)
            return torch.stack([rows.expand_as(chosen), chosen, zero, zero], -1)

        return Draws(sample_ids, 2, self.infills, self.seed, rng_streams.MASK_INFILL, made)

    def _probabilities(self, logits: Tensor) -> Tensor:
        chosen = logits if self.labels is None else logits[..., list(self.labels)]
        if chosen.shape[-1] == 1:
            expected = "at least two classes to compare: the softmax of one logit is 1 for every input"
            bad_value(type(self).__name__, "labels", expected, "one", "return two logits, (0, z), for a model with one output")
        return chosen.softmax(-1)

    def _loss(self, problem: Objective, wanted: Tensor) -> Callable[[Tensor], Tensor]:
        """Of the logits (R P U, K): per row, summed over its planes."""
        rows, name = len(wanted), type(self).__name__
        believed: Tensor | None = None
        if self.loss == "abs":
            with evaluation_mode(self.model):
                logits = torch.cat(
                    [model_logits(self.model, part.clone()) for part in torch.split(problem.images, self.max_batch)]
                )
            check_classes(name, problem.classes, logits.shape[1])
            believed = self._probabilities(logits).gather(1, wanted[:, None])

        def loss(logits: Tensor) -> Tensor:
            if self.labels is not None and max(self.labels) >= logits.shape[1]:
                bad_value(name, "labels", f"in [0, {logits.shape[1]})", max(self.labels))
            g = self._probabilities(logits.view(rows, self.planes, self.infills, -1)).mean(2)
            own = g.gather(2, wanted[:, None, None].expand(-1, self.planes, 1))[..., 0]
            if self.loss == "prob_ce":
                return (g.logsumexp(2) - own).sum(1)
            return (-own.log() if believed is None else (own - believed).abs()).sum(1)

        return loss
