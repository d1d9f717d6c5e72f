"""Infills and metrics of a run, from their names."""

from collections.abc import Sequence
from typing import Any

from ..infill.base import InfillOptions
from ..infill.registry import infill_summaries, make_infill
from ..metrics.base import MetricOptions
from ..metrics.presets import PRESETS, preset
from ..metrics.registry import METRICS, make_metrics
from ..metrics.target_minus_distractor import SUFFIX as TARGET_MINUS_DISTRACTOR
from ..models import PreprocessSpec
from ..protocols import Infill
from ._command_result import known, refuse
from ._data import Data
from ._shared_options import SharedOptions

DEFAULT_METRICS = tuple(name for name in METRICS.defaults() if not METRICS[name].info.needs)
TRUTH_METRICS = tuple(
    f"{name}{ending}"
    for name in METRICS.defaults()
    if METRICS[name].info.needs == "truth"
    for ending in ("", TARGET_MINUS_DISTRACTOR)
)
ALL_TRUTH = tuple(
    f"{name}{ending}" for name, kind in METRICS.items() if kind.info.needs == "truth" for ending in ("", TARGET_MINUS_DISTRACTOR)
)
TRUTH = "truth"  # stands for all of them
PRESET = "preset:"


def infill_by_name(name: str, preprocessing: PreprocessSpec, seed: int) -> Infill:
    """The infill of a name, or of an import path."""
    if ":" not in name:
        known("--infill", [name], infill_summaries())
    options = InfillOptions(preprocessing.size, preprocessing.unit_mean, preprocessing.unit_std, seed)
    try:
        return make_infill(name, options)
    except (TypeError, ValueError) as error:
        refuse(f"--infill: {error}")


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
    annotations = PRESETS[name].__annotations__
    required = {option for option in options if option in annotations and option not in (PRESETS[name].__kwdefaults__ or {})}
    return preset(name, **{option: options[option] for option in required})
