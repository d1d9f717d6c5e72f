"""The report of a finished study, from its folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..study.reader import read_results, read_run, read_summary, read_table
from .data import TITLE, Example, ReportData, gather
from .write import write_page

PAGE = "index.html"


def write_study_report(
    folder: str | Path,
    path: str | Path | None = None,
    *,
    title: str = TITLE,
    facts: Mapping[str, str] | None = None,
    examples: Sequence[Example] = (),
) -> Path:
    """Writes the report of a finished study and returns where it lies.

    Args:
        folder: of the study.
        path: of the file; None: index.html in the folder.
        title, facts, examples: as for `write_report`; what the study knows of itself is added to the facts.

    Raises:
        ValueError: the folder holds no finished study. ImportError: Jinja2 is not installed.
    """
    data = study_data(folder, title=title, facts=facts, examples=examples)
    return write_page(data, Path(folder) / PAGE if path is None else path)


def study_data(
    folder: str | Path,
    *,
    title: str = TITLE,
    facts: Mapping[str, str] | None = None,
    examples: Sequence[Example] = (),
) -> ReportData:
    """What the report of a finished study shows; arguments and errors as for `write_study_report`."""
    results, run, summary = read_results(folder), read_run(folder), read_summary(folder)
    names, reasons = _samples(read_table(folder), len(results))
    return gather(
        results,
        title=title,
        samples=names,
        reasons=reasons,
        masked_inputs=summary["masked_inputs"],
        facts=dict(facts or {}) | _facts(run, summary),
        examples=examples,
    )


def _samples(table: Any, pairs: int) -> tuple[list[str], list[str]]:
    """Name and problem of each sample; its rows are consecutive, one per method and metric."""
    names, ids, problems = (table[column].to_pylist()[:: max(pairs, 1)] for column in ("name", "sample", "message"))
    return [name or str(own) for name, own in zip(names, ids, strict=True)], problems


def _facts(run: dict[str, Any], summary: dict[str, Any]) -> dict[str, str]:
    """What the record of a study says, in one line each."""
    made = run["fingerprint"]
    return {
        "run": str(run["run"]),
        "library": ", ".join(f"{name} {version}" for name, version in made["library"].items()),
        "model fingerprint": _line(made["model"]),
        "data fingerprint": _line({name: value for name, value in made["inputs"].items() if name != "content"}),
        "options": _line(made["options"]),
        "chunks": f"{summary['chunks']} of at most {run['layout']['chunk']} samples, by {len(summary['ranks'])} process(es)",
        "time": f"{summary['seconds']:.0f} s of work",
    }


def _line(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_line(item)}" for name, item in value.items())
    return str(value)
