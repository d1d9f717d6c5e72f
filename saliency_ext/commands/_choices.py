"""Infills and metrics of a run, from their names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..infill import Blur, Constant, DatasetMean, GaussianNoise, Harmonic, ImageMean, NoisyLinear, Shuffle
from ..metrics.base import MetricOptions
from ..metrics.presets import PRESETS, preset
from ..metrics.registry import METRICS, make_metrics
from ..metrics.target_minus_distractor import SUFFIX as TARGET_MINUS_DISTRACTOR
from ..models import PreprocessSpec
from ..protocols import Infill
from ._command_result import known, refuse
from ._data import Data
from ._shared_options import SharedOptions

DEFAULT_METRICS = tuple(name for name, kind in METRICS.items() if kind.info.default and not kind.info.needs)
TRUTH_METRICS = tuple(
    f"{name}{ending}"
    for name, kind in METRICS.items()
    if kind.info.default and kind.info.needs == "truth"
    for ending in ("", TARGET_MINUS_DISTRACTOR)
)
ALL_TRUTH = tuple(
    f"{name}{ending}" for name, kind in METRICS.items() if kind.info.needs == "truth" for ending in ("", TARGET_MINUS_DISTRACTOR)
)
TRUTH = "truth"  # stands for all of them
PRESET = "preset:"


@dataclass(frozen=True)
class InfillEntry:
    """What a removed pixel becomes: a line that says it, and how it is made."""

    summary: str
    make: Callable[[PreprocessSpec, int], Infill]


def _noisy_linear(prepared: PreprocessSpec, seed: int) -> Infill:
    """With the published noise, 0.01 of a range of [0, 1]."""
    return NoisyLinear([0.01 / s for s in prepared.unit_std], seed)


INFILLS = {
    "mean": InfillEntry("the mean colour of the model's training data", lambda p, seed: DatasetMean()),
    "black": InfillEntry("black", lambda p, seed: Constant(p.colour(0.0))),
    "grey": InfillEntry("mid-grey", lambda p, seed: Constant(p.colour(0.5))),
    "white": InfillEntry("white", lambda p, seed: Constant(p.colour(1.0))),
    "image_mean": InfillEntry("the mean colour of the image itself", lambda p, seed: ImageMean()),
    "blur": InfillEntry("the image, blurred over a twentieth of its side", lambda p, seed: Blur(max(1.0, min(p.size) / 20))),
    "noise": InfillEntry("noise with the statistics of the training data", lambda p, seed: GaussianNoise(0.0, 1.0, seed)),
    "noisy_linear": InfillEntry("weighted means of the pixels around, with a little noise", _noisy_linear),
    "harmonic": InfillEntry("the smoothest surface through the pixels around", lambda p, seed: Harmonic()),
    "shuffle": InfillEntry("other pixels of the image", lambda p, seed: Shuffle(seed)),
}


def make_infill(name: str, preprocessing: PreprocessSpec, seed: int) -> Infill:
    """The infill of a name."""
    known("--infill", [name], INFILLS)
    return INFILLS[name].make(preprocessing, seed)


def chosen_metrics(names: Sequence[str] | None, data: Data, prepared: PreprocessSpec, shared: SharedOptions) -> list[Any]:
    """Metrics by name; "preset:NAME" stands for those of a preset, "truth" for all that need one. None: the usual ones."""
    if names is None:
        names = [*DEFAULT_METRICS, *(TRUTH_METRICS if data.has_truth else ())]
    choices = MetricOptions(shared.infill, shared.steps, shared.score, shared.seed)
    result: list[Any] = []
    for name in dict.fromkeys(one for given in names for one in (ALL_TRUTH if given == TRUTH else (given,))):
        if name.startswith(PRESET):
            result += _preset(name.removeprefix(PRESET), prepared, shared)
            continue
        plain = name.removesuffix(TARGET_MINUS_DISTRACTOR)
        if ":" not in plain:
            known("--metrics", [plain], METRICS)
        try:
            needs_truth = METRICS.find("make_metrics", "names", plain).info.needs == "truth"
        except ValueError as error:
            refuse(f"--metrics: {error}")
        if needs_truth and not data.has_truth:
            refuse(f"--metrics: {name} compares maps with a known truth, which pictures in a folder do not have; leave it out")
        try:
            result += make_metrics([name], choices, others=data.others)
        except (TypeError, ValueError) as error:
            refuse(f"--metrics: {error}")
    return result


def _preset(name: str, prepared: PreprocessSpec, shared: SharedOptions) -> list[Any]:
    known("--metrics preset", [name], PRESETS)
    options: dict[str, Any] = {"infill": shared.infill, "mean": prepared.unit_mean, "std": prepared.unit_std}
    wanted = PRESETS[name].__annotations__
    required = {option for option in options if option in wanted and option not in (PRESETS[name].__kwdefaults__ or {})}
    return preset(name, **{option: options[option] for option in required})
