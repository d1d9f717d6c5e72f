"""Sequential pairwise comparison: pairs of methods are tested until they are distinguishable, and then no longer evaluated."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from ..checks import bad_value, require_integer, require_ndim, require_number, require_shape, require_tensor
from ..evaluation._engine import engine_for
from ..evaluation._input_chunks import check_images, random_order
from ..evaluation._subsampling import picked_map, picked_options, picked_target, random_draws, repetitions
from ..evaluation.evaluate import EvaluateOptions, evaluate, named_metrics
from ..evaluation.maps import made_maps, named_maps
from ..fingerprinting import tensor_digest
from ..metrics.base import MapMetric, MetricLike, ModelMetric, checked_range, require_within
from ..models.targets import Target, plain_target
from ..perturbation import AdaptiveSteps, Engine, StratifiedSteps
from ..protocols import Forward
from ..stats.pairwise_tests import PairwiseComparisons, Ranking
from ..study._fingerprint import Fingerprint, fingerprint, run_name
from ..study._model_observation import ModelObservation, observe
from ..study._process_group import ProcessGroup
from ._ranking_rounds import Rounds, RoundStore, Values

_FUNCTION = "rank_methods"
_PIECE = 8  # images handled together: two processes share a round of 16


def rank_methods(
    model: Forward,
    inputs: Tensor,
    target: Target,
    maps: Mapping[str, Any] | Sequence[Any],
    metric: MetricLike,
    *,
    engine: Engine | Mapping[str, Any] | None = None,
    alpha: float = 0.05,
    margin: float = 0.0,
    budget: int | None = None,
    round_size: int = 16,
    bounds: tuple[float, float] | None = None,
    seed: int = 0,
    sample_ids: Tensor | None = None,
    chunk: int | None = None,
    out: str | Path | None = None,
    **options: Unpack[EvaluateOptions],
) -> Ranking:
    """Ranks saliency methods by their mean under a metric with sequential paired tests, and stops early.

    Images are drawn in random order without replacement; where the metric's schedule draws steps, with replacement, and each
    observation of an image has steps of its own: an observation then is a random draw whose mean is exactly that of all images
    on the whole grid, and there are at most as many observations as images. After each round the paired differences of every
    undecided pair update a `BettingSequence` with error alpha / pairs; a pair is decided when 0 is outside its interval, or when
    the interval lies within the margin. A map whose pairs are all decided is no longer evaluated. The familywise error
    probability of all verdicts about the mean over all images is at most alpha, whenever the ranking stops. An image without a
    value for one of two maps counts as no difference between them.

    Args:
        model, inputs, target, maps, engine, sample_ids: as in `evaluate`; inputs a tensor, at least two maps.
        metric: one, as in `evaluate`.
        alpha: in (0, 1).
        margin: >= 0, differences of the metric within it are equivalent; 0: no verdict of equivalence before all images.
        budget: masked inputs to forward at most, or None; at least both ends of a curve for the images of a round. A round is
            begun only while it is not spent.
        round_size: images per round; of several processes, at least their number times `chunk`, else some have nothing to do.
        bounds: the smallest and largest value of the metric. None: those of the metric where they are certain, else refused.
        seed: of the order of the images, which is keyed by (seed, sample id).
        chunk: images handled together, and given to one process. None: as many as the engine forwards, but at most 8.
        out: a folder in which finished rounds are persisted: after an interruption the same call, also with another budget,
            continues after them, with the same result. None: nothing is persisted.
        options: further options of `evaluate`: truth, channels, resample, on_bad, check_model.

    Raises:
        TypeError, ValueError: fewer than two maps, no images, wrong alpha or margin, a metric that prefers no
            direction, unknown bounds, a value outside them, sample ids of another number; out holds another run (what differs
            is named); processes that were given different arguments. RuntimeError: another process failed. OSError: out
            cannot be written to.

    Note:
        Deterministic as far as the model is. Where torch.distributed is initialised, every process of the group must make this
        call, with the same arguments: each scores its part of a round, they exchange the values (one reduction of maps x round
        numbers), and all return the same, to the bit of what one process returns with one number of threads. One that raises
        stops all; one that is killed is noticed by the group's own timeout. Forwards that methods spend on their maps are not
        counted as masked inputs. Memory as in `evaluate`. With `StratifiedSteps` as the metric's schedule both
        savings multiply: the mean area on a fine grid is estimated without bias.

    Example:
        >>> from saliency_ext.infill import Constant
        >>> from saliency_ext.metrics import Fidelity
        >>> from saliency_ext.ops import philox_uniform
        >>> images = philox_uniform((1, 4, 4), torch.arange(200), seed=0)
        >>> model = lambda x: torch.stack([x[:, 0, :2].sum((1, 2)), x[:, 0, 2:].sum((1, 2))], 1)
        >>> good, bad = torch.zeros(200, 4, 4), torch.zeros(200, 4, 4)
        >>> good[:, :2], bad[:, 2:] = 1.0, 1.0
        >>> result = rank_methods(model, images, 0, {"good": good, "bad": bad}, Fidelity(Constant(0.0)))
        >>> result.better("good"), result.images < 200
        (['bad'], True)
    """
    named = made_maps(named_maps(_FUNCTION, maps), model)
    pairs = _pairs(inputs, named, alpha)
    (metric,) = named_metrics([metric], _FUNCTION).values()
    require_number(_FUNCTION, "margin", margin)
    require_integer(_FUNCTION, "round_size", round_size, 1, 2**31 - 1)
    require_integer(_FUNCTION, "seed", seed, 0, 2**63 - 1)
    if budget is not None:
        require_integer(_FUNCTION, "budget", budget, 1, 2**62)
    if chunk is not None:
        require_integer(_FUNCTION, "chunk", chunk, 1, 2**31 - 1)
    span = checked_range(_FUNCTION, metric, bounds)
    schedule = metric.sampling if isinstance(metric, ModelMetric) else None
    if isinstance(schedule, AdaptiveSteps):
        expected, remedy = "one whose mean is that of the whole grid", "use StratifiedSteps, or EqualFractions"
        bad_value(_FUNCTION, "metric", expected, "one with AdaptiveSteps, off by up to the tolerance", remedy)
    if sample_ids is not None:
        require_shape(_FUNCTION, "sample_ids", sample_ids, "(N,)", (len(inputs),))
    ends = 2 * min(round_size, len(inputs))
    if budget is not None and isinstance(metric, ModelMetric) and budget < ends:
        expected = f"at least {ends}, both ends of a curve for each of the {ends // 2} images of a round"
        bad_value(_FUNCTION, "budget", expected, budget, "allow more, or make rounds smaller")
    ids = torch.arange(len(inputs), device=inputs.device) if sample_ids is None else sample_ids
    # Drawn steps are noise that one pass over the images does not remove: the population is not finite.
    drawn = isinstance(schedule, StratifiedSteps)
    order = (random_draws if drawn else random_order)(ids, seed).to(inputs.device)
    comparisons = PairwiseComparisons(pairs, span[1] - span[0], margin, None if drawn else len(inputs), alpha)
    runner = engine_for(_FUNCTION, model, engine)
    piece = min(_PIECE, runner.batch_for(check_images(inputs))) if chunk is None else chunk
    scorer = _Scorer(model, inputs, plain_target(target), named, metric, span, ids, order, runner, piece, options)
    process_group, store = ProcessGroup(_FUNCTION), None
    if process_group.world > 1 or out is not None:
        shown = observe(runner, inputs)
        made = scorer.fingerprint(shown, {"seed": seed, "alpha": alpha, "margin": margin, "round_size": round_size})
        process_group.agree(f"{run_name(made)} {budget} {out is None}")
        store = None if out is None else RoundStore(Path(out), made, shown.outputs)
    rounds = Rounds(process_group, scorer, piece, store)
    spent, per_image, left_out, seen, stopped = 0, 0.0, 0, 0, "all images"
    while seen < len(inputs) and not comparisons.decided:
        if budget is not None and spent >= budget:
            stopped = "budget"
            break
        observations = torch.arange(seen, min(seen + round_size, len(inputs)))
        values, masked = rounds.take(observations, [name for name in named if name in comparisons.undecided])
        per_image = per_image if seen else masked / len(observations)
        left_out += int(torch.stack(list(values.values())).isnan().any(0).sum())
        comparisons.see(values)
        spent, seen = spent + masked, seen + len(observations)
    rounds.finish()
    if comparisons.decided:
        stopped = "decided"
    verdicts = comparisons.verdicts(metric.info.direction == "lower")
    return Ranking(tuple(named), verdicts, seen, len(inputs), left_out, spent, round(per_image * len(inputs)), alpha, stopped)


class _Scorer:
    """Scores subsets of the images under subsets of the maps; refuses values outside the bounds."""

    def __init__(
        self,
        model: Forward,
        inputs: Tensor,
        target: Target,
        maps: Mapping[str, Any],
        metric: MapMetric | ModelMetric,
        bounds: tuple[float, float],
        ids: Tensor,
        order: Tensor,
        engine: Engine,
        chunk: int,
        options: EvaluateOptions,
    ) -> None:
        self._model, self._inputs, self._target, self._maps, self._metric = model, inputs, target, maps, metric
        self._bounds, self._ids, self._engine, self._chunk, self._options = bounds, ids, engine, chunk, options
        self._order, self._repetition = order, repetitions(order)

    def __call__(self, observations: Tensor, names: Sequence[str]) -> tuple[Values, int]:
        """(n,) float64 of each map at these observations, NaN without a value, and the number of perturbed inputs forwarded."""
        before = self._forwarded()
        values = {name: torch.full((len(observations),), torch.nan, dtype=torch.float64) for name in names}
        for repetition in sorted(set(self._repetition[observations].tolist())):
            places = self._repetition[observations] == repetition
            for name, scores in self._scored(observations[places], names, repetition).items():
                values[name][places] = scores
        return values, self._forwarded() - before

    def _scored(self, observations: Tensor, names: Sequence[str], repetition: int) -> Values:
        """Values at observations that are all the image's n-th; drawn steps are drawn anew for each repetition."""
        picks, metric = self._order[observations.to(self._order.device)], self._metric
        if repetition and isinstance(metric, ModelMetric) and isinstance(metric.sampling, StratifiedSteps):
            seed = (metric.sampling.seed + repetition) % 2**63
            metric = metric.with_sampling(replace(metric.sampling, seed=seed))
        results = evaluate(
            self._model,
            self._inputs[picks],
            picked_target(self._target, picks),
            {name: picked_map(self._maps[name], picks) for name in names},
            [metric],
            engine=self._engine,
            sample_ids=self._ids[picks.to(self._ids.device)],
            chunk=self._chunk,
            **picked_options(self._options, picks),
        )
        self._options = {**self._options, "check_model": False}  # once is enough
        values = {}
        for name, metric_name in results:
            result = results[name, metric_name]
            scores = torch.where(result.valid, result.values.double(), torch.nan)
            values[name] = require_within(_FUNCTION, f"maps[{name!r}]", scores, self._bounds)
        return values

    def fingerprint(self, observed: ModelObservation, choices: Mapping[str, Any]) -> Fingerprint:
        """Everything that determines the values."""
        device = self._engine.placed(self._inputs[:1])
        engine = {
            "batch": self._engine.batch_for(self._inputs),
            "dtype": self._engine.cast(device[:0]).dtype,
            "device": device.device.type,
        }
        options = {name: value for name, value in self._options.items() if name not in ("truth", "check_model")}
        options["chunk"] = self._chunk
        return fingerprint(
            model=self._model,
            observed=observed,
            inputs={"samples": len(self._inputs), "content": tensor_digest(self._inputs), "sample_ids": tensor_digest(self._ids)},
            target=self._target,
            truth=self._options.get("truth"),
            maps=self._maps,
            metrics={self._metric.info.name: self._metric},
            options={**choices, **options, "bounds": self._bounds, "engine": engine},
        )

    def _forwarded(self) -> int:
        return self._engine.counters.images_forwarded - self._engine.counters.images_padded


def _pairs(inputs: Tensor, maps: Mapping[str, Any], alpha: float) -> list[tuple[str, str]]:
    """All pairs of maps, of valid arguments."""
    require_ndim(_FUNCTION, "inputs", require_tensor(_FUNCTION, "inputs", inputs), "(N, C, H, W)")
    if len(inputs) == 0:
        bad_value(_FUNCTION, "inputs", "at least one image", "none")
    if len(maps) < 2:
        bad_value(_FUNCTION, "maps", "at least two to compare", len(maps))
    if not 0 < require_number(_FUNCTION, "alpha", alpha) < 1:
        bad_value(_FUNCTION, "alpha", "in (0, 1)", alpha)
    return list(combinations(maps, 2))
