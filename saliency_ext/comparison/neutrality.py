"""Neutrality of infills: alone, in the context of images, and inside the object."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..checks import (
    bad_value,
    require_dtype,
    require_integer,
    require_mask,
    require_ndim,
    require_number,
    require_sample_ids,
    require_shape,
    require_tensor,
)
from ..evaluation._engine import engine_for
from ..infill.base import require_infill
from ..metrics.result import NONFINITE_INPUT, NONFINITE_SCORE, OK
from ..models.targets import Target, resolve_target
from ..nonfinite import finite_rows, with_zeros
from ..perturbation import DenseMasks, Engine, EqualFractions, Plan, RandomOrder, RankMasks
from ..perturbation.curve_integration import area_under
from ..protocols import Forward, Infill
from ..stats.intervals import Summary, summarise
from ._fault_tolerant_infill import INFILL_FAILED, FaultTolerantInfill, FaultTolerantMaskedInfill, fault_tolerant
from ._random_squares import away_from

_FUNCTION = "neutrality"
_CHUNK = 32
# Measure -> what it is, and what a neutral infill has.
NEUTRALITY: dict[str, tuple[str, str]] = {
    "N1": ("probability of the target on the infill alone", "1/K, or 0 where a model may predict no class"),
    "N2": ("largest probability on the infill alone", "low"),
    "N3": ("entropy on the infill alone, over log K", "1"),
    "N4": ("divergence from the class prior on the infill alone, nats", "0"),
    "N5": ("standard deviation of the logits on the infill alone", "0"),
    "N6": ("mean change of the target's probability when a random square away from the object is filled", "0"),
    "N7": ("area under the largest probability over the share of random pixels filled", "high"),
    "N8": ("mean distance of infill and image inside the object, input units", "high: what equals the infill cannot be seen"),
}


@dataclass(frozen=True)
class Neutrality:
    """The result of `neutrality`.

    Attributes:
        names: B infills.
        values: measure -> (B, N) float64, NaN where the status says there is none, where no truth was given or it is
            empty (N8), or where no square away from the object fits (N6).
        curves: (B, N, S) mean over draws of the largest probability with a share of random pixels filled. fractions: (S,).
        status: per infill N statuses: "ok", "infill_failed", "nonfinite_input" or "nonfinite_score".
        reasons: infill -> sample id -> why it failed.
    """

    names: tuple[str, ...]
    values: dict[str, Tensor]
    curves: Tensor
    fractions: Tensor
    status: list[list[str]]
    reasons: dict[str, dict[int, str]]

    def summary(self, measure: str, name: str) -> Summary:
        """Mean over images with its interval."""
        values = self.values[measure][self.names.index(name)]
        return summarise(values[values.isfinite()], len(values))


def neutrality(
    model: Forward,
    inputs: Tensor,
    target: Target,
    infills: Mapping[str, Infill],
    *,
    truth: Tensor | None = None,
    prior: Tensor | None = None,
    area: float = 0.1,
    squares: int = 8,
    steps: int = 10,
    seed: int = 0,
    sample_ids: Tensor | None = None,
    engine: Engine | Mapping[str, Any] | None = None,
) -> Neutrality:
    """Eight measures of how neutral each infill is; `NEUTRALITY` says what each is and what a neutral infill has.

    N1 to N5 are of the infill alone, N6 of a patch of it in an image, away from the object, N7 of random pixels of it, N8 of
    what it hides. An infill can be neutral alone and not in context. N4 is sum_k p_k log(p_k / prior_k). Probabilities are the
    softmax over all classes; every measure is averaged over the draws of an infill.

    Args:
        model: callable (B, C, H, W) -> logits (B, K).
        inputs: (N, C, H, W) float32 or float64, in model input space.
        target: (N,) classes, one class, or "predicted".
        infills: name -> infill. One that raises for a sample leaves that sample without values.
        truth: (N, H, W) bool, the object. None: N6 fills squares anywhere, N8 has no value.
        prior: (K,) class probabilities of the training data. None: the mean of the model's finite predictions for these images.
        area: share of the image that a square of N6 covers, in (0, 1].
        squares: of N6, per image.
        steps: of the curve of N7.
        seed: of squares and random pixels.
        sample_ids: (N,) int64 identities that key all draws; 0 .. N-1 if not given.
        engine: an `Engine` on this model, or options of one; None: a default one.

    Raises:
        TypeError, ValueError: which argument, what was expected and what was got.

    Note:
        Deterministic as far as the model is; without `prior`, N4 depends on all images, all else on the image alone. Cost: per
        image, infill and draw squares + steps forwards. Memory: the engine's, and the logits of a chunk of 32 images.

    Example:
        >>> from saliency_ext.infill import Constant
        >>> flat = lambda x: x.new_zeros(len(x), 4)
        >>> result = neutrality(flat, torch.rand(2, 1, 8, 8), 0, {"grey": Constant(0.5)})
        >>> [float(result.values[name][0, 0]) for name in ("N1", "N3", "N5", "N6")]
        [0.25, 1.0, 0.0, 0.0]
    """
    images = require_tensor(_FUNCTION, "inputs", inputs)
    require_dtype(_FUNCTION, "inputs", images, (torch.float32, torch.float64), "convert with .float() and normalise")
    require_ndim(_FUNCTION, "inputs", images, "(N, C, H, W)")
    guards = _guards(infills)
    require_number(_FUNCTION, "area", area, above=0.0)
    if area > 1:
        bad_value(_FUNCTION, "area", "in (0, 1]", area)
    require_integer(_FUNCTION, "squares", squares, 1, 2**16)
    schedule = EqualFractions(require_integer(_FUNCTION, "steps", steps, 1, 2**16))
    require_integer(_FUNCTION, "seed", seed, 0, 2**63 - 1)
    ids = torch.arange(len(images)) if sample_ids is None else sample_ids.cpu()
    require_sample_ids(_FUNCTION, ids)
    require_shape(_FUNCTION, "sample_ids", ids, "(N,)", images.shape[:1])
    objects = None if truth is None else require_mask(_FUNCTION, "truth", truth.cpu(), images[:, 0].cpu(), "inputs")
    runner = engine_for(_FUNCTION, model, engine)
    good = finite_rows(images).cpu()
    safe = runner.placed_images(with_zeros(images, good.to(images.device)))
    logits = runner.logits(safe).cpu().double()
    if logits.shape[1] == 1:
        needed = "to have two outputs or more: the softmax of one is 1 for every input"
        bad_value(_FUNCTION, "model", needed, "one", "return two logits, (0, z)")
    classes = resolve_target(target, logits).cpu()
    expected = _prior(prior, logits[good & finite_rows(logits)])

    names, counts = tuple(guards), schedule.counts(images.shape[2] * images.shape[3])
    fractions = torch.tensor(counts, dtype=torch.float64) / max(counts[-1], 1)
    values = {name: torch.full((len(names), len(images)), torch.nan, dtype=torch.float64) for name in NEUTRALITY}
    curves = torch.full((len(names), len(images), len(counts)), torch.nan, dtype=torch.float64)
    scored = torch.ones(len(names), len(images), dtype=torch.bool)
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        own = None if objects is None else objects[part]
        keep, fits = away_from(own, ids[part], (images.shape[2], images.shape[3]), area, squares, seed)
        requested = _Requested(safe[part], ids[part].to(images.device), keep.to(safe), counts, seed)
        clean = logits[part].softmax(1)
        for row, guard in enumerate(guards.values()):
            alone, squared, curve = requested.of(guard, runner, logits.shape[1])
            result = _measured(alone, squared, clean, classes[part], expected)
            result["N7"] = area_under(curve, fractions, "trapezoid")
            scored[row, part] = (result["N2"] + result["N6"] + result["N7"]).isfinite()
            result["N6"] = torch.where(fits, result["N6"], torch.nan)
            result["N8"] = _distance(safe[part], own, guard, requested.ids)
            for measure, numbers in result.items():
                values[measure][row, part] = numbers
            curves[row, part] = curve
    status = [_status(guard, ids.tolist(), good, scored[row]) for row, guard in enumerate(guards.values())]
    lost = torch.tensor([[each != OK for each in row] for row in status], dtype=torch.bool).view(len(names), len(images))
    values = {name: numbers.masked_fill(lost, torch.nan) for name, numbers in values.items()}
    reasons = {name: dict(guard.failed) for name, guard in guards.items() if guard.failed}
    return Neutrality(names, values, curves.masked_fill(lost[..., None], torch.nan), fractions, status, reasons)


@dataclass(frozen=True)
class _Requested:
    """The masked inputs of one chunk: the squares, and random pixels."""

    inputs: Tensor
    ids: Tensor
    keep: Tensor
    counts: list[int]
    seed: int

    def of(self, infill: FaultTolerantInfill, engine: Engine, classes: int) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the infill alone (D, N, K), of the squares (D, N, R, K); the curve of the largest probability (N, S)."""
        order = RandomOrder((self.inputs.shape[2], self.inputs.shape[3]), self.ids, self.seed)
        plan = Plan()
        squares = plan.request(DenseMasks(self.keep), infill)
        pixels = plan.request(RankMasks(order, self.counts, keep="tail"), infill)
        wanted = torch.arange(classes).expand(len(self.inputs), -1)
        outputs = engine.run(plan, self.inputs, wanted.contiguous().to(self.inputs.device), sample_ids=self.ids)
        filled = torch.stack([outputs.logits(keys, wanted) for keys in pixels])  # (D, N, S, K)
        curve = filled.softmax(3).amax(3).mean(0)
        return filled[:, :, -1], torch.stack([outputs.logits(keys, wanted) for keys in squares]), curve


