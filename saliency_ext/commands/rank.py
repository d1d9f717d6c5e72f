"""`saliency-ext rank`: sequential comparison of methods with early stopping."""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeGuard

from .._atomic_io import write_whole
from ..attribution.base import Method
from ..metrics.base import MapMetric, ModelMetric
from ..metrics.registry import METRICS
from ..perturbation import Engine, StratifiedSteps
from ..ranking import rank_methods
from ..stats import Ranking
from ..study._process_group import OtherProcessFailed
from ..study.samples import SampleReader
from ._checked_model import checked_model
from ._choices import chosen_metrics, infill_by_name
from ._command_result import EXIT_CODES, FAILED, INTERRUPTED, CommandError, CommandResult, Option, in_options, known, refuse
from ._data import SCENES, Data, load_data
from ._methods import Sampling, chosen_methods
from ._models import CommandModel
from ._output_paths import file_place, reason, writing
from ._shared_options import BATCH, SharedOptions
from ._torchrun import process_group

_OPTIONS = {("rank_methods", option): Option(f"--{option}") for option in ("out", "alpha", "margin", "budget")}
_OPTIONS[("rank_methods", "round_size")] = Option("--round")
_OPTIONS[("rank_methods", "bounds")] = Option(None, "name another metric, whose range is known")
STRATA, GRID, COARSE, ROUND = 8, 100, 10, 16
MANY = 400  # images from which steps are drawn; fewer are soon all evaluated, on a fixed grid without sampling error
_TEXT = f"""\
Which method is better? Images are evaluated in random order, and each pair of methods only until it is distinguishable. With
probability 1 - alpha none of the verdicts is wrong about the mean over all images (anytime-valid).

  saliency-ext rank --limit 400 --methods grad_cam,gradient,integrated_gradients
  saliency-ext rank --model torchvision:resnet18 --data photos --methods grad_cam,rise --margin 0.02 --budget 200000

With {MANY} images or more, curves are sampled: each image has both ends and one random step from each of a few strata, whose
weighted sum is unbiased, and images are drawn with replacement. With fewer, each image is evaluated once on a grid of
{COARSE} steps: without sampling error once all are evaluated. --strata and --steps choose otherwise. All images are held in
memory. Under torchrun the images of a round are shared among the processes:

  torchrun --nproc-per-node 4 -m saliency_ext rank --data photos --model torchvision:resnet18 --round 32 --out ranked

{EXIT_CODES}"""


def add_rank(
    command: Callable[..., argparse.ArgumentParser],
    groups: tuple[Callable[[argparse.ArgumentParser], None], ...],
    positive: Callable[[str], int],
    scores: tuple[str, ...],
) -> None:
    """Adds the command. groups add the options of a model and of methods, positive reads a whole number."""
    parser = command("rank", "rank methods, with early stopping", _TEXT, run)
    for group in groups:
        group(parser)
    parser.add_argument("--data", metavar="FOLDER", help="images; default with --model testbed: its scenes")
    parser.add_argument("--limit", type=positive, metavar="N", help=f"at most N images; default: all, or {SCENES} scenes")
    parser.add_argument("--target", help="as for evaluate")
    parser.add_argument("--metric", default="fidelity", metavar="NAME", help="from `saliency-ext list`; default: fidelity")
    parser.add_argument("--score", choices=scores, default="probability", help="what a curve shows; default: probability")
    parser.add_argument(
        "--steps", type=positive, metavar="N", help=f"of the grid of a curve; default: {GRID}, {COARSE} without strata"
    )
    parser.add_argument(
        "--strata",
        type=int,
        metavar="N",
        help=f"steps drawn per curve; 0 evaluates the whole grid; default: {STRATA} from {MANY} images on, else 0",
    )
    parser.add_argument("--alpha", type=float, default=0.05, help="chance that any verdict is wrong; default: 0.05")
    parser.add_argument(
        "--margin", type=float, default=0.0, help="differences that do not matter; default: 0, no pair is called equivalent early"
    )
    parser.add_argument(
        "--budget", type=positive, metavar="N", help="masked inputs at most; default: until all pairs are decided"
    )
    parser.add_argument(
        "--round",
        type=positive,
        default=ROUND,
        metavar="N",
        help=f"images between two interim analyses, 8 for each process; default: {ROUND}",
    )
    parser.add_argument(
        "--out", metavar="FOLDER", help="keep finished rounds there: after a kill the same command goes on behind them"
    )
    parser.add_argument("--json", metavar="FILE", help="also write all verdicts there")


