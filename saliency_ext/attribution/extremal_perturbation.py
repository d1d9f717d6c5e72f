"""Extremal perturbation: the mask of a given area that maximises the score."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..checks import bad_type, bad_value, require_choice, require_integer, require_number
from ..models.gradients import differentiable, leaf
from ..models.logits import model_logits
from ..ops import gaussian_blur, smooth_maximum, topk_mask
from ..protocols import Forward, MethodInfo
from ._blur_pyramid import BlurPyramid, Fade
from ._mask_descent import model_gradient
from .mask_method import MaskMethod, Objective, OptimisedMasks, outcome

MODES = ("preserve", "delete", "dual")
OPERATORS = ("blur", "fade")
REWARDS = ("logit", "contrastive")

PRESETS: dict[str, dict[str, Any]] = {
    "torchray": {},
    "small": {"grid": 2, "sigma": 5.0, "largest_blur": 4.0, "steps": 300},
}


class ExtremalPerturbation(MaskMethod):
    """Saliency as the smooth mask of a given area that scores highest [Fong 2019].

    With cells p in [0, 1], M = smooth_maximum(p) (see `ops.smooth_maximum`) with a margin around the image, and the image blurred
    by M (see `BlurPyramid`):

        maximise  reward(blurred by M) - weight_t * mean over pixels of (sorted M - r_a)^2,   r_a = zeros, then a share a of ones

    by gradient ascent with momentum, cells starting at 1 and clamped to [0, 1]; weight_t = weight * growth^t. The area term needs
    no sort: each pixel is held against 1 or 0 by its rank, of which only "among the first" matters.

        preserve   reward f(M)           the score is to stay
        delete     reward -f(1 - M)      the score is to go
        dual       reward f(M) - f(1 - M)

    with f the logit of the target, or ("contrastive") that minus the best other logit.

    Args:
        model: callable (B, C, H, W) -> logits (B, K), differentiable.
        areas: shares a in (0, 1), optimised together; the map is the mean of their masks.
        mode, reward: see above. steps, rate, momentum: of the ascent; momentum is also the damping, but for the first step.
        grid: pixels from cell to cell. sigma: width of the smooth maximum in pixels, and of the margin.
        operator: "blur" or "fade" (times M). largest_blur: pixels, at M = 0. levels: of the pyramid.
        weight, growth: of the area term.
        mirror: show the perturbed input mirrored in every second step.
        smooth: blur of the map as a share of the shorter side; 0.09 is usual for several areas.
        max_batch: perturbed inputs per forward.

    Polarity: 1 = belongs to the part. Unit: share of the pixel, in [0, 1]. Cost: steps (F + B) per area, twice for "dual". The
    mask is the one before the last step. Memory: max_batch inputs with their graph and gradient, levels copies of the images;
    flat in steps. Deterministic as the model: nothing is drawn; a row does not depend on its batch mates. Statuses: see `masks`.

    Traps: the margin counts as area, so the share of the image itself may be larger. Small areas saturate: most pixels are
    nearly 0 or 1, and their order says little. Defaults are for photographs of 224 pixels: for 32, the preset "small".
    Trajectories are chaotic: rounding decides about details of the end.

    Example:
        >>> import torch
        >>> left = lambda x: 9 * x[..., :8].mean((2, 3))
        >>> method = ExtremalPerturbation.preset("small", left, areas=(0.2,), operator="fade", mirror=False, steps=60)
        >>> saliency = method(torch.ones(1, 1, 24, 24), 0)[0]
        >>> bool(saliency[:, :8].mean() > 4 * saliency[:, 16:].mean())
        True

    References:
        Fong, Patrick, Vedaldi. Understanding Deep Networks via Extremal Perturbations and Smooth Masks. ICCV 2019.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="extremal_perturbation",
        family="perturbation",
        signed=False,
        cost="areas steps (F + B)",
        reference="Fong 2019",
        summary="the smooth part of a given area that keeps the score highest",
    )

    def __init__(
        self,
        model: Forward,
        *,
        areas: Sequence[float] = (0.1,),
        mode: str = "preserve",
        reward: str = "logit",
        steps: int = 800,
        rate: float = 0.01,
        momentum: float = 0.9,
        grid: int = 7,
        sigma: float = 21.0,
        operator: str = "blur",
        largest_blur: float = 20.0,
        levels: int = 8,
        weight: float = 300.0,
        growth: float = 1.0035,
        mirror: bool = True,
        smooth: float = 0.0,
        max_batch: int = 64,
    ) -> None:
        super().__init__(model, max_batch=max_batch)
        name = type(self).__name__
        if not isinstance(areas, list | tuple) or any(isinstance(a, bool) or not isinstance(a, int | float) for a in areas):
            bad_type(name, "areas", "to be a sequence of numbers", repr(areas))
        if not areas or not all(0 < area < 1 for area in areas):
            bad_value(name, "areas", "to be shares in (0, 1), at least one", areas)
        for argument, value, choices in (("mode", mode, MODES), ("reward", reward, REWARDS), ("operator", operator, OPERATORS)):
            require_choice(name, argument, value, choices)
        self.areas, self.mode, self.reward, self.operator, self.mirror = tuple(areas), mode, reward, operator, bool(mirror)
        self.steps = require_integer(name, "steps", steps, 1, 2**26)
        self.grid = require_integer(name, "grid", grid, 1, 2**15)
        self.levels = require_integer(name, "levels", levels, 2, 2**10)
        self.sigma, self.rate, self.growth = (
            require_number(name, key, value, above=0.0) for key, value in (("sigma", sigma), ("rate", rate), ("growth", growth))
        )
        self.largest_blur, self.weight, self.smooth, self.momentum = (
            require_number(name, key, value)
            for key, value in (("largest_blur", largest_blur), ("weight", weight), ("smooth", smooth), ("momentum", momentum))
        )
        if self.momentum >= 1:
            bad_value(name, "momentum", "in [0, 1)", momentum)

    @classmethod
    def preset(cls, name: str, model: Forward, **changes: Any) -> "ExtremalPerturbation":
        """Choices by name; `changes` are arguments of `ExtremalPerturbation` that differ from them.

        "torchray": the constants of the authors' code, which are the defaults. "small": ours, for images of about 32 pixels.
        """
        require_choice("ExtremalPerturbation.preset", "name", name, tuple(PRESETS))
        return cls(model, **(PRESETS[name] | changes))

    @property
    def inputs_per_row(self) -> int:
        """Perturbed inputs of one map in one forward; "dual" takes two forwards a step."""
        return len(self.areas)

    def _optimise(self, problem: Objective) -> OptimisedMasks:
        images, (height, width), count = problem.images, problem.images.shape[2:], len(self.areas)
        rows, margin = len(images), round(self.sigma)
        perturb = Fade(images) if self.operator == "fade" else BlurPyramid(images, self.largest_blur, self.levels)
        inner = (..., slice(margin, margin + height), slice(margin, margin + width))
        pixels = (height + 2 * margin) * (width + 2 * margin)
        ones = torch.tensor([pixels - int(pixels * (1 - area)) for area in self.areas], device=images.device)
        cells = images.new_ones(rows, count, -(-height // self.grid), -(-width // self.grid))
        velocity = torch.zeros_like(cells)
        active = torch.ones(rows, dtype=torch.bool, device=images.device)
        reacted, masks, first, last = torch.zeros_like(active), cells, problem.classes, problem.classes
        reached = images.new_zeros(rows, count)
        with differentiable(self.model):
            for step in range(self.steps):
                values = leaf(cells)
                made = smooth_maximum(values, (height, width), step=self.grid, sigma=self.sigma)
                whole = made.detach()
                masks, reached = whole[inner], whole.mean((2, 3))
                losses, slopes = self._model_part(problem, perturb, masks, self.mirror and step % 2 == 1, step == 0)
                reacted |= (slopes != 0).flatten(1).any(1)
                wanted = [topk_mask(whole[:, a], ones[a : a + 1], ties="index")[0] for a in range(count)]
                away = whole - torch.stack(wanted, 1).to(whole.dtype)
                weight = self.weight * self.growth**step
                upstream = away * (2 * weight / pixels)
                upstream[inner] += slopes
                (gradient,) = torch.autograd.grad(made, values, upstream)
                last = losses + weight * away.double().square().mean((2, 3)).sum(1)
                first = last if step == 0 else first
                active &= last.isfinite() & gradient.flatten(1).sum(1).isfinite()
                damped = gradient if step == 0 else self.momentum * velocity + (1 - self.momentum) * gradient
                velocity = torch.where(active.view(-1, 1, 1, 1), damped, 0)
                cells = (cells - self.rate * velocity).clamp(0, 1)
        saliency = masks.mean(1)
        if self.smooth > 0:
            sigma = self.smooth * min(height, width)
            saliency = torch.cat([gaussian_blur(each[None, None], sigma)[0] for each in saliency])
        return outcome(saliency, active, reacted, first, last, reached)

    def _model_part(
        self, problem: Objective, perturb: Callable[[Tensor], tuple[Tensor, Tensor]], masks: Tensor, mirror: bool, check: bool
    ) -> tuple[Tensor, Tensor]:
        """Losses (R,), the areas' summed, and their slopes by the masks (R, A, H, W)."""
        total, slopes = problem.images.new_zeros(len(masks), dtype=torch.float64), torch.zeros_like(masks)
        parts = {"preserve": (1.0,), "delete": (-1.0,), "dual": (1.0, -1.0)}[self.mode]
        for sign in parts:  # 1: the part is shown and the score wanted; -1: it is taken away, and the score unwanted
            shown, by_mask = perturb(masks if sign > 0 else 1 - masks)
            images = leaf(shown.flip(-1) if mirror else shown)

            def loss(logits: Tensor, sign: float = sign) -> Tensor:
                return -sign * self._scores(logits, problem.classes).view(len(masks), -1).sum(1)

            def request(inputs: Tensor) -> Tensor:
                return model_logits(self.model, inputs.clone())

            losses, gradient = model_gradient(type(self).__name__, request, images, problem.classes, loss, check)
            if mirror:
                gradient = gradient.flip(-1)
            slopes += sign * (gradient * by_mask).sum(1).view(masks.shape)
            total += losses
        return total, slopes

    def _scores(self, logits: Tensor, classes: Tensor) -> Tensor:
        requested = classes.repeat_interleave(len(self.areas))[:, None]
        own = logits.gather(1, requested)[:, 0]
        if self.reward == "logit" or logits.shape[1] == 1:
            return own
        return own - logits.scatter(1, requested, float("-inf")).amax(1)
