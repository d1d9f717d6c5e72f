"""Conditions of `compare --fail-if`: a number of the comparison held against a limit."""

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .outcome import refuse

FIELDS = ("first", "second", "change", "change_low", "change_high")
WORSE = "worse"
TOO_FEW = "too few images"
_OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_FORM = re.compile(r"(?P<map>.+)\.(?P<metric>[^.\s]+)\.(?P<field>\w+)\s*(?P<sign><=|>=|<|>)\s*(?P<limit>[-+.\deE]+)")
_HELP = (
    f"expected {WORSE!r}, or MAP.METRIC.FIELD < NUMBER (also <=, >, >=; * for any map or metric) with FIELD one of "
    f"{', '.join(FIELDS)}; for example 'grad_cam.fidelity.change < -0.02'"
)


@dataclass(frozen=True)
class Row:
    """A map under a metric in two runs: means, the change from the first to the second with its interval, and what it means."""

    map: str
    metric: str
    numbers: Mapping[str, float]
    verdict: str  # "better", "worse", "not told apart", "too few images", or "changed" where no direction is better
    control: bool = False  # knows nothing of the model: what becomes of it fails nothing


@dataclass(frozen=True)
class Condition:
    """What makes a comparison fail."""

    text: str
    map: str
    metric: str
    field: str
    sign: str
    limit: float

    def holds(self, row: Row) -> bool:
        """Whether a row fails. Where a number is missing (NaN) nothing holds."""
        if self.map not in ("*", row.map) or self.metric not in ("*", row.metric):
            return False
        if self.field == WORSE:
            return row.verdict == WORSE
        return bool(_OPERATORS[self.sign](row.numbers[self.field], self.limit))


def parse_condition(text: str) -> Condition:
    """A condition from its text.

    Example:
        >>> parse_condition("*.fidelity.change < -0.02").limit
        -0.02
    """
    if text.strip() == WORSE:
        return Condition(text, "*", "*", WORSE, "", 0.0)
    found = _FORM.fullmatch(text.strip())
    if found is None or found["field"] not in FIELDS:
        refuse(f"--fail-if: {_HELP}; got {text!r}")
    try:
        limit = float(found["limit"])
    except ValueError:
        refuse(f"--fail-if: {_HELP}; got {text!r}")
    return Condition(text, found["map"], found["metric"], found["field"], found["sign"], limit)


def failures(conditions: Sequence[Condition], rows: Sequence[Row]) -> list[str]:
    """A line for each condition and row that fails; a condition that no row can meet is refused: it is a slip of the pen.

    Controls fail nothing: they know nothing of the model, so a change of theirs is none of the model's or of a method's.
    """
    lines = []
    for condition in conditions:
        about = [row for row in rows if condition.map in ("*", row.map) and condition.metric in ("*", row.metric)]
        if not about:
            known = ", ".join(f"{row.map}.{row.metric}" for row in rows)
            refuse(f"--fail-if: {condition.text!r} is about no map and metric of both runs; there are {known}")
        if condition.map != "*" and all(row.control for row in about):
            refuse(f"--fail-if: {condition.text!r} is about {condition.map}, a control: only methods can fail")
        for row in about:
            if condition.holds(row) and not row.control:
                said = row.verdict if condition.field == WORSE else f"{condition.field} {row.numbers[condition.field]:.4f}"
                lines.append(f"{condition.text}: {row.map} under {row.metric}, {said}")
    return lines