def _measured(alone: Tensor, squared: Tensor, clean: Tensor, classes: Tensor, prior: Tensor) -> dict[str, Tensor]:
    """N1 to N6, (N,) each."""
    log_p = alone.log_softmax(2)
    p, column = log_p.exp(), classes[:, None]
    entropy = -torch.special.xlogy(p, p).sum(2)
    own = squared.softmax(3).gather(3, column[None, :, None].expand(*squared.shape[:3], 1))[..., 0]
    divergence = (torch.special.xlogy(p, p) - torch.special.xlogy(p, prior)).sum(2)
    return {
        "N1": p.gather(2, column.expand(len(p), -1, 1))[..., 0].mean(0),
        "N2": p.amax(2).mean(0),
        "N3": (entropy / math.log(p.shape[2]) if p.shape[2] > 1 else torch.full_like(entropy, torch.nan)).mean(0),
        "N4": divergence.mean(0),
        "N5": alone.std(2, correction=0).mean(0),
        "N6": (own - clean.gather(1, column)).abs().mean((0, 2)),
    }


def _distance(inputs: Tensor, truth: Tensor | None, infill: FaultTolerantInfill, ids: Tensor) -> Tensor:
    """N8 (N,): NaN without an object. What an infill that reads the mask makes of the object is what it puts in its place."""
    if truth is None:
        return torch.full((len(inputs),), torch.nan, dtype=torch.float64)
    object_, drawn = truth.to(inputs.device)[None], []
    for draw in range(infill.draws):
        if isinstance(infill, FaultTolerantMaskedInfill):
            filled = infill.fill_removed(inputs, object_, ids, draw)[0]
        else:
            filled = infill.fill(inputs, ids, draw)
        drawn.append((inputs - filled).abs().mean(1).double().cpu())
    return (torch.stack(drawn).mean(0) * truth).sum((1, 2)) / truth.sum((1, 2))


def _prior(prior: Tensor | None, logits: Tensor) -> Tensor:
    if prior is None:
        return logits.softmax(1).mean(0)
    given = require_tensor(_FUNCTION, "prior", prior).cpu().double()
    require_shape(_FUNCTION, "prior", given, "(K,)", logits.shape[1:])
    if bool((given < 0).any()) or abs(float(given.sum()) - 1) > 1e-6:
        bad_value(_FUNCTION, "prior", "to be probabilities that sum to 1", given.tolist())
    return given


def _guards(infills: Mapping[str, Infill]) -> dict[str, FaultTolerantInfill]:
    if not isinstance(infills, Mapping) or not infills:
        bad_value(_FUNCTION, "infills", "a mapping with at least one infill", repr(infills))
    return {name: fault_tolerant(require_infill(_FUNCTION, infill)) for name, infill in infills.items()}


def _status(guard: FaultTolerantInfill, ids: list[int], good: Tensor, scored: Tensor) -> list[str]:
    result = []
    for index, name in enumerate(ids):
        broken = INFILL_FAILED if name in guard.failed else OK if scored[index] else NONFINITE_SCORE
        result.append(broken if good[index] else NONFINITE_INPUT)
    return result
