"""The argument parser of all commands."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

from .. import __version__
from ..disambiguation.rules import PRESETS as RULES
from ..infill.registry import infill_summaries
from ..perturbation.outputs import SCORES
from . import bench, compare, disambiguate, evaluate, explain, listing, study, truth
from ._arguments import count, names, positive, seed, side
from ._choices import DEFAULT_METRICS, TRUTH_METRICS
from ._command_result import EXIT_CODES, CommandResult
from ._data import SCENES
from ._methods import default_methods
from ._shared_options import BATCH
from ._stopping import add_stop
from .rank import add_rank

Command = Callable[[argparse.Namespace], CommandResult]

_EVALUATE = f"""\
Which saliency method should I trust on my model, and how sure are we?

Without options: the scenes and the net that come with the library, whose truth is known. Then your own model:

  saliency-ext evaluate
  saliency-ext evaluate --model torchvision:resnet18 --data photos --limit 50
  saliency-ext evaluate --model python:mynet:load --data photos --size 128 --mean 0.5 --std 0.25
  saliency-ext evaluate --model transformers:./vit --data photos --methods gradient,rise --out report-vit

The folder given with --out then holds index.html (open it in a browser), results.parquet (every value of every image) and
what is needed to go on after an interruption. Under torchrun the images are shared among the processes.

A run can stop early: as soon as methods are distinguishable, or when a budget is spent. The report then says so:

  saliency-ext evaluate --until-separated --margin 0.02
  saliency-ext evaluate --model torchvision:resnet18 --data photos --until-separated --budget 200000

{EXIT_CODES}"""
_EXPLAIN = f"""\
The maps of the chosen methods for one image, side by side in one PNG.

  saliency-ext explain
  saliency-ext explain cat.jpg --model torchvision:resnet18 --methods grad_cam,integrated_gradients --out cat-maps.png

{EXIT_CODES}"""
_COMPARE = f"""\
What changed from one finished run to another, image by image, with intervals. For CI:

  saliency-ext compare report-main report-branch --fail-if worse
  saliency-ext compare old new --fail-if "grad_cam.fidelity.change < -0.02" --fail-if "*.deletion.second > 0.3"

{EXIT_CODES}"""

_TRUTH = f"""\
How well does each method find the ground truth, and do perturbation metrics rank the methods equally? Reads a finished run
with both kinds of metrics:

  saliency-ext evaluate --methods all --samples 200 --metrics fidelity,truth --out truth-run
  saliency-ext truth truth-run

Target minus distractor: the score on the target object minus that on the other one; 0 for a map that finds objects but is
not class-specific.

{EXIT_CODES}"""
_DISAMBIGUATE = f"""\
Are two of a model's top labels two things in the picture, or two names of one? Every pair gets a verdict: distinct, shared, both
or undecided; and where it is settled a proof that anyone can check with `verify`, with a picture of its regions.

  saliency-ext disambiguate
  saliency-ext disambiguate spider.jpg --top 5 --model torchvision:resnet18 --out spider

A proof says what THIS model does with these regions removed. "undecided" does not mean one thing.

{EXIT_CODES}"""
_VERIFY = f"""\
Checks a proof of `disambiguate` on the model, in at most two forward passes. Refused for another model or picture.

  saliency-ext verify pairs/proof-distinct-3-8.json
  saliency-ext verify spider/proof-distinct-72-74.json spider.jpg --model torchvision:resnet18

