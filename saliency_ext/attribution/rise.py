"""RISE: mean score of random masked inputs that show a pixel."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..checks import bad_type, bad_value, require_choice, require_integer
from ..infill.constant import DatasetMean
from ..models.targets import Target
from ..perturbation import GridMasks
from ..protocols import Forward, Infill, MethodInfo
from ._adaptive_budget import EVERY, GROUPS, checked_tolerance, grown, relative_noise
from ._perturbation_method import PerturbationMethod
from ._rise_estimators import WEIGHTINGS, Estimator, MapEstimator, RegressionEstimator
from ._rise_masks import SAMPLINGS, MaskSampler, MaskSums
from .base import Explanation, MethodOptions

REGRESSED = "regressed"

PRESETS: dict[str, dict[str, Any]] = {
    "rise": {"masks": 4000, "grid": 7, "keep": 0.5},
    "rise_notebook": {"masks": 6000, "grid": 8, "keep": 0.1},
    "rise_evaluation": {"masks": 5000, "grid": 10, "keep": 0.1},
    "torchray": {"masks": 8000, "grid": 7, "keep": 0.5, "weighting": "mean", "score": "sigmoid"},
}


@dataclass(frozen=True)
class NoiseFloor:
    """Maps and their variation over seeds. (N, ...) for one target per image, (N, T, ...) for several.

    Attributes:
        saliency: (N, H, W), as the method returns it.
        standard_error: (N, H, W) of each pixel, in the unit of the saliency.
        relative: (N,) float64, root mean square of the standard error over the standard deviation of the map over its pixels;
            1 - relative^2 is about the correlation of the maps of two seeds.
        masks: (N,) int64, how many masks were used.
    """

    saliency: Tensor
    standard_error: Tensor
    relative: Tensor
    masks: Tensor


_MASKS = 4000  # by itself


class RISE(PerturbationMethod):
    """Saliency as the mean score of random masked inputs that show the pixel [Petsiuk 2018, Eq. 6].

    With masks M_i in [0, 1], f_i = f(M_i * inputs + (1 - M_i) * infill), i = 1 .. n:

        plain      1 / (n keep) * sum_i f_i M_i(u)
        mean       1 / n * sum_i f_i M_i(u)
        coverage   sum_i f_i M_i(u) / sum_i M_i(u)
        centred    sum_i (f_i - mean f) M_i(u) / sum_i M_i(u), which is coverage - mean f
        regressed  what centred tends to, from a linear model of f in the mask: fewest masks

    A mask is a grid of h by w bits, each 1 with probability `keep`, resized bilinearly to (h + 1) ceil(H / h) by
    (w + 1) ceil(W / w) and cropped at a random shift. "plain" is published; where f varies little it mostly shows how often a
    pixel happened to be shown. With v(u) = Var M(u) / keep^2 and f that hardly depends on the mask, the variance of a pixel is
    about E[f^2] v / n for "plain" and Var[f] v / n for "centred". A pixel that no mask shows gets 0, or mean f with "coverage".

    Args:
        model: callable (B, C, H, W) -> logits (B, K).
        infill: what hidden pixels become, in model input space; published: `DatasetMean()`.
        masks: n.
        grid: cells along each axis, one int for both or (h, w).
        keep: probability that a cell is kept, in (0, 1].
        seed: in [0, 2^63).
        weighting: "plain", "mean", "coverage", "centred" or "regressed".
        sampling: "random", "antithetic" (pairs of opposite grids) or "sobol" (scrambled Sobol points: fewer masks for the same
            noise).
        border: what lies outside the grid: "mirror" (published) or "clamp"; see `ops.blend_grids`.
        score: "probability", "logit", "log_probability", "accuracy" of the target, or "sigmoid" of its logit.
        max_batch: masked inputs per forward.
        tolerance: None, or stop adding masks to a map when its relative noise (see `NoiseFloor`) is at most this. Estimated
            after every 256 masks; `masks` is the maximum. The estimate is noisy and repeated, so the noise reached may
            exceed it slightly.

    Polarity: higher = the score is higher when the pixel is shown. Unit: that of the score. All images see the same masks, mask i
    being a function of (seed, i) alone, so maps of one batch share their coverage noise, and an image's map depends on nothing
    else in the batch. Cost: n forwards per image and draw of the infill, whatever the number of targets. Memory: a buffer of
    max_batch images, 10 bytes per grid cell of every mask, and one score per mask; masks are never stored; with "regressed" also
    8 (2 h)^2 (2 w)^2 bytes for the matrix of a regression, once for every number of masks at which a map is made. Deterministic.
    Traps: maps are smooth at the scale of a cell, smaller structure is not resolved; infills that must know what is removed see
    the mask rounded to 0 and 1; two maps differ by chance, so report `noise_floor`. "regressed" with few masks shrinks the map
    towards 0, which the noise floor does not see.

    Example:
        >>> import torch
        >>> from saliency_ext.infill import Constant
        >>> corner = lambda x: torch.stack([x[:, 0, 0, 0], -x[:, 0, 0, 0]], 1)
        >>> method = RISE(corner, Constant(0.0), masks=256, grid=4, weighting="centred", score="logit")
        >>> saliency = method(torch.ones(1, 1, 8, 8), 0)
        >>> saliency.flatten().argmax().item(), bool(saliency[0, 0, 0] > 5 * saliency[0, 5, 5].abs())
        (0, True)

    References:
        Petsiuk, Das, Saenko. RISE: Randomized Input Sampling for Explanation of Black-box Models. BMVC 2018. Cochran. Sampling
        Techniques. Wiley 1977 ("regressed").
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="rise",
        family="perturbation",
        signed=True,
        cost="masks F",
        reference="Petsiuk 2018",
        summary="mean of random masks, weighted by the score of the image seen through them",
    )

    @classmethod
    def from_options(cls, model: Any, options: MethodOptions, **further: Any) -> Self:
        """With the options that concern it."""
        draws = {"masks": options.limited(_MASKS)}
        return cls(model, options.infill, seed=options.seed, max_batch=options.max_batch, **(draws | further))

    def __init__(
        self,
        model: Forward,
        infill: Infill,
        *,
        masks: int = _MASKS,
        grid: int | tuple[int, int] = 7,
        keep: float = 0.5,
        seed: int = 0,
        weighting: str = "plain",
        sampling: str = "random",
        border: str = "mirror",
        score: str = "probability",
        max_batch: int = 64,
        tolerance: float | None = None,
    ) -> None:
        super().__init__(model, infill, score=score, max_batch=max_batch)
        self.masks = require_integer("RISE", "masks", masks, 1, 2**31 - 1)
        self.grid = (grid, grid) if isinstance(grid, int) else grid
        if not isinstance(self.grid, tuple) or len(self.grid) != 2:
            bad_type("RISE", "grid", "to be an int, or a tuple of two", repr(grid))
        for cells in self.grid:
            require_integer("RISE", "grid", cells, 1, 2**15)
        self.keep = _number("keep", keep)
        if not 0 < self.keep <= 1:
            bad_value("RISE", "keep", "in (0, 1]", keep)
        self.seed = require_integer("RISE", "seed", seed, 0, 2**63 - 1)
        require_choice("RISE", "weighting", weighting, (*WEIGHTINGS, REGRESSED))
        require_choice("RISE", "sampling", sampling, SAMPLINGS)
        require_choice("RISE", "border", border, ("mirror", "clamp"))
        self.weighting, self.sampling, self.border = weighting, sampling, border
        self.tolerance = checked_tolerance("RISE", tolerance)

    @classmethod
    def preset(cls, name: str, model: Forward, infill: Infill | None = None, **changes: Any) -> "RISE":
        """The choices of a published code, by name; `changes` are arguments of `RISE` that differ from them.

        "rise": 4000 masks of 7 x 7 cells, half kept, as usually quoted for VGG16 (for ResNet-50: masks=8000). "rise_notebook":
        6000 of 8 x 8, a tenth kept, the code's example. "rise_evaluation": 5000 of 10 x 10, a tenth kept, its evaluation.
        "torchray": 8000 of 7 x 7, half kept, sigmoid of the logit, not divided by keep; its masks have this distribution where
        the side is a multiple of 7. The infill is zero in normalised space. Random numbers are ours, not those of the codes.
        """
        require_choice("RISE.preset", "name", name, tuple(PRESETS))
        return cls(model, DatasetMean() if infill is None else infill, **(PRESETS[name] | changes))

    def noise_floor(self, inputs: Tensor, target: Target, *, sample_ids: Tensor | None = None, groups: int = 16) -> NoiseFloor:
        """Maps and their standard errors from the same run: their variation over seeds.

        SE(u)^2 = (K - 1) / K * sum_k (S_k(u) - mean_j S_j(u))^2, where S_k is the map without the k-th of K runs of neighbouring
        masks (delete-a-group jackknife). Its own relative error is about 1 / sqrt(2 (K - 1)) per pixel. For "sobol" it is too
        large, since parts of a sequence are spread worse than the whole.

        Args:
            inputs, target, sample_ids: as in a call.
            groups: K, at least 2, at most half the masks.
        """
        limit = min(self.masks, self.masks if self.tolerance is None else EVERY) // 2
        if limit < 2:
            bad_value("RISE.noise_floor", "masks", "at least 4", self.masks)
        require_integer("RISE.noise_floor", "groups", groups, 2, limit)
        explanation = self._explained(inputs, target, sample_ids, partial(self._estimated, groups=groups))
        saliency, diagnostics = explanation.saliency, explanation.diagnostics
        error = diagnostics.get("standard_error", saliency).to(saliency)  # an empty batch has none
        relative = relative_noise(saliency.double(), error.double())
        masks = diagnostics.get("masks", torch.zeros(relative.shape, dtype=torch.int64))
        return NoiseFloor(saliency, error, relative, masks)

    def _explain(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        return self._estimated(inputs, classes, sample_ids).saliency

    def _estimated(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor, groups: int | None = None) -> Explanation:
        """The maps; with `groups` also "standard_error" (N, T, H, W) of a jackknife and "masks" (N, T) that were used."""
        height, width = inputs.shape[2:]
        sampler = MaskSampler(self.grid, (height, width), self.keep, self.seed, self.sampling)
        grids, shifts = sampler.draw(self.masks)
        sums = MaskSums(grids, shifts, (height, width), self.border)
        estimator: Estimator = MapEstimator(sums, self.weighting, self.keep)
        if self.weighting == REGRESSED:
            estimator = RegressionEstimator(sums, grids, shifts, self.keep)
        every = max(1, min(sampler.cell) // 4)  # for the noise: maps are smooth at the scale of a cell

        engine = self._engine()

        def request(rows: Tensor, part: slice) -> Tensor:
            chosen = rows.to(inputs.device)
            masks = GridMasks(grids[part].to(inputs.device), shifts[part].to(inputs.device), self.border)
            return self._outputs(engine, masks, inputs[chosen], classes[chosen], sample_ids[chosen])

        def noise(_: int, seen: Tensor) -> float:
            return estimator.relative_noise(seen, GROUPS, every)

        blocks = self._blocks(self.masks, None if self.tolerance is None else EVERY)
        scores, used = grown(classes.shape, self.masks, self.tolerance, blocks, request, noise)
        of_map = [row[:count] for row, count in zip(scores.flatten(0, 1), used.flatten().tolist(), strict=True)]
        shape = (*classes.shape, height, width)
        saliency = torch.stack([estimator.map(row) for row in of_map]).view(shape).to(inputs)
        if groups is None:
            return Explanation(saliency)
        errors = torch.stack([estimator.standard_error(row, groups) for row in of_map]).view(shape)
        return Explanation(saliency, {"standard_error": errors, "masks": used})


def _number(argument: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        bad_type("RISE", argument, "to be a number", type(value).__name__)
    return float(value)
