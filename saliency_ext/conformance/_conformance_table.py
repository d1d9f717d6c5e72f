"""Results of conformance checks: one row per rule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Rule = tuple[str, Callable[[], str]]  # what must hold, and a check that returns what is wrong, or nothing


@dataclass(frozen=True)
class ConformanceRow:
    """One rule: whether it holds, and if not, what was seen."""

    rule: str
    holds: bool
    seen: str = ""


@dataclass(frozen=True)
class ConformanceTable:
    """All rows of one subject. `str` is the table.

    Example:
        >>> rows = ConformanceRow("same twice", True), ConformanceRow("inputs unchanged", False, "values differ by 0.5")
        >>> print(ConformanceTable("mine", rows))
        mine: 1 of 2 rules hold
          yes  same twice
          NO   inputs unchanged: values differ by 0.5
    """

    subject: str
    rows: tuple[ConformanceRow, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the rules that do not hold."""
        return tuple(row.rule for row in self.rows if not row.holds)

    def __str__(self) -> str:
        lines = [f"{self.subject}: {len(self.rows) - len(self.failed)} of {len(self.rows)} rules hold"]
        for row in self.rows:
            lines.append(f"  {'yes' if row.holds else 'NO '}  {row.rule}" + (f": {row.seen}" if row.seen else ""))
        return "\n".join(lines)


def run(subject: str, rules: Sequence[Rule]) -> ConformanceTable:
    """Every rule, each by itself: what one raises is what it saw."""
    rows = []
    for rule, check in rules:
        try:
            seen = check()
        except Exception as error:  # of a foreign subject: any kind
            words = (str(error).strip().splitlines() or [""])[0]
            seen = f"{type(error).__name__}: {words[:100]}"
        rows.append(ConformanceRow(rule, not seen, seen))
    return ConformanceTable(subject, tuple(rows))
