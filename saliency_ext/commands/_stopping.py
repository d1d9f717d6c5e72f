"""Options of an evaluation that stops before all images are evaluated."""

import argparse
from collections.abc import Callable, Sequence

from ..metrics.base import MapMetric, ModelMetric
from ..study.stopping import StopRule
from ._command_result import Option, in_options, refuse

_ALPHA, _MARGIN = 0.05, 0.0
_DEFAULT = "fidelity"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}

_OPTIONS = {("StopRule", option): Option(f"--{option}") for option in ("alpha", "margin", "budget")}
_OPTIONS[("StopRule", "seconds")] = Option("--max-time")


def add_stop(command: argparse.ArgumentParser, positive: Callable[[str], int]) -> None:
    """Adds the options; positive reads a whole number."""
    group = command.add_argument_group("stop early, the images in random order; by default all images are evaluated")
    group.add_argument(
        "--until-separated", nargs="?", const=_DEFAULT, metavar="METRIC", help="when any two methods, and any method and "
        f"control, are distinguishable under a metric; default: {_DEFAULT}"
    )  # fmt: skip
    group.add_argument("--alpha", type=float, help=f"chance that any of these verdicts is wrong; default: {_ALPHA}")
    group.add_argument("--margin", type=float, help="differences that do not matter: pairs within it are equivalent; default: 0")
    group.add_argument("--budget", type=positive, metavar="N", help="after N masked inputs")
    group.add_argument("--max-time", type=seconds, metavar="TIME", help="after so much work of all processes, as 90s, 15m or 2h")


def stop_rule(options: argparse.Namespace, metrics: Sequence[MapMetric | ModelMetric]) -> StopRule | None:
    """The rule of a command's options, None where all images are to be evaluated."""
    metric = options.until_separated
    for name in ("alpha", "margin"):
        if metric is None and getattr(options, name) is not None:
            refuse(f"--{name}: expected beside --until-separated, got it alone; add that, or leave it out")
    if metric is None and options.budget is None and options.max_time is None:
        return None
    names = [each.info.name for each in metrics]
    if metric is not None and metric not in names:
        refuse(f"--until-separated: expected one of --metrics, {', '.join(names)}; got {metric}")
    alpha, margin = (value if given is None else given for value, given in ((_ALPHA, options.alpha), (_MARGIN, options.margin)))
    try:
        return StopRule(metric, alpha, margin, budget=options.budget, seconds=options.max_time)
    except (TypeError, ValueError) as error:
        refuse(in_options(error, _OPTIONS))


def seconds(text: str) -> float:
    """Seconds from "90s", "15m", "2h" or a number.

    Example:
        >>> seconds("90"), seconds("15m"), seconds("1.5h")
        (90.0, 900.0, 5400.0)
    """
    number, unit = (text[:-1], _UNITS[text[-1].lower()]) if text[-1:].lower() in _UNITS else (text, 1.0)
    try:
        result = float(number) * unit
    except ValueError:
        result = 0.0
    if not 0 < result < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a time, such as 90s, 15m or 2h, got {text!r}")
    return result