{EXIT_CODES}"""


# In place of a list of all options, which would bury an error.
_USAGE = {"evaluate": "[OPTION ...]     (--help lists them)", "explain": "[IMAGE] [OPTION ...]     (--help lists them)"}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The parsed arguments, with the command's function as `run`, where it has one; what is unknown goes to the benches alone."""
    whole = parser()
    options, words = whole.parse_known_args(arguments)
    if words and options.command != "bench":
        whole.error(f"unrecognized arguments: {' '.join(words)}")
    for name, value in vars(options).items():  # an unset variable of a shell, which must not become the current folder
        if isinstance(value, str) and (not value.strip() or "\0" in value):
            whole.error(f"argument {name.replace('_', '-')}: expected a value, got {value!r}")
    options.words = words
    return options


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    whole = argparse.ArgumentParser(
        prog="saliency-ext",
        description="Saliency maps and saliency metrics for PyTorch models.",
        epilog=EXIT_CODES,
        formatter_class=_Plain,
    )
    whole.add_argument("--version", action="version", version=f"saliency_ext {__version__}")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _evaluate(_command(commands, "evaluate", "judge methods on a model and images; writes a report", _EVALUATE, evaluate.run))
    _explain(_command(commands, "explain", "maps of one image as one picture", _EXPLAIN, explain.run))
    compared = _command(commands, "compare", "what changed between two runs; can fail a build", _COMPARE, compare.run)
    compared.add_argument("first", help="folder of a finished run")
    compared.add_argument("second", help="folder of another one")
    compared.add_argument(
        "--fail-if", action="append", metavar="CONDITION", help="exit with 1 if it holds: 'worse', or MAP.METRIC.FIELD < NUMBER, "
        "FIELD one of first, second, change, change_low, change_high; may be given several times"
    )  # fmt: skip
    known = _command(commands, "truth", "each method against known truth, from a run", _TRUTH, truth.run)
    known.add_argument("run_folder", metavar="RUN", help="folder of a finished run")
    known.add_argument("--json", metavar="FILE", help="also write all numbers there")
    known.add_argument("--readme", metavar="FILE", help="also put the tables there, between <!-- truth:begin --> and its end")
    _study(_command(commands, "study", "do infills or hyper-parameters matter; writes a report", study.TEXT, study.run))
    add_rank(partial(_command, commands), (_model, _methods), positive, SCORES)
    short = "top labels of an image: one thing or two, with proofs"
    _disambiguate(_command(commands, "disambiguate", short, _DISAMBIGUATE, disambiguate.run))
    _verify(_command(commands, "verify", "check a proof of disambiguate on the model", _VERIFY, disambiguate.verify_proof))
    _command(commands, "list", "names of all methods, metrics, presets and infills", "", listing.run)
    commands.add_parser("demo", help="score one deletion curve of a shipped picture, in the terminal")
    commands.add_parser("doctor", help="say what is installed, which backend serves each op, and what is missing")
    commands.add_parser("info", help="print how the native library was built")
    text = "Times the kernels against baselines, in a checkout. Options are those of `python -m bench`, for example --quick."
    _command(commands, "bench", "time the kernels against baselines (in a checkout)", text, bench.run)
    return whole


