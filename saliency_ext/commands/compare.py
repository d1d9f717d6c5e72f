"""`saliency-ext compare`: differences between two runs, with conditions that fail a build."""

import argparse
from pathlib import Path

import torch

from ..evaluation.results import Results
from ..metrics.result import MetricResult
from ..report.data import CONTROL
from ..stats.intervals import Summary, summarise
from ..study._fingerprint import differences, listed
from ..study.reader import read_results, read_run, read_table
from ._command_result import CONDITION, DONE, MISSING, CommandError, CommandResult, refuse
from ._condition import TOO_FEW, ComparisonRow, failures, parse_condition


def run(options: argparse.Namespace) -> CommandResult:
    """Compares two finished runs, image by image where they have the same images."""
    conditions = [parse_condition(text) for text in options.fail_if or ()]
    first, second = (_Run.read(folder) for folder in (options.first, options.second))
    both = _places(first.samples, second.samples)
    pairs = [pair for pair in first.results if pair in second.results]
    if not pairs:
        refuse("compare: the two runs have no map and metric in common")
    controls = first.controls | second.controls
    rows = [_row(*pair, first.results[pair], second.results[pair], both, pair[0] in controls) for pair in pairs]
    lines = [_heading(first, second, both), "", _table(rows)]
    lines += _only(first, second)
    failed, missing = failures(conditions, rows)
    for heading, result in (("Failed:", failed), ("Values are missing, so this cannot be judged:", missing)):
        lines += ["", heading, *(f"  {line}" for line in result)] if result else []
    return CommandResult("\n".join(lines), CONDITION if failed else MISSING if missing else DONE)


def _only(first: "_Run", second: "_Run") -> list[str]:
    """Maps and metrics that one run alone has."""
    lines = []
    for what, place in (("maps", 0), ("metrics", 1)):
        names = [list(dict.fromkeys(pair[place] for pair in run.results)) for run in (first, second)]
        alone = [name for name in dict.fromkeys(names[0] + names[1]) if not (name in names[0] and name in names[1])]
        lines += ["", f"In one run only, {what}: {', '.join(alone)}"] if alone else []
    return lines


class _Run:
    """A finished run: its results, what it was, and its samples as (id, name)."""

    def __init__(self, folder: Path, results: Results, record: dict[str, object], samples: list[tuple[int, str]]) -> None:
        self.folder, self.results, self.record, self.samples = folder, results, record, samples

    @property
    def controls(self) -> set[str]:
        """Names of the maps that know nothing of the model."""
        return {name for name, info in self.results.methods.items() if info.family == CONTROL}

    @staticmethod
    def read(folder: str) -> "_Run":
        try:
            results = read_results(folder)
            table = read_table(folder)
            ids, names = (table[column].to_pylist()[:: max(len(results), 1)] for column in ("sample", "name"))
            return _Run(Path(folder), results, read_run(folder)["fingerprint"], list(zip(ids, names, strict=True)))
        except (ValueError, OSError, ModuleNotFoundError) as error:
            raise CommandError(f"compare: {folder}: {error}") from error


def _places(first: list[tuple[int, str]], second: list[tuple[int, str]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Places in both runs of the samples that both have."""
    where = {sample: place for place, sample in enumerate(second)}
    shared = [(place, where[sample]) for place, sample in enumerate(first) if sample in where]
    places = torch.tensor(shared, dtype=torch.int64).view(-1, 2)
    return places[:, 0], places[:, 1]


def _row(
    name: str,
    metric: str,
    first: MetricResult,
    second: MetricResult,
    both: tuple[torch.Tensor, torch.Tensor],
    control: bool,
) -> ComparisonRow:
    a, b = first.values[both[0]], second.values[both[1]]
    valid = first.valid[both[0]] & second.valid[both[1]]
    change = summarise((b - a)[valid], len(a))
    means = [float(values[valid].mean()) if bool(valid.any()) else float("nan") for values in (a, b)]
    numbers = {"first": means[0], "second": means[1], "change": change.mean, "change_low": change.low, "change_high": change.high}
    lost = int((first.valid[both[0]] & ~second.valid[both[1]]).sum())
    return ComparisonRow(name, metric, numbers, _verdict(change, first.info.sign), control, lost)


def _verdict(change: Summary, sign: int) -> str:
    if change.too_few:
        return TOO_FEW
    if not (change.low > 0 or change.high < 0):
        return "not distinguishable"
    if sign == 0:
        return "changed"
    return "better" if sign * change.mean > 0 else "worse"


def _heading(first: _Run, second: _Run, both: tuple[torch.Tensor, torch.Tensor]) -> str:
    shared = len(both[0])
    if shared == 0:
        refuse("compare: the two runs have no image in common, so nothing can be compared image by image")
    text = f"{first.folder} -> {second.folder}: {shared} images in both, compared image by image."
    text = "\n".join([text, *(line for run in (first, second) if (line := _stop(run)))])
    changed = differences(first.record, second.record)
    return f"{text}\nWhat differs: {listed(changed) if changed else 'nothing; these are the same run'}"


def _stop(run: _Run) -> str:
    """What a reader must know of a run that stopped early; "" of any other."""
    result = run.results.stopped
    if result is None or not result.early:
        return ""
    text = f"{run.folder} stopped after {result.images} of {result.population} images, a random sample of them."
    return text if result.metric is None else f"{text} Its values decided when: intervals do not allow for that."


def _table(rows: list[ComparisonRow]) -> str:
    wide = max(len(row.map) for row in rows), max(len(row.metric) for row in rows)
    lines = [
        f"{'map':<{wide[0]}}  {'metric':<{wide[1]}}  {'first':>8}  {'second':>8}  {'change':>8}  {'95 % interval':<20}  verdict"
    ]
    for row in rows:
        n = row.numbers
        interval = "" if row.verdict == TOO_FEW else f"[{n['change_low']:+.4f}, {n['change_high']:+.4f}]"
        lines.append(
            f"{row.map:<{wide[0]}}  {row.metric:<{wide[1]}}  {n['first']:>8.4f}  {n['second']:>8.4f}  {n['change']:>+8.4f}  "
            f"{interval:<20}  {row.verdict}"
        )
    lines += [
        "",
        "Each interval is for its own row: of many rows some exclude 0 by chance, one in twenty if changes are mere noise.",
    ]
    return "\n".join(lines)
