"""Meaningful perturbation: the smallest smooth mask whose deletion destroys the score, or that preserves it."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from .. import rng_streams
from ..checks import bad_value, require_choice, require_integer, require_number
from ..infill.base import require_infill
from ..infill.blur import Blur
from ..models import evaluation_mode
from ..models.logits import model_logits
from ..models.score import SCORES, target_scores
from ..ops import MaskRule, Resizing, gaussian_blur, philox_normal
from ..protocols import Forward, Infill, MethodInfo
from ._mask_descent import Draws, descend
from .base import MethodOptions
from .mask_method import MaskMethod, Objective, OptimisedMasks, outcome

MODES = ("deletion", "preservation")
STARTS = ("ones", "disc")
_ENOUGH = 0.01  # share of the score that a starting disc may leave
_SIDE = 224.0  # the published radii and edges are for this side

PRESETS: dict[str, dict[str, Any]] = {
    "fong2017": {"area": 1e-4, "variation": 1e-2, "reduction": "sum", "jitter": 4, "start": "disc", "blur": 5.0},
    "jacobgil": {
        "steps": 500,
        "area": 0.01,
        "variation": 0.2,
        "kind": "anisotropic",
        "jitter": 0,
        "noise": 0.2,
        "start": "ones",
        "blur": 0.0,
    },
}


class MeaningfulPerturbation(MaskMethod):
    """Saliency as what a small smooth mask removes to destroy the score [Fong 2017, Eq. 3 and 4].

    With cells m in [0, 1], M = m upsampled and smoothed, and x, b the image and its infill, shifted by a random t:

        deletion       minimise  p(M x + (1 - M) b) + area * mean(1 - m) + variation * mean |grad m|^beta;   map 1 - M
        preservation   maximise  p(M x + (1 - M) b) - area * mean(m)     - variation * mean |grad m|^beta;   map M

    by Adam, m clamped to [0, 1] after each step.

    Args:
        model: callable (B, C, H, W) -> logits (B, K), differentiable.
        infill: what deleted pixels become; None: `Blur(10)`. Of a random infill, the first draw.
        mode: "deletion" or "preservation".
        steps, rate: of Adam.
        scale: pixels per cell; ceil(H / scale) cells, evenly spread where it does not divide the side.
        area, variation: weights, >= 0. reduction: "mean" over the cells (both terms), or "sum".
        kind, beta: of the variation, see `ops.total_variation`; beta 3 is published.
        blur: standard deviation in pixels of the smoothing after the upsampling.
        jitter: image and infill are shifted by up to so many pixels in all along each axis, drawn anew in each step, the mask is
            not; borders are mirrored. Below both sides of the image.
        noise: standard deviation of noise added to the masked inputs, drawn anew in each step.
        start: "ones" (m = 1), or "disc": the smallest centred disc whose deletion leaves 1 % of the score (deletion only).
        score: p, of the target: "probability" under softmax (published), "logit", "log_probability" or "sigmoid".
        seed: in [0, 2^63); a draw is keyed by (seed, sample id, step).
        max_batch: masked inputs per forward.

    Polarity: 1 = needed. Unit: share of the pixel, in [0, 1]. Cost: steps (F + B); "disc" some 25 F more. Memory: max_batch
    inputs with their graph and gradient, flat in steps. Deterministic as the model; neither batch mates nor order change a draw
    or a step. Statuses: see `masks`.

    Traps: sums and means make the weights incomparable; weights for one number of cells do not suit another. Defaults are for
    photographs of 224 pixels: for 32, use scale 4, blur 1 and jitter 1. Masks are soft, so an infill that must know what is
    removed gives what it gives where everything is.

    Example:
        >>> import torch
        >>> from saliency_ext.infill import Constant
        >>> left = lambda x: 8 * torch.stack([x[:, 0, 0, 0], 0.5 + 0 * x[:, 0, 0, 0]], 1)
        >>> options = {"scale": 1, "steps": 60, "variation": 0.0, "blur": 0.0, "jitter": 0}
        >>> MeaningfulPerturbation(left, Constant(0.0), **options)(torch.ones(1, 1, 1, 2), 0).round().abs()
        tensor([[[1., 0.]]])

    References:
        Fong, Vedaldi. Interpretable Explanations of Black Boxes by Meaningful Perturbation. ICCV 2017.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="meaningful_perturbation",
        family="perturbation",
        signed=False,
        cost="steps (F + B)",
        reference="Fong 2017",
        summary="what a small smooth mask blurs to destroy the score",
    )

    @classmethod
    def from_options(cls, model: Any, options: MethodOptions, **further: Any) -> Self:
        """With the options that concern it."""
        return cls(model, seed=options.seed, max_batch=options.max_batch, **further)

    def __init__(
        self,
        model: Forward,
        infill: Infill | None = None,
        *,
        mode: str = "deletion",
        steps: int = 300,
        rate: float = 0.1,
        scale: int = 8,
        area: float = 0.1,
        variation: float = 0.2,
        reduction: str = "mean",
        kind: str = "isotropic",
        beta: float = 3.0,
        blur: float = 5.0,
        jitter: int = 4,
        noise: float = 0.0,
        start: str = "ones",
        score: str = "probability",
        seed: int = 0,
        max_batch: int = 64,
    ) -> None:
        super().__init__(model, max_batch=max_batch)
        name = type(self).__name__
        require_choice(name, "score", score, SCORES)
        self.score = score
        self.infill = Blur(10.0) if infill is None else require_infill(name, infill)
        for argument, value, choices in (
            ("mode", mode, MODES),
            ("reduction", reduction, ("mean", "sum")),
            ("start", start, STARTS),
        ):
            require_choice(name, argument, value, choices)
        if start == "disc" and mode == "preservation":
            bad_value(name, "start", "'ones' with mode='preservation'", repr(start))
        self.mode, self.reduction, self.start = mode, reduction, start
        self.steps = require_integer(name, "steps", steps, 1, 2**26)
        self.scale = require_integer(name, "scale", scale, 1, 2**31 - 1)
        self.jitter = require_integer(name, "jitter", jitter, 0, 2**15)
        self.seed = require_integer(name, "seed", seed, 0, 2**63 - 1)
        self.area = require_number(name, "area", area)
        self.blur, self.noise = require_number(name, "blur", blur), require_number(name, "noise", noise)
        self.rule = MaskRule(False, "cells", 0.0, require_number(name, "variation", variation), kind, beta, rate=rate)

    @classmethod
    def preset(cls, name: str, model: Forward, infill: Infill | None = None, **changes: Any) -> "MeaningfulPerturbation":
        """The choices of a published code, by name; `changes` are arguments of `MeaningfulPerturbation` that differ from them.

        "fong2017": the authors': sums over 28 x 28 cells at 224 pixels, starting from a disc. "jacobgil": a widely used port:
        500 steps, means, anisotropic variation, noise instead of shifts; its infill is a median of 11 pixels, for which a
        Gaussian blur of 10 stands here unless one is given. Random numbers are ours.
        """
        require_choice("MeaningfulPerturbation.preset", "name", name, tuple(PRESETS))
        return cls(model, infill, **(PRESETS[name] | changes))

    @property
    def inputs_per_row(self) -> int:
        """Masked inputs of one mask in one step."""
        return 1

    def _optimise(self, problem: Objective) -> OptimisedMasks:
        images, ids, (height, width) = problem.images, problem.sample_ids, problem.images.shape[2:]
        name = type(self).__name__
        if self.jitter >= min(height, width):
            bad_value(name, "jitter", f"below the sides {height} and {width} of the image", self.jitter)
        infill = self.infill.fill(images, ids).expand_as(images).contiguous()
        device, dtype = images.device, images.dtype
        resizing = Resizing.bilinear((height, width), self.scale, sigma=self.blur, dtype=dtype, device=device)
        cells = (resizing.down.shape[0], resizing.across.shape[0])
        sign = -1.0 if self.mode == "deletion" else 1.0
        share = 1.0 if self.reduction == "sum" else 1.0 / (cells[0] * cells[1])
        rule = dataclasses.replace(self.rule, area=sign * self.area * share, variation=self.rule.variation * share)
        start = images.new_ones(len(images), 1, *cells)
        if self.start == "disc":
            start = self._disc(problem, infill, cells)
        before, after = self.jitter // 2, self.jitter - self.jitter // 2
        padded = (torch.nn.functional.pad(each, (before, after) * 2, mode="reflect") for each in (images, infill))
        image, other = (each.contiguous() for each in padded)

        def loss(logits: Tensor) -> Tensor:
            return -sign * target_scores(name, logits, problem.classes[:, None], self.score)[:, 0]

        def noise(step: int) -> Tensor:
            drawn = philox_normal(tuple(images.shape[1:]), ids, seed=self.seed, stream=rng_streams.MASK_NOISE + step)
            return drawn.to(images) * self.noise

        run = descend(
            name,
            self.model,
            image,
            other,
            problem.classes,
            start,
            (height, width),
            places=self._places(ids),
            loss=loss,
            resizing=resizing,
            rule=rule,
            steps=self.steps,
            noise=noise if self.noise > 0 else None,
        )
        mask = run.state.mask[:, 0].clamp(0, 1)  # the blur rounds
        saliency = 1 - mask if self.mode == "deletion" else mask
        constant = self.area * share * cells[0] * cells[1] if self.mode == "deletion" else 0.0
        first, last = run.first + constant, run.last + constant
        return outcome(saliency, run.state.active, run.reacted, first, last, saliency.mean((1, 2))[:, None])

    def _places(self, sample_ids: Tensor) -> Callable[[int], Tensor]:
        """Row r shows image r and its infill, both shifted."""
        rows = torch.arange(len(sample_ids), device=sample_ids.device)[:, None, None]

        def made(words: Tensor) -> Tensor:
            down, across = (words * (self.jitter + 1)).long().unbind(1)
            own = rows.expand_as(down)
            return torch.stack([own, own, down, across], -1)

        return Draws(sample_ids, 2, 1, self.seed, rng_streams.MASK_JITTER, made)

    def _disc(self, problem: Objective, infill: Tensor, cells: tuple[int, int]) -> Tensor:
        """Cells (R, 1, h, w) of the smallest disc whose deletion leaves 1 % of the score; the largest where none does."""
        images, (height, width) = problem.images, problem.images.shape[2:]
        side = min(height, width)
        y, x = (torch.arange(length, device=images.device) - (length - 1) / 2 for length in (height, width))
        apart = (y[:, None] ** 2 + x**2).sqrt()
        radii = torch.arange(0, side / 2 + 5 * side / _SIDE, max(5 * side / _SIDE, 1e-6))[1:].tolist()
        discs = torch.stack([(apart <= radius).to(images.dtype) for radius in radii])[:, None]
        masks = 1 - gaussian_blur(discs, 10 * side / _SIDE)
        with evaluation_mode(self.model):
            whole, none = (self._score(each, problem.classes) for each in (images, infill))
            chosen = torch.full_like(problem.classes, len(masks) - 1)
            for index in reversed(range(len(masks))):
                left = self._score(torch.lerp(infill, images, masks[index]), problem.classes)
                chosen = torch.where((left - none) / (whole - none) <= _ENOUGH, index, chosen)
        return torch.nn.functional.adaptive_avg_pool2d(masks, cells)[chosen].clamp(0, 1)

    def _score(self, images: Tensor, classes: Tensor) -> Tensor:
        logits = model_logits(self.model, images.clone())
        return target_scores(type(self).__name__, logits, classes[:, None], self.score)[:, 0]
