"""`saliency-ext evaluate`: evaluates methods on metrics and images into a folder, with a report."""

import argparse
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..attribution.base import Method
from ..evaluation.results import Results
from ..report import Example
from ..report._verdict import verdict
from ..report.from_study import PAGE, study_data
from ..report.write import write_page
from ..study.study import Study
from ._checked_model import checked_model
from ._choices import chosen_metrics, infill_by_name
from ._command_result import (
    FAILED,
    INTERRUPTED,
    USAGE,
    CommandError,
    CommandResult,
    Option,
    in_one_line,
    in_options,
    raised_in,
    refuse,
)
from ._data import Data, load_data
from ._methods import Sampling, chosen_methods
from ._models import TESTBED, CommandModel
from ._output_paths import reason, writing
from ._preprocessing import seen
from ._progress import ProgressLine
from ._required_packages import RUN, require_packages
from ._required_packages import TESTBED as TESTBED_PACKAGES
from ._shared_options import BATCH, SharedOptions
from ._stopping import stop_rule
from ._torchrun import place_among_all

_OPTIONS = {
    ("Study", "out"): Option("--out", "give another folder, or what it was, or drop what is there with --force-new-run"),
    ("Study.resume", "out"): Option("--out", "leave out --resume to start one"),
    ("StopRule", "bounds"): Option(None, "name another metric after --until-separated"),
    ("StopRule", "separated"): Option("--until-separated"),
    ("StopRule", "budget"): Option("--budget", "allow more, or lower --max-batch"),
}


def run(options: argparse.Namespace) -> CommandResult:
    """Runs the study, or goes on with it, and writes the report."""
    require_packages("evaluate", (*RUN, *TESTBED_PACKAGES) if options.model.startswith(TESTBED) else RUN)
    model = checked_model(options)
    data = load_data(options.data, model, limit=options.limit, target=options.target, seed=options.seed)
    infill = infill_by_name(options.infill, model.preprocessing, options.seed)
    shared = SharedOptions(infill, options.steps, options.score, options.seed, options.max_batch or BATCH)
    sampling = Sampling(options.samples, data.reference_images)
    methods = chosen_methods(options.methods, model, shared, controls=not options.no_controls, sampling=sampling)
    metrics = chosen_metrics(options.metrics, data, model.preprocessing, shared)
    place = place_among_all()
    first = place[0] == 0
    line = ProgressLine(sys.stderr) if first and not options.quiet else None
    results = _studied(options, model, data, methods, metrics, line, place)
    if not first:
        return CommandResult("")
    examples = _examples(options.pictures, model, data, methods)
    shown = study_data(options.out, facts=_facts(options, model, data), examples=examples)
    with writing("evaluate", f"The results are kept in {options.out}. {_again('mend that, then ')}"):
        page = write_page(shown, Path(options.out) / PAGE)
    return CommandResult(f"{results}\n\n{verdict(shown).to_text()}\n\nReport: {page.resolve()}")


def _studied(
    options: argparse.Namespace,
    model: CommandModel,
    data: Data,
    methods: Mapping[str, Method],
    metrics: list[Any],
    line: ProgressLine | None,
    place: tuple[int, int],
) -> Results:
    engine: dict[str, Any] = {"memory_budget": options.memory_budget}
    if options.max_batch is not None:
        engine["max_batch"] = options.max_batch
    try:
        study = Study(
            model.forward,
            data.samples,
            data.target,
            methods,
            metrics,
            out=options.out,
            seed=options.seed,
            engine=engine,
            names=data.names,
            class_names=model.labels,
            identity=data.identity,
            controls=False,  # they are among the methods
            stop=stop_rule(options, metrics),
            rank=place[0],
            world=place[1],
            progress=line,
        )
        return study.resume() if options.resume else study.run(force_new_run=options.force_new_run)
    except KeyboardInterrupt:
        raise CommandError(f"interrupted; what is finished is kept in {options.out}. {_again('')}", INTERRUPTED) from None
    except OSError as error:
        raise CommandError(f"{reason(error)}. {_again('mend that, then ')}", FAILED) from error
    except (ValueError, TypeError, ModuleNotFoundError) as error:
        outside = raised_in(error)  # of the model, or of a package: no argument is wrong
        status = FAILED if outside or getattr(error, "__notes__", None) else USAGE  # noted: it stopped on its way
        text = f"could not finish: {in_one_line(error)}" if outside else in_options(error, _OPTIONS)
        raise CommandError(text, status) from error
    finally:
        if line is not None:
            line.close()


def _again(first: str) -> str:
    return f"To go on, {first}give the same command again with --resume: finished chunks are not evaluated again."


def _examples(count: int, model: CommandModel, data: Data, methods: Mapping[str, Method]) -> list[Example]:
    """The first images that can be read, with every map; a map that fails is left out."""
    result: list[Example] = []
    device = model.device
    for index in range(len(data.samples)):
        if len(result) == count:
            break
        try:
            item = data.samples[index]
            inputs, ids = item["image"][None].to(device), torch.tensor([index], device=device)
            with torch.no_grad():
                predicted = int(model.forward(inputs).argmax())
        except Exception:  # recorded by the study
            continue
        target = item.get("label", predicted) if isinstance(data.target, str) else data.target
        maps = {}
        for name, method in methods.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # said once, by the study
                try:
                    maps[name] = method(inputs, target, sample_ids=ids)[0].cpu()
                except Exception:  # recorded by the study
                    continue
        said = "" if predicted == target else f"; the model says {label(model, predicted)}"
        caption = f"{data.names[index]}. Explained: {label(model, target)}{said}"
        result.append(Example(caption, seen(item["image"], model.preprocessing), maps))
    return result


def label(model: CommandModel, number: int) -> str:
    """A class by its name, or its number."""
    return model.labels[number] if model.labels and number < len(model.labels) else f"class {number}"


def _facts(options: argparse.Namespace, model: CommandModel, data: Data) -> dict[str, str]:
    return {
        "model": model.spec,
        "images": data.about,
        "prepared": str(model.preprocessing),
        "target": {"given": "the label of each image", "predicted": "the class the model predicts"}.get(
            str(data.target), f"class {data.target}"
        ),
        "infill": options.infill,
        "steps": str(options.steps),
        "score": options.score,
        "seed": str(options.seed),
    }


def memory(text: str) -> int:
    """Bytes from "512M", "2G" or a number."""
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    number, unit = (text[:-1], units[text[-1].upper()]) if text[-1:].upper() in units else (text, 1)
    try:
        result = int(float(number) * unit)
    except (ValueError, OverflowError):
        result = 0
    if result < 1:
        refuse(f"--memory-budget: expected bytes, such as 512M or 2G, got {text!r}")
    return result
