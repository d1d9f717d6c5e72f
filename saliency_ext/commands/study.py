"""`saliency-ext study`: sensitivity of results to the infill or to hyper-parameters: report, tables, findings."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..attribution.base import Method
from ..attribution.occlusion import Occlusion
from ..attribution.rise import RISE
from ..comparison import Findings, hyperparameter_study, infill_study, learn_neutral_image
from ..infill.other_image import OtherImage
from ..infill.registry import infill_summaries
from ..protocols import Infill
from ..report import write_findings
from ..report.from_study import PAGE
from ..study.samples import SampleBatch, SampleReader
from ._checked_model import checked_model
from ._choices import infill_by_name
from ._command_result import EXIT_CODES, FAILED, CommandError, CommandResult, Option, in_options, refuse
from ._data import load_data
from ._methods import chosen_methods
from ._models import CommandModel
from ._output_paths import folder_place, reason, writing
from ._shared_options import BATCH, SharedOptions

IMAGES, MASKS = 32, 400
LEARNED = "learned"
INFILL_NAMES = ("dataset_mean", "black", "white", "image_mean", "blur", "gaussian_noise", LEARNED)
OTHERS = ("gradient", "grad_cam", "random")
JSON = "findings.json"
_SCORES = "scores"  # the folder of the study of scores
_OPTIONS = {("Study", "out"): Option("--out", "give another folder, or what it was")}
_AGAIN = "The scores that are finished are kept: mend that, then give the same command again"
TEXT = f"""\
Does a ranking of methods survive another reasonable choice?

  saliency-ext study infill                 how neutral infills are; what they change about maps and verdicts
  saliency-ext study hyperparameters        masks, grid, keep probability, windows, strides, step size of the metric
  saliency-ext study infill --model torchvision:resnet18 --data photos --limit 50 --infills dataset_mean,blur,gaussian_noise

The folder given with --out then holds index.html, {JSON} and one Parquet file per table. A run that was stopped makes the maps
again, and goes on with the scores where it was.

{EXIT_CODES}"""


def run(options: argparse.Namespace) -> CommandResult:
    """Runs a study on the testbed or on the user's model and images."""
    model = checked_model(options)
    data = load_data(options.data, model, limit=options.limit, target=options.target, seed=options.seed)
    out = folder_place("--out", options.out)
    try:
        batch = SampleReader("--data", data.samples).read(0, len(data.samples))
        findings = QUESTIONS[options.question](options, model, batch, data.targets(batch))
    except (TypeError, ValueError, ModuleNotFoundError) as error:
        refuse(f"study: {in_options(error, _OPTIONS)}")
    except OSError as error:
        raise CommandError(f"study: {reason(error)}. {_AGAIN}", FAILED) from error
    with writing("study", _AGAIN):
        findings.write_tables(out)
        findings.write_json(out / JSON)
        page = write_findings(findings, out / PAGE)
    return CommandResult(f"{findings.to_text()}\n\nReport: {page.resolve()}")


def _infills(names: Sequence[str], options: argparse.Namespace, model: CommandModel, batch: SampleBatch) -> dict[str, Infill]:
    result: dict[str, Infill] = {}
    for name in dict.fromkeys(names):
        if name == LEARNED:
            low, high = min(model.preprocessing.colour(0.0)), max(model.preprocessing.colour(1.0))
            start = torch.zeros_like(batch.inputs[0]).to(model.device)
            image = learn_neutral_image(model.forward, start, steps=200, low=low, high=high).image
            result[name] = OtherImage(image[None], options.seed)
        else:
            result[name] = infill_by_name(name, model.preprocessing, options.seed)
    return result


