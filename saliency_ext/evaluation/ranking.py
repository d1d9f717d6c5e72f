"""Which method is better, from as few images as it takes: pairs are compared until they are told apart, and then left alone."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from ..checks import bad_type, bad_value, require_integer, require_ndim, require_number, require_shape, require_tensor
from ..models.targets import Target
from ..probing import Engine
from ..protocols import Forward
from .duels import Duel, Ranking
from .evaluate import evaluate
from .picking import image_order, picked_map, picked_options, picked_target
from .results import Results

_FUNCTION = "rank_methods"
_ROUNDING = 1e-6  # areas of probabilities may leave their range by rounding
_BOUNDS = {
    "fidelity": (-1.0, 1.0),
    "symmetric_relevance_gain": (-1.0, 1.0),
    **dict.fromkeys(("deletion", "insertion", "morf", "lerf", "pointing_game", "relevance_mass", "relevance_rank"), (0.0, 1.0)),
}


def rank_methods(
    forward: Forward,
    inputs: Tensor,
    target: Target,
    maps: Mapping[str, Any],
    metric: Any,
    *,
    alpha: float = 0.05,
    margin: float = 0.0,
    budget: int | None = None,
    round_size: int = 16,
    bounds: tuple[float, float] | None = None,
    seed: int = 0,
    engine: Engine | None = None,
    sample_ids: Tensor | None = None,
    **evaluation: Any,
) -> Ranking:
    """Orders saliency methods by their mean under a metric, and stops as soon as it is sure.

    Images are taken in random order without replacement. After each round every undecided pair's differences, image by image, go
    to a `BettingSequence` with error alpha / pairs; a pair is decided when 0 is outside its interval, or when the interval lies
    within the margin. A map whose pairs are all decided is no longer evaluated. The chance that any verdict ever printed is wrong
    about the mean over all images is at most alpha, whenever one stops. An image without a value for one of two maps counts as
    no difference between them.

    Args:
        forward, inputs, target, maps, metric, engine, sample_ids: as in `evaluate`; inputs a tensor, at least two maps.
        alpha: in (0, 1).
        margin: >= 0, differences of the metric that do not matter; 0: pairs are never called alike before all images are seen.
        budget: masked inputs to forward at most, or None. A round is begun only while it is not spent.
        round_size: images per round.
        bounds: the smallest and largest value of the metric. None: [0, 1] or [-1, 1] where these are certain, else refused.
        seed: of the order of the images, which is keyed by (seed, sample id).
        evaluation: further arguments of `evaluate`, such as channels.

    Raises:
        TypeError, ValueError: fewer than two maps, no images, wrong alpha or margin, a metric that prefers no
            direction, unknown bounds, a value outside them, sample ids of another number.

    Note:
        Deterministic as far as the model is. Memory as in `evaluate`. With `StratifiedSteps` as the metric's schedule both
        savings multiply: the mean of a fine grid's area is then estimated without bias.

    Example:
        >>> from saliency_ext.infill import Constant
        >>> from saliency_ext.metrics import Fidelity
        >>> from saliency_ext.ops import philox_uniform
        >>> images = philox_uniform((1, 4, 4), torch.arange(200), seed=0)
        >>> model = lambda x: torch.stack([x[:, 0, :2].sum((1, 2)), x[:, 0, 2:].sum((1, 2))], 1)
        >>> good, bad = torch.zeros(200, 4, 4), torch.zeros(200, 4, 4)
        >>> good[:, :2], bad[:, 2:] = 1.0, 1.0
        >>> found = rank_methods(model, images, 0, {"good": good, "bad": bad}, Fidelity(Constant(0.0)))
        >>> found.better("good"), found.images < 200
        (['bad'], True)
    """
    pairs = _pairs(inputs, maps, alpha)
    require_number(_FUNCTION, "margin", margin)
    require_integer(_FUNCTION, "round_size", round_size, 1, 2**31 - 1)
    require_integer(_FUNCTION, "seed", seed, 0, 2**63 - 1)
    if budget is not None:
        require_integer(_FUNCTION, "budget", budget, 1, 2**62)
    if metric.info.direction not in ("higher", "lower"):
        bad_value(_FUNCTION, "metric", "one of which higher or lower is better", repr(metric.info.name))
    low, high = _range(metric, bounds)
    if sample_ids is not None:
        require_shape(_FUNCTION, "sample_ids", sample_ids, "(N,)", (len(inputs),))
    ids = torch.arange(len(inputs), device=inputs.device) if sample_ids is None else sample_ids
    order = image_order(ids, seed).to(inputs.device)
    duels = [Duel(first, second, high - low, margin, len(inputs), alpha / len(pairs)) for first, second in pairs]
    runner = Engine(forward) if engine is None else engine
    before, per_image, left_out, seen, stopped = _masked_inputs(runner), 0.0, 0, 0, "all images"
    while seen < len(inputs):
        spent = _masked_inputs(runner) - before
        if all(duel.decided for duel in duels):
            break
        if budget is not None and spent >= budget:
            stopped = "budget"
            break
        picks = order[seen : seen + round_size]
        undecided = {name for duel in duels if not duel.decided for name in (duel.first, duel.second)}
        active = {name: picked_map(given, picks) for name, given in maps.items() if name in undecided}
        options = {"engine": runner, "sample_ids": ids[picks.to(ids.device)], **picked_options(evaluation, picks)}
        options["check_forward"] = seen == 0 and options.get("check_forward", True)
        values = _values(evaluate(forward, inputs[picks], picked_target(target, picks), active, [metric], **options), low, high)
        if seen == 0:
            per_image = (_masked_inputs(runner) - before) / len(picks)
        left_out += int(torch.stack(list(values.values())).isnan().any(0).sum())
        for duel in duels:
            duel.see(values)
        seen += len(picks)
    if all(duel.decided for duel in duels):
        stopped = "decided"
    used = _masked_inputs(runner) - before
    lower = metric.info.direction == "lower"
    verdicts = tuple(duel.verdict(lower) for duel in duels)
    return Ranking(tuple(maps), verdicts, seen, len(inputs), left_out, used, round(per_image * len(inputs)), alpha, stopped)


def _masked_inputs(engine: Engine) -> int:
    return engine.counters.images_forwarded - engine.counters.images_padded


def _values(results: Results, low: float, high: float) -> dict[str, Tensor]:
    """(n,) float64 of each map; NaN where there is none. Refused outside the bounds: the intervals would not hold."""
    found = {}
    for name, metric in results:
        result = results[name, metric]
        values = torch.where(result.valid, result.values.double(), torch.nan)
        outside = (values < low - _ROUNDING) | (values > high + _ROUNDING)
        if outside.any():
            remedy = "pass the bounds of the metric as bounds=(low, high)"
            bad_value(_FUNCTION, f"maps[{name!r}]", f"to score in [{low:g}, {high:g}]", float(values[outside][0]), remedy)
        found[name] = values
    return found


def _range(metric: Any, bounds: tuple[float, float] | None) -> tuple[float, float]:
    """The bounds given, or those that the metric has for certain."""
    if bounds is not None:
        low, high = (require_number(_FUNCTION, "bounds", bound, low=-1e300) for bound in bounds)
        if low >= high:
            bad_value(_FUNCTION, "bounds", "(low, high) with low < high", bounds)
        return low, high
    choices = getattr(metric, "parameters", {})
    bounded = choices.get("score", "probability") in ("probability", "accuracy") and not choices.get("relative", False)
    if metric.info.name not in _BOUNDS or not bounded or choices.get("area", "trapezoid") not in ("trapezoid", "even", "mean"):
        bad_value(_FUNCTION, "bounds", f"for metric {metric.info.name!r} with these choices", "None", "pass bounds=(low, high)")
    return _BOUNDS[metric.info.name]


def _pairs(inputs: Tensor, maps: Mapping[str, Any], alpha: float) -> list[tuple[str, str]]:
    """All pairs of maps, of sound arguments."""
    require_ndim(_FUNCTION, "inputs", require_tensor(_FUNCTION, "inputs", inputs), "(N, C, H, W)")
    if len(inputs) == 0:
        bad_value(_FUNCTION, "inputs", "at least one image", "none")
    if not isinstance(maps, Mapping):
        bad_type(_FUNCTION, "maps", "to be a name -> map mapping", type(maps).__name__)
    if len(maps) < 2:
        bad_value(_FUNCTION, "maps", "at least two to compare", len(maps))
    if not 0 < require_number(_FUNCTION, "alpha", alpha) < 1:
        bad_value(_FUNCTION, "alpha", "in (0, 1)", alpha)
    return list(combinations(maps, 2))
