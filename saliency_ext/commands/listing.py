"""`saliency-ext list`: every method, metric, infill and preset by name."""

import argparse
from collections.abc import Iterable

from ..attribution.registry import METHODS
from ..infill.registry import infill_summaries
from ..metrics.presets import PRESETS
from ..metrics.registry import METRICS
from ._choices import PRESET, TRUTH
from ._command_result import CommandResult
from ._methods import ALL

_NEEDS = {"truth": " (needs known truth)", "method": " (calls the method on further inputs)", "": ""}


def run(options: argparse.Namespace) -> CommandResult:
    """The names, with a line each."""
    methods = ((name, METHODS.made_by("list", "names", name)[0].info.cost, text) for name, text in METHODS.summaries().items())
    metrics = ((name, kind.info.role, _sentence(kind.info.meaning) + _NEEDS[kind.info.needs]) for name, kind in METRICS.items())
    infills = ((name, "", text) for name, text in infill_summaries().items())
    presets = ((f"{PRESET}{name}", "", _sentence(function.__doc__ or "")) for name, function in PRESETS.items())
    parts = [
        _part("METHODS (--methods), with the cost per image: F forwards, B backwards, T targets", methods),
        _part("METRICS (--metrics), with their role: only order and truth decide which method leads", metrics),
        _part("PRESETS (--metrics), metrics with the choices of published code", presets),
        _part("INFILLS (--infill): what a removed pixel becomes", infills),
        f"{ALL} in --methods stands for every method, {TRUTH} in --metrics for every metric that needs known truth.\n"
        "NAME_random_weights is a method on a model with random weights.\n"
        "NAME_target_minus_distractor is a metric with a truth, on the target object minus the distractor.",
    ]
    return CommandResult("\n\n".join(parts))


def _part(title: str, rows: Iterable[tuple[str, str, str]]) -> str:
    result = list(rows)
    wide = [max(len(row[column]) for row in result) for column in (0, 1)]
    lines = [
        "  ".join((f"  {name:<{wide[0]}}", *([f"{middle:<{wide[1]}}"] if wide[1] else []), text)) for name, middle, text in result
    ]
    return "\n".join([title, *lines])


def _sentence(text: str) -> str:
    """The first sentence."""
    line = " ".join(text.split())
    ends = [place for mark in (". ", "? ", ": ") if (place := line.find(mark)) > 0]
    return line[: min(ends) + 1].rstrip(":") if ends else line
