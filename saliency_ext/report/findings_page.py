"""The report of a study of choices: per question a verdict, matrices, curves and numbers. One file, style of the other report."""

from pathlib import Path
from typing import Any

from ..comparison import CurveTrace, Finding, Findings
from ..stats.intervals import Summary
from ._figures import Curves, Line, curve_panel, shared_extent
from ._formatting import number, span
from ._matrix import heat_map
from .data import STATUS_TEXTS
from .write import render_template, write_text

_TEMPLATE = "findings.html.j2"


def write_findings(findings: Findings, path: str | Path) -> Path:
    """Writes the page of a study of choices and returns where it lies; an old file is replaced at once.

    Args:
        findings: of `comparison.infill_study` or `hyperparameter_study`.
        path: of the file; folders are made.

    Raises:
        ImportError: Jinja2 is not installed; says how to install it.

    Note:
        Deterministic. The page needs nothing else, loads and runs nothing; labels are escaped.

    Example:
        >>> import tempfile
        >>> result = Findings("Do choices matter?", [Finding("Is it so?", "Yes.")], {}, {})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_findings(result, Path(folder) / "index.html").name
        'index.html'
    """
    return write_text(render_template(_TEMPLATE, _content(findings)), path)


def _content(findings: Findings) -> dict[str, Any]:
    return {
        "title": findings.title,
        "findings": [_finding(each) | {"place": place} for place, each in enumerate(findings.findings)],
        "facts": findings.facts,
        "statuses": [
            {"what": what, "status": status, "count": count, "why": STATUS_TEXTS.get(status, "the infill raised an error")}
            for what, status, count in findings.statuses
        ],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "question": finding.question,
        "verdict": finding.verdict,
        "matrices": [{"title": matrix.title, "svg": heat_map(matrix)} for matrix in finding.matrices],
        "panels": [panel for trace in finding.traces for panel in _panels(trace)],
        "numbers": [{"name": name, **_number(value)} for name, value in finding.numbers.items()],
    }


def _panels(trace: CurveTrace) -> list[dict[str, str]]:
    """One panel per curve, all on one y axis."""
    drawn = {
        name: Curves(trace.fractions, [Line(name, "least", mean, low, high)]) for name, (mean, low, high) in trace.lines.items()
    }
    extent = shared_extent(drawn.values())
    return [
        {
            "name": name,
            "title": trace.title,
            "svg": curve_panel(f"{trace.title}: {name}", curves, extent, trace.x_label, trace.y_label),
        }
        for name, curves in drawn.items()
    ]


def _number(value: float | Summary) -> dict[str, str]:
    if isinstance(value, Summary):
        return {"mean": number(value.mean), "interval": span(value.low, value.high), "images": str(value.images)}
    return {"mean": number(value), "interval": "", "images": ""}