def run(options: argparse.Namespace) -> CommandResult:
    """Ranks, and says what it took."""
    known("--metric", [options.metric] if ":" not in options.metric else [], METRICS)
    model = checked_model(options)
    data = load_data(options.data, model, limit=options.limit, target=options.target, seed=options.seed)
    infill = infill_by_name(options.infill, model.preprocessing, options.seed)
    strata = _strata(options, len(data.samples))
    if options.steps is None:
        options.steps = GRID if strata else COARSE
    shared = SharedOptions(infill, options.steps, options.score, options.seed, options.max_batch or BATCH)
    (metric,) = chosen_metrics([options.metric], data, model.preprocessing, shared)
    methods = chosen_methods(
        options.methods, model, shared, controls=False, sampling=Sampling(options.samples, data.reference_images)
    )
    written = None if options.json is None else file_place("--json", options.json)
    metric = _drawn(metric, options, strata)
    with process_group() as first:
        result = _ranked(options, model, data, methods, metric)
    if not first:
        return CommandResult("")
    if written is not None:
        content = json.dumps(asdict(result) | {"guarantee": result.guarantee}, indent=1) + "\n"
        with writing("--json", f"The verdicts are:\n{result}"):
            write_whole(written, content.encode())
    if not _has_curve(metric):
        return CommandResult(str(result))
    drawn = strata if isinstance(metric.sampling, StratifiedSteps) else 0
    return CommandResult(f"{result}\n{_otherwise(drawn, options.steps)}")


def _ranked(
    options: argparse.Namespace, model: CommandModel, data: Data, methods: Mapping[str, Method], metric: MapMetric | ModelMetric
) -> Ranking:
    device = model.device
    engine = {} if options.max_batch is None else {"max_batch": options.max_batch}
    try:
        batch = SampleReader("--data", data.samples).read(0, len(data.samples))
        target = data.targets(batch)
        further: dict[str, Any] = {}
        if metric.info.needs == "truth" and batch.truth is not None:
            further["truth"] = batch.truth.to(device)
        return rank_methods(
            model.forward,
            batch.inputs.to(device),
            target,
            methods,
            metric,
            alpha=options.alpha,
            margin=options.margin,
            budget=options.budget,
            round_size=options.round,
            seed=options.seed,
            engine=Engine(model.forward, **engine),
            out=options.out,
            **further,
        )
    except (TypeError, ValueError) as error:
        refuse(f"rank: {in_options(error, _OPTIONS)}")
    except OtherProcessFailed as error:
        raise CommandError(f"rank: {error}. {_again(options.out)}", FAILED) from error
    except OSError as error:
        raise CommandError(f"rank: {reason(error)}. {_again(options.out)}", FAILED) from error
    except KeyboardInterrupt:
        raise CommandError(f"rank: interrupted. {_again(options.out)}", INTERRUPTED) from None


def _again(out: str | None) -> str:
    if out is None:
        return "Nothing was kept: give a folder with --out next time"
    return f"Finished rounds are kept in {out}: give the same command again, and they are not evaluated again"


def _strata(options: argparse.Namespace, images: int) -> int:
    """Steps drawn per curve: as given, else by the number of images."""
    if options.strata is not None:
        return int(options.strata)
    return min(STRATA, (options.steps or GRID) - 1) if images >= MANY else 0


def _otherwise(strata: int, steps: int) -> str:
    """What was chosen, and what the other choice would do."""
    if strata:
        other = f"--strata 0 --steps {COARSE} would evaluate each image once, without sampling error after all of them"
        return f"Curves: {strata} drawn steps of a grid of {steps}, images drawn with replacement; {other}."
    other = f"--strata {STRATA} --steps {GRID} would estimate a finer grid without bias, which is meant for {MANY} images or more"
    return f"Curves: all {steps} steps, each image once; {other}."


def _drawn(metric: MapMetric | ModelMetric, options: argparse.Namespace, strata: int) -> MapMetric | ModelMetric:
    """The metric with steps drawn per image, where its curve takes them and --strata is not 0."""
    if not strata:
        return metric
    try:
        steps = StratifiedSteps(strata, options.steps, options.seed)
    except ValueError as error:
        refuse(f"--strata: {error}")
    try:
        if _has_curve(metric):
            return metric.with_sampling(steps)
    except (TypeError, ValueError):  # its curve takes no drawn steps
        pass
    if options.strata:
        refuse(f"--strata: {options.metric} has no curve whose area is estimated from drawn steps; leave it out")
    return metric


def _has_curve(metric: MapMetric | ModelMetric) -> TypeGuard[ModelMetric]:
    return isinstance(metric, ModelMetric) and metric.sampling is not None
