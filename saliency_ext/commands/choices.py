"""Infills, methods and metrics of a run, from their names."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..attribution import Method
from ..attribution.catalogue import CONTROLS, METHODS, RANDOM_WEIGHTS, MethodChoices, make_methods
from ..infill import Blur, Constant, DatasetMean, GaussianNoise, ImageMean, Shuffle
from ..metrics.catalogue import METRICS, OWN_MINUS_OTHER, MetricChoices, make_metrics
from ..metrics.presets import PRESETS, preset
from ..protocols import Infill
from ..segmentation import slic
from .data import Data
from .models import LoadedModel
from .outcome import refuse
from .preprocessing import Preprocessing

DEFAULT_METHODS = ("grad_cam", "layer_cam", "gradient", "input_x_gradient", "integrated_gradients")
DEFAULT_METRICS = ("fidelity", "deletion", "insertion")
TRUTH_METRICS = ("pointing_game", "pointing_game_own_minus_other", "relevance_mass", "relevance_mass_own_minus_other")
PRESET = "preset:"


@dataclass(frozen=True)
class InfillEntry:
    """What a removed pixel becomes: a line that says it, and how it is made."""

    summary: str
    make: Callable[[Preprocessing, int], Infill]


INFILLS = {
    "mean": InfillEntry("the mean colour of the model's training data", lambda p, seed: DatasetMean()),
    "black": InfillEntry("black", lambda p, seed: Constant(p.colour(0.0))),
    "grey": InfillEntry("mid-grey", lambda p, seed: Constant(p.colour(0.5))),
    "white": InfillEntry("white", lambda p, seed: Constant(p.colour(1.0))),
    "image_mean": InfillEntry("the mean colour of the image itself", lambda p, seed: ImageMean()),
    "blur": InfillEntry("the image, blurred over a twentieth of its side", lambda p, seed: Blur(max(1.0, min(p.size) / 20))),
    "noise": InfillEntry("noise with the statistics of the training data", lambda p, seed: GaussianNoise(0.0, 1.0, seed)),
    "shuffle": InfillEntry("other pixels of the image", lambda p, seed: Shuffle(seed)),
}


@dataclass(frozen=True)
class Shared:
    """What methods and metrics of a run have in common."""

    infill: Infill
    steps: int
    score: str
    seed: int
    max_batch: int


def make_infill(name: str, preprocessing: Preprocessing, seed: int) -> Infill:
    """The infill of a name."""
    _known("--infill", [name], INFILLS)
    return INFILLS[name].make(preprocessing, seed)


def chosen_methods(names: Sequence[str], model: LoadedModel, shared: Shared, *, controls: bool) -> Mapping[str, Method]:
    """Methods by name, then the controls: four that know no model, and one of the methods on random weights."""
    _known("--methods", [name.removesuffix(RANDOM_WEIGHTS) for name in names], METHODS)
    wanted = list(dict.fromkeys(names))
    if controls:
        wanted = list(dict.fromkeys([*wanted, *_redrawn(wanted), *CONTROLS]))
    choices = MethodChoices(shared.infill, partial(slic, segments=25), seed=shared.seed, max_batch=shared.max_batch)
    made: dict[str, Method] = {}
    for name in wanted:
        try:
            made |= make_methods([name], model.forward, choices)
        except (TypeError, ValueError, RuntimeError, ImportError) as error:
            refuse(f"--methods: {name} cannot be used on this model: {error}")
    return made


def _redrawn(names: Sequence[str]) -> list[str]:
    """The first method with signed maps on random weights, else the first: maps cut off at 0 are often 0 everywhere there."""
    if any(name.endswith(RANDOM_WEIGHTS) for name in names):
        return []
    methods = [name for name in names if METHODS[name].info.family != "control"]
    return [f"{name}{RANDOM_WEIGHTS}" for name in sorted(methods, key=lambda name: not METHODS[name].info.signed)[:1]]


def chosen_metrics(names: Sequence[str] | None, data: Data, prepared: Preprocessing, shared: Shared) -> list[Any]:
    """Metrics by name; "preset:NAME" stands for those of a preset. None: the usual ones; with a truth, also those of it."""
    if names is None:
        names = [*DEFAULT_METRICS, *(TRUTH_METRICS if data.has_truth else ())]
    choices = MetricChoices(shared.infill, shared.steps, shared.score, shared.seed)
    found: list[Any] = []
    for name in dict.fromkeys(names):
        if name.startswith(PRESET):
            found += _preset(name.removeprefix(PRESET), prepared, shared)
            continue
        plain = name.removesuffix(OWN_MINUS_OTHER)
        _known("--metrics", [plain], METRICS)
        if METRICS[plain].needs == "truth" and not data.has_truth:
            refuse(f"--metrics: {name} compares maps with a known truth, which pictures in a folder do not have; leave it out")
        try:
            found += make_metrics([name], choices, others=data.others)
        except (TypeError, ValueError) as error:
            refuse(f"--metrics: {error}")
    return found


def _preset(name: str, prepared: Preprocessing, shared: Shared) -> list[Any]:
    _known("--metrics preset", [name], PRESETS)
    known: dict[str, Any] = {"infill": shared.infill, "mean": prepared.mean, "std": prepared.std}
    wanted = PRESETS[name].__annotations__
    required = {option for option in known if option in wanted and option not in (PRESETS[name].__kwdefaults__ or {})}
    return preset(name, **{option: known[option] for option in required})


def _known(option: str, names: Sequence[str], known: Mapping[str, Any]) -> None:
    """Refuses a name that there is not, with the nearest ones."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3, 0.5)
            meant = f"; did you mean {' or '.join(near)}?" if near else ""
            refuse(f"{option}: there is no {name!r}{meant} `saliency-ext list` shows all names")
