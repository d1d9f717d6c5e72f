"""`saliency-ext truth`: how well each method finds the ground truth, and whether perturbation metrics rank methods equally."""

import argparse
import json
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .._atomic_io import write_whole
from ..evaluation.results import Results
from ..metrics.target_minus_distractor import SUFFIX as TARGET_MINUS_DISTRACTOR
from ..report._ranking_significance import can_be_ranked
from ..stats.kendall import tau_interval
from ..study.reader import read_results, read_run
from ._command_result import CommandError, CommandResult, refuse
from ._output_paths import file_place, writing

MARKS = ("<!-- truth:begin -->", "<!-- truth:end -->")


def run(options: argparse.Namespace) -> CommandResult:
    """Reads a finished run, prints its table, and writes JSON and the table of a README where options name them."""
    try:
        results, record = read_results(options.run_folder), read_run(options.run_folder)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise CommandError(f"truth: {options.run_folder}: {error}") from error
    content = gathered(results, record)
    written = []
    if options.json:
        place = file_place("--json", options.json)
        with writing("--json"):
            write_whole(place, (json.dumps(content, indent=1) + "\n").encode())
        written.append(f"Written: {options.json}")
    if options.readme:
        _rewrite(Path(options.readme), content)
        written.append(f"Written: the table in {options.readme}")
    return CommandResult("\n".join([as_text(content), *(["", *written] if written else [])]))


def gathered(results: Results, record: dict[str, Any]) -> dict[str, Any]:
    """All numbers as JSON takes them: means with intervals per map and metric, and the agreement of rankings; None for NaN."""
    metrics = {metric: results[name, metric].info for name, metric in results}
    truths = [name for name, info in metrics.items() if info.role == "truth"]
    orders = [name for name, info in metrics.items() if info.role == "order" and info.sign != 0]
    if not truths or not orders:
        refuse(
            "truth: expected a run with metrics that know the truth and metrics that remove pixels, got "
            f"{', '.join(metrics)}; saliency-ext evaluate --metrics fidelity,truth"
        )
    maps = list(dict.fromkeys(name for name, _ in results))
    controls = [name for name in maps if record["about"]["methods"][name]["family"] == "control"]
    methods = [name for name in maps if name not in controls]
    made = record["fingerprint"]
    result: dict[str, Any] = {
        "library": made["library"],
        "model": made["model"],
        "images": made["inputs"]["samples"],
        "data": made["inputs"]["content"] if isinstance(made["inputs"]["content"], str) else "pictures",
        "steps": {name: made["metrics"][name].get("schedule", {}).get("steps") for name in orders},
        "draws": {name: count for name in methods if (count := _draws(made["maps"][name]))},
        "metrics": orders + truths,
        "target_minus_distractor": [name for name in truths if metrics[name].name.endswith(TARGET_MINUS_DISTRACTOR)],
        "maps": {
            name: {"control": name in controls} | {metric: _summary(results, name, metric) for metric in orders + truths}
            for name in methods + controls
        },
        "agreement": {
            order: {truth: asdict(tau_interval(*_ranked(results, methods, order, truth))) for truth in truths} for order in orders
        },
    }
    plain: dict[str, Any] = _without_nan(result)
    return plain


def _summary(results: Results, name: str, metric: str) -> dict[str, float]:
    result = results.summary(name, metric)
    return {"mean": result.mean, "low": result.low, "high": result.high, "images": result.images}


def _ranked(results: Results, methods: list[str], *metrics: str) -> tuple[torch.Tensor, ...]:
    """Values (n, M) of the methods that have enough under all metrics, larger = better."""
    result = {name: [results[name, metric] for metric in metrics] for name in methods}
    enough = [name for name, rows in result.items() if all(map(can_be_ranked, rows))]
    tables = []
    for place in range(len(metrics)):
        columns = [result[name][place] for name in enough]
        values = [torch.where(each.valid, each.values.double(), math.nan) * each.info.sign for each in columns]
        tables.append(torch.stack(values, 1) if values else torch.empty(0, 0))
    return tuple(tables)


def _draws(made: dict[str, Any]) -> int | None:
    """Of a method that draws: how often per image."""
    return next((made[name] for name in ("masks", "samples") if isinstance(made.get(name), int)), None)


def as_text(content: dict[str, Any]) -> str:
    """Two tables for a terminal."""
    tables = []
    for rows in (_map_rows(content), _agreement_rows(content)):
        wide = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        tables.append(
            "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, wide, strict=True)).rstrip() for row in rows)
        )
    return "\n\n".join(
        [tables[0], "Kendall's tau between rankings of the methods, with its 95 % interval over images:", tables[1]]
    )


def as_markdown(content: dict[str, Any]) -> str:
    """The same for a README, with what it was measured on."""
    draws = ", ".join(f"{name} {count}" for name, count in content["draws"].items())
    steps = ", ".join(f"{name} {count}" for name, count in content["steps"].items() if count)
    heading = [f"{content['images']} scenes ({content['data']}); means, with 95 % intervals of own minus other."]
    heading += [f"{what}: {numbers}." for what, numbers in (("Steps of a curve", steps), ("Draws per image", draws)) if numbers]
    lines = [" ".join(heading), ""]
    for rows in (_map_rows(content), _agreement_rows(content)):
        lines += [f"| {' | '.join(rows[0])} |", "|---" * len(rows[0]) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in rows[1:]] + [""]
    return "\n".join(lines[:-1])


def _map_rows(content: dict[str, Any]) -> list[list[str]]:
    rows = [["map", *(_heading(metric) for metric in content["metrics"])]]
    for name, result in content["maps"].items():
        cells = [
            _cell(result[metric], metric in content["target_minus_distractor"], content["images"])
            for metric in content["metrics"]
        ]
        rows.append([f"{name} (control)" if result["control"] else name, *cells])
    return rows


def _heading(metric: str) -> str:
    return metric.replace(TARGET_MINUS_DISTRACTOR, ": own - other").replace("_", " ")


def _cell(found: dict[str, Any], spread: bool, images: int) -> str:
    if found["images"] == 0:
        return "none"
    text = f"{found['mean']:.3f}" + (f" [{found['low']:.3f}, {found['high']:.3f}]" if spread and found["low"] is not None else "")
    few = f"{found['images']} image{'' if found['images'] == 1 else 's'}"
    return text if found["images"] == images else f"{text} ({few})"


def _agreement_rows(content: dict[str, Any]) -> list[list[str]]:
    rows = [["rankings of the methods by", "and by", "Kendall's tau", "methods"]]
    for order, row in content["agreement"].items():
        for truth, result in row.items():
            text = "none" if result["tau"] is None else f"{result['tau']:+.2f}"
            text += "" if result["low"] is None else f" [{result['low']:+.2f}, {result['high']:+.2f}]"
            rows.append([_heading(order), _heading(truth), text, str(result["methods"])])
    return rows


def _rewrite(path: Path, content: dict[str, Any]) -> None:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"--readme: {error}") from error
    begin, end = MARKS
    if text.count(begin) != 1 or text.count(end) != 1:
        refuse(f"--readme: expected the marks {begin} and {end} once each in {path}")
    with writing("--readme"):
        write_whole(path, rewritten(text, content).encode())


def rewritten(text: str, content: dict[str, Any]) -> str:
    """A text with the tables between the marks replaced."""
    begin, end = MARKS
    return re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n{as_markdown(content)}\n{end}", text, flags=re.DOTALL)


def _without_nan(value: Any) -> Any:
    """NaN as null, as JSON has none; numbers rounded to what is read."""
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value
