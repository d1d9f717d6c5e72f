"""Conditions of `compare --fail-if`: a number of the comparison held against a limit."""

import math
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ._command_result import refuse

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
class ComparisonRow:
    """A map under a metric in two runs: means, the change from the first to the second with its interval, and what it means.

    lost: images of both runs that have a value in the first and none in the second.
    """

    map: str
    metric: str
    numbers: Mapping[str, float]
    verdict: str  # "better", "worse", "not distinguishable", "too few images", or "changed" where no direction is better
    control: bool = False  # knows nothing of the model: what becomes of it fails nothing
    lost: int = 0


@dataclass(frozen=True)
class Condition:
    """What makes a comparison fail."""

    text: str
    map: str
    metric: str
    field: str
    sign: str
    limit: float

    def about(self, row: ComparisonRow) -> bool:
        """Whether it speaks of a row."""
        return self.map in ("*", row.map) and self.metric in ("*", row.metric)

    def holds(self, row: ComparisonRow) -> bool:
        """Whether a row fails. Where a number is missing (NaN) nothing holds: `missing` says so."""
        if self.field == WORSE:
            return row.verdict == WORSE
        return bool(_OPERATORS[self.sign](row.numbers[self.field], self.limit))

    def missing(self, row: ComparisonRow) -> str:
        """In words, what is missing to judge a row; "" where nothing is."""
        field = "change" if self.field == WORSE else self.field
        if math.isnan(row.numbers[field]):
            return f"no {field} is known"
        return f"{row.lost} of the images have no value any more" if row.lost else ""


def parse_condition(text: str) -> Condition:
    """A condition from its text.

    Example:
        >>> parse_condition("*.fidelity.change < -0.02").limit
        -0.02
    """
    if text.strip() == WORSE:
        return Condition(text, "*", "*", WORSE, "", 0.0)
    result = _FORM.fullmatch(text.strip())
    if result is None or result["field"] not in FIELDS:
        refuse(f"--fail-if: {_HELP}; got {text!r}")
    try:
        limit = float(result["limit"])
    except ValueError:
        refuse(f"--fail-if: {_HELP}; got {text!r}")
    return Condition(text, result["map"], result["metric"], result["field"], result["sign"], limit)


def failures(conditions: Sequence[Condition], rows: Sequence[ComparisonRow]) -> tuple[list[str], list[str]]:
    """A line for each condition and row that fails, and one for each that cannot be judged as values are missing.

    A condition that no row can meet is refused: it is a slip of the pen. Controls fail nothing: they know nothing of the model,
    so a change of theirs is none of the model's or of a method's.
    """
    failed, missing = [], []
    for condition in conditions:
        about = [row for row in rows if condition.about(row)]
        if not about:
            known = ", ".join(f"{row.map}.{row.metric}" for row in rows)
            refuse(f"--fail-if: {condition.text!r} is about no map and metric of both runs; there are {known}")
        if condition.map != "*" and all(row.control for row in about):
            refuse(f"--fail-if: {condition.text!r} is about {condition.map}, a control: only methods can fail")
        for row in about:
            if row.control:
                continue
            where = f"{condition.text}: {row.map} under {row.metric}"
            if condition.holds(row):
                value = row.verdict if condition.field == WORSE else f"{condition.field} {row.numbers[condition.field]:.4f}"
                failed.append(f"{where}, {value}")
            if lacks := condition.missing(row):
                missing.append(f"{where}, {lacks}")
    return failed, missing
