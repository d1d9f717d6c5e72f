"""Writes the README's table from the committed JSON: `python -m bench.readme`."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench/results"
# The ops; methods and whole evaluations; maps compared; imputation, whose baselines are far slower.
_FILES = ("cpu.json", "judging_cpu.json", "comparison_cpu.json", "linear_infill_cpu.json")
_MARKS = ("<!-- bench:begin -->", "<!-- bench:end -->")


def committed() -> list[dict[str, Any]]:
    """What the benches wrote."""
    return [json.loads((RESULTS / name).read_text()) for name in _FILES if (RESULTS / name).exists()]


def table(contents: Sequence[dict[str, Any]]) -> str:
    """The rows that have a target, as markdown: ratios with their intervals. An op in two files is that of the first."""
    shown = [list(rows) for rows in _shown(contents)]
    sources = "; by ".join(_source(content, rows) for content, rows in zip(contents, shown, strict=True) if rows)
    lines = [
        f"Measured by {sources}: median of paired ratios in one process, with a 95 % interval. All "
        "rows, ceilings and memory: [bench/results](bench/results); the rules: [bench/README.md](bench/README.md). No GPU was "
        "measured.",
        "",
        "| op | case | against | times faster | aimed for |",
        "|---|---|---|---|---|",
    ]
    for row in (row for rows in shown for row in rows):
        interval = f"{number(row['ratio'])} [{number(row['ratio_low'])}, {number(row['ratio_high'])}]"
        verdict = "" if row["met"] else " (missed)"
        lines.append(f"| {row['op']} | {row['case']} | {row['baseline']} | {interval} | {number(row['target'])}{verdict} |")
    return "\n".join(lines)


def _source(content: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """What wrote the rows of a file that are shown, where and when."""
    meta, ops = content["meta"], ",".join(dict.fromkeys(row["op"] for row in rows))
    command = "make bench" if meta["complete"] else f"python -m bench --only {ops}"
    return f"`{command}` on {meta['device_name']}, {meta['threads']} threads, torch {meta['torch']}, {meta['date'][:10]}"


def _shown(contents: Sequence[dict[str, Any]]) -> Iterator[Iterator[dict[str, Any]]]:
    """Of each file the rows that are quoted: with a target, timed on a quiet machine."""
    seen: set[str] = set()
    for content in contents:
        own = [row for row in content["rows"] if row["op"] not in seen]
        seen |= {row["op"] for row in own}
        yield (row for row in own if row.get("target") is not None and row["status"] == "timed" and not row.get("disturbed"))


def rewritten(text: str, block: str) -> str:
    """The README with the block between the marks replaced."""
    return between(text, block, _MARKS)


def between(text: str, block: str, marks: tuple[str, str]) -> str:
    """A text with what stands between two marks replaced."""
    begin, end = marks
    made, result = re.subn(f"{begin}.*{end}", lambda _: f"{begin}\n{block}\n{end}", text, flags=re.DOTALL)
    if result != 1:
        raise ValueError(f"expected one block between {begin} and {end}, found {result}")
    return made


def rewrite(block: str, marks: tuple[str, str]) -> int:
    """Puts a block between its marks in README.md; the exit status of a command."""
    readme = ROOT / "README.md"
    readme.write_text(between(readme.read_text(), block, marks))
    return 0


def number(value: float) -> str:
    """Two digits, or whole."""
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def main() -> int:
    """Rewrites README.md."""
    return rewrite(table(committed()), _MARKS)


if __name__ == "__main__":
    sys.exit(main())