class _Plain(argparse.RawDescriptionHelpFormatter):
    """Help texts as they are written."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=110)


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, short: str, text: str, run: Command
) -> argparse.ArgumentParser:
    words = _USAGE.get(name, "")
    usage = f"saliency-ext {name} {words}" if words else None
    parser = commands.add_parser(name, usage=usage, help=short, description=text or short, formatter_class=_Plain)
    parser.set_defaults(run=run)
    return parser


def _model(command: argparse.ArgumentParser) -> None:
    """Options of the model and its inputs."""
    group = command.add_argument_group("model")
    group.add_argument(
        "--model", default="testbed", metavar="MODEL", help="testbed (default), testbed:transformer, transformers:FOLDER, "
        "timm:NAME, torchvision:NAME, or python:MODULE:FUNCTION, a function that returns a torch.nn.Module with logits (N, K)"
    )  # fmt: skip
    group.add_argument("--device", help="cpu, cuda, cuda:1, ...; default: cuda where there is one")
    group.add_argument("--size", type=side, help="side of the model's inputs in pixels; default: what the model says, else 224")
    group.add_argument("--mean", help="for normalisation, one number or three: 0.485,0.456,0.406; default: what the model says")
    group.add_argument("--std", help="likewise")
    group.add_argument(
        "--max-batch", type=positive, metavar="N", help=f"images per forward; default: {BATCH}, but for the metrics of "
        "evaluate and rank what fits into the budget, measured"
    )  # fmt: skip


def _methods(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--methods",
        type=names,
        metavar="A,B,...",
        help=f"names from `saliency-ext list`, or all; default: {','.join(default_methods())}",
    )
    command.add_argument(
        "--samples", type=positive, metavar="N", help="at most N draws per image, for methods that draw (rise, lime, "
        "kernel_shap, expected_gradients, smooth_grad and kin); default: each method's own, rise 4000"
    )  # fmt: skip
    command.add_argument(
        "--infill",
        default="dataset_mean",
        metavar="NAME",
        help=f"what a removed pixel becomes: {', '.join(infill_summaries())}; default: dataset_mean",
    )
    command.add_argument("--seed", type=seed, default=0, help="of all random draws; default: 0")


def _evaluate(command: argparse.ArgumentParser) -> None:
    _model(command)
    requested = command.add_argument_group("what is judged, on what")
    requested.add_argument(
        "--data", metavar="FOLDER", help="images, also in folders below; default with --model testbed: its scenes"
    )
    requested.add_argument(
        "--limit", type=positive, metavar="N", help=f"at most N images, evenly over the folder; default: all, or {SCENES} scenes"
    )
    requested.add_argument(
        "--target",
        help="the class that is explained: predicted (default), a number, or folder (the name of the picture's folder)",
    )
    _methods(requested)  # type: ignore[arg-type]  # a group has the same add_argument
    usual = f"{','.join(DEFAULT_METRICS)}, and where the truth is known {','.join(TRUTH_METRICS)}"
    requested.add_argument("--metrics", type=names, metavar="A,B,...", help=f"names from `saliency-ext list`; default: {usual}")
    requested.add_argument("--steps", type=positive, default=20, metavar="N", help="steps of a curve; default: 20")
    requested.add_argument("--score", choices=SCORES, default="probability", help="what a curve shows; default: probability")
    requested.add_argument(
        "--no-controls", action="store_true", help="leave out random, centre, edge, grey level and random weights"
    )
    add_stop(command, positive)
    kept = command.add_argument_group("the run")
    kept.add_argument("--out", default="report", metavar="FOLDER", help="where to; default: report")
    kept.add_argument("--resume", action="store_true", help="go on with the run in that folder; refuse to begin another")
    kept.add_argument("--force-new-run", action="store_true", help="drop another run that is in that folder")
    kept.add_argument(
        "--memory-budget", type=evaluate.memory, default=2**30, metavar="BYTES", help="for a forward, as 512M or 2G; default: 1G"
    )
    kept.add_argument("--pictures", type=count, default=4, metavar="N", help="images shown with their maps; default: 4")
    kept.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _explain(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", metavar="FOLDER", help="images that stand for the data, for expected_gradients alone")
    command.add_argument("image", nargs="?", help="a picture; default with --model testbed: one of its scenes")
    _model(command)
    _methods(command)
    command.add_argument("--target", default="predicted", help="the class that is explained: predicted, a number or a name")
    command.add_argument("--out", default="maps.png", metavar="FILE", help="default: maps.png")


def _study(command: argparse.ArgumentParser) -> None:
    command.add_argument("question", choices=tuple(study.QUESTIONS), help="which choices are varied")
    _model(command)
    command.add_argument("--data", metavar="FOLDER", help="images; default with --model testbed: its scenes")
    command.add_argument("--limit", type=positive, default=study.IMAGES, metavar="N", help=f"images; default: {study.IMAGES}")
    command.add_argument("--target", help="as for evaluate")
    command.add_argument(
        "--infills", type=names, default=list(study.INFILL_NAMES), metavar="A,B,...",
        help=f"names from `saliency-ext list`, or learned; the first is that of the hyper-parameters; default: "
        f"{','.join(study.INFILL_NAMES)}",
    )  # fmt: skip
    command.add_argument("--methods", type=names, default=list(study.OTHERS), metavar="A,B,...", help="ranked besides; default: "
                         + ",".join(study.OTHERS))  # fmt: skip
    command.add_argument("--masks", type=positive, default=study.MASKS, metavar="N", help=f"of RISE; default: {study.MASKS}")
    command.add_argument("--steps", type=positive, default=10, metavar="N", help="steps of a curve; default: 10")
    command.add_argument("--score", choices=SCORES, default="probability", help="what a curve shows; default: probability")
    command.add_argument("--seed", type=seed, default=0, help="of all random draws; default: 0")
    command.add_argument("--out", default="study", metavar="FOLDER", help="where to; default: study")


def _disambiguate(command: argparse.ArgumentParser) -> None:
    command.add_argument("image", nargs="?", help="a picture; default with --model testbed: one of its scenes")
    _model(command)
    command.add_argument("--top", type=int, default=5, metavar="K", help="how many labels, >= 2; default: 5")
    command.add_argument("--cells", type=int, default=8, metavar="N", help="the image is cut into N x N segments; default: 8")
    command.add_argument(
        "--masks", metavar="FOLDER", help="segments from a Segment Anything model of transformers in this folder, not cells"
    )  # fmt: skip
    command.add_argument("--rules", choices=tuple(RULES), default="default", help="published thresholds, or ours (default)")
    infills = ", ".join(infill_summaries())
    command.add_argument(
        "--infill", default="dataset_mean", metavar="NAME", help=f"what is removed becomes: {infills}; default: dataset_mean"
    )
    command.add_argument(
        "--others", nargs="*", default=["blur", "gaussian_noise"], metavar="NAME", help="infills under which each proof is tried "
        "again; one that holds under any is robust; default: blur gaussian_noise"
    )  # fmt: skip
    command.add_argument("--seed", type=seed, default=0, help="of noise and of the scene; default: 0")
    command.add_argument("--out", default="pairs", metavar="FOLDER", help="for proofs and pictures; default: pairs")


def _verify(command: argparse.ArgumentParser) -> None:
    command.add_argument("proof", help="a file that disambiguate wrote")
    command.add_argument("image", nargs="?", help="the picture; default with --model testbed: its scene")
    _model(command)
    command.add_argument("--seed", type=seed, default=0, help="of the scene; default: 0")
