"""Findings of a study of choices, as plain values: a question, a verdict, and the numbers behind it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from .._atomic_io import parquet_bytes, pyarrow, write_whole
from ..stats.intervals import Summary

TOO_FEW = "too few images for a conclusion"


@dataclass(frozen=True)
class Matrix:
    """Numbers under names of rows and columns; drawn as a heat map from low to high."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: list[list[float]]
    low: float
    high: float


@dataclass(frozen=True)
class CurveTrace:
    """Curves on shares of [0, 1]: name -> mean, low, high."""

    title: str
    x_label: str
    y_label: str
    fractions: list[float]
    lines: Mapping[str, tuple[list[float], list[float], list[float]]]


@dataclass(frozen=True)
class Finding:
    """A question, its verdict in a sentence with its uncertainty, and what it rests on; numbers: name -> value or interval."""

    question: str
    verdict: str
    numbers: Mapping[str, float | Summary] = field(default_factory=dict)
    matrices: Sequence[Matrix] = ()
    traces: Sequence[CurveTrace] = ()


@dataclass(frozen=True)
class Findings:
    """A whole study.

    tables: name -> rows in long format, for Parquet. statuses: (what, status, how many images), of values that are missing.
    """

    title: str
    findings: Sequence[Finding]
    tables: Mapping[str, list[dict[str, Any]]]
    facts: Mapping[str, str]
    statuses: Sequence[tuple[str, str, int]] = ()

    def to_text(self) -> str:
        """The verdicts as lines of text."""
        return "\n".join(f"{each.question} {each.verdict}" for each in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Facts, verdicts, numbers and matrices as plain values for JSON; None where there is no number."""
        return {
            "title": self.title,
            "facts": dict(self.facts),
            "findings": [
                {
                    "question": each.question,
                    "verdict": each.verdict,
                    "numbers": {name: _plain(value) for name, value in each.numbers.items()},
                    "matrices": {
                        matrix.title: {
                            "rows": list(matrix.rows),
                            "columns": list(matrix.columns),
                            "values": [[_rounded(value) for value in row] for row in matrix.values],
                        }
                        for matrix in each.matrices
                    },
                }
                for each in self.findings
            ],
            "statuses": [{"what": what, "status": status, "images": count} for what, status, count in self.statuses],
        }

    def write_tables(self, folder: str | Path) -> list[Path]:
        """Writes one Parquet file per table.

        Raises:
            ModuleNotFoundError: pyarrow is not installed.
        """
        arrow, place = pyarrow(), Path(folder)
        paths = []
        for name, rows in self.tables.items():
            path = place / f"{name}.parquet"
            write_whole(path, parquet_bytes(arrow.Table.from_pylist(rows)))
            paths.append(path)
        return paths

    def write_json(self, path: str | Path) -> None:
        """Writes `to_dict`."""
        write_whole(Path(path), (json.dumps(self.to_dict(), indent=1) + "\n").encode())


def correlation_matrix(title: str, names: tuple[str, ...], values: Tensor) -> Matrix:
    """A square matrix of correlations (M, M)."""
    return Matrix(title, names, names, values.tolist(), -1.0, 1.0)


def format_value(value: float | Summary, digits: int = 2) -> str:
    """A number, or a mean with its interval, as in a sentence.

    Example:
        >>> format_value(Summary(0.5, 0.25, 0.75, 10, 0)), format_value(Summary(0.5, float("nan"), float("nan"), 1, 0))
        ('0.50 [0.25, 0.75]', '0.50 (no interval: too few images)')
    """
    mean = value.mean if isinstance(value, Summary) else value
    if not math.isfinite(mean):
        return "not measured"
    text = f"{mean:.{digits}f}"
    if not isinstance(value, Summary):
        return text
    if not math.isfinite(value.low):
        return f"{text} (no interval: too few images)"
    return f"{text} [{value.low:.{digits}f}, {value.high:.{digits}f}]"


def verdict_text(summary: Summary, *, above: str, below: str, neither: str) -> str:
    """The words for an interval above 0, below 0, or with 0 inside; `TOO_FEW` without an interval.

    Example:
        >>> verdict_text(Summary(0.5, 0.25, 0.75, 10, 0), above="better", below="worse", neither="not distinguishable")
        'better'
    """
    if not math.isfinite(summary.low):
        return TOO_FEW
    return above if summary.low > 0 else below if summary.high < 0 else neither


def _plain(value: float | Summary) -> object:
    if isinstance(value, Summary):
        numbers = {"mean": value.mean, "low": value.low, "high": value.high}
        return {name: _rounded(number) for name, number in numbers.items()} | {"images": value.images}
    return _rounded(value)


def _rounded(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