def _infill(options: argparse.Namespace, model: CommandModel, batch: SampleBatch, target: Any) -> Findings:
    infills = _infills(options.infills, options, model, batch)
    size, forward = options.max_batch or BATCH, model.forward
    return infill_study(
        **_common(options, model, batch, target),
        infills=infills,
        generators={
            "occlusion": lambda infill, _: Occlusion(forward, infill, score=options.score, max_batch=size),
            "rise": lambda infill, seed: RISE(
                forward, infill, masks=options.masks, seed=seed, weighting="centred", score=options.score, max_batch=size
            ),
        },
        truth=batch.truth,
        steps=options.steps,
        facts=_facts(options, model, batch) | {"infills": ", ".join(_said(name) for name in infills)},
    )


def _hyperparameters(options: argparse.Namespace, model: CommandModel, batch: SampleBatch, target: Any) -> Findings:
    infill = _infills(options.infills[:1], options, model, batch)[options.infills[0]]
    size, side = options.max_batch or BATCH, min(batch.inputs.shape[2:])

    def rise(**changes: Any) -> Method:
        chosen = {"masks": options.masks, "grid": 7, "keep": 0.5, "seed": options.seed, "weighting": "centred"} | changes
        return RISE(model.forward, infill, score=options.score, max_batch=size, **chosen)

    def occlusion(window: int, stride: int) -> Method:
        return Occlusion(model.forward, infill, window=window, stride=stride, score=options.score, max_batch=size)

    masks, usual = options.masks, max(2, round(side / 7))
    windows = [max(2, round(side / 14)), max(3, round(2 * side / 7))]
    families: dict[str, Mapping[str, Method]] = {
        "rise": {f"{masks} masks, grid 7, keep 0.5": rise()}
        | {f"masks = {count}": rise(masks=count) for count in (max(2, masks // 4), 4 * masks)}
        | {f"grid = {cells}": rise(grid=cells) for cells in (4, 10, 16)}
        | {f"keep = {share}": rise(keep=share) for share in (0.1, 0.3, 0.7)},
        "occlusion": {f"window {usual}, stride {usual // 2}": occlusion(usual, usual // 2)}
        | {f"window = {wide}": occlusion(wide, wide // 2) for wide in windows}
        | {f"stride = {usual}": occlusion(usual, usual)},
    }
    return hyperparameter_study(
        **_common(options, model, batch, target),
        families=families,
        infill=infill,
        again={"rise": rise(seed=options.seed + 1)},
        steps=tuple(sorted({5, options.steps, 20, side})),
        facts=_facts(options, model, batch) | {"infill": options.infills[0], "RISE": "weighting centred"},
    )


QUESTIONS: dict[str, Callable[..., Findings]] = {"infill": _infill, "hyperparameters": _hyperparameters}


def _common(options: argparse.Namespace, model: CommandModel, batch: SampleBatch, target: Any) -> dict[str, Any]:
    """What both studies are given."""
    size = options.max_batch or BATCH
    device = model.device
    known = [name for name in options.infills if name in infill_summaries()]
    infill = infill_by_name(known[0] if known else "dataset_mean", model.preprocessing, options.seed)
    shared = SharedOptions(infill, options.steps, options.score, options.seed, size)
    return {
        "model": model.forward,
        "inputs": batch.inputs.to(device),
        "target": target.to(device) if isinstance(target, torch.Tensor) else target,
        "others": chosen_methods(options.methods, model, shared, controls=False),
        "score": options.score,
        "seed": options.seed,
        "max_batch": size,
        "out": Path(options.out) / _SCORES,
    }


def _facts(options: argparse.Namespace, model: CommandModel, batch: SampleBatch) -> dict[str, str]:
    lost = sum(bool(problem) for problem in batch.problems)
    return {
        "model": model.spec,
        "images": f"{len(batch.inputs)}, of which {lost} could not be read",
        "prepared": str(model.preprocessing),
        "score": options.score,
        "steps of a curve": str(options.steps),
        "RISE": f"{options.masks} masks, grid 7, keep probability 0.5, weighting centred (divided by coverage)",
        "seed": str(options.seed),
    }


def _said(name: str) -> str:
    return (
        f"{name} (smooth image about which the model is least decided)"
        if name == LEARNED
        else f"{name} ({infill_summaries().get(name, 'given by its import path')})"
    )
