"""Writes the README's table from the committed JSON: `python -m bench.readme`."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench/results"
_FILES = ("cpu.json", "judging_cpu.json")  # the ops; methods and whole evaluations
_MARKS = ("<!-- bench:begin -->", "<!-- bench:end -->")


def committed() -> list[dict[str, Any]]:
    """What the benches wrote."""
    return [json.loads((RESULTS / name).read_text()) for name in _FILES if (RESULTS / name).exists()]


def table(contents: Sequence[dict[str, Any]]) -> str:
    """The rows that have a target, as markdown: ratios with their intervals."""
    meta = contents[0]["meta"]
    lines = [
        f"Measured by `make bench` on {meta['device_name']}, {meta['threads']} threads, torch {meta['torch']}, "
        f"{meta['date'][:10]}: median of paired ratios in one process, with a 95 % interval. All rows, ceilings and memory: "
        "[bench/results](bench/results); the rules: [bench/README.md](bench/README.md). No GPU was measured.",
        "",
        "| op | case | against | times faster | aimed for |",
        "|---|---|---|---|---|",
    ]
    for row in (row for content in contents for row in content["rows"]):
        if row.get("target") is None or row["status"] != "timed":
            continue
        interval = f"{_number(row['ratio'])} [{_number(row['ratio_low'])}, {_number(row['ratio_high'])}]"
        verdict = "" if row["met"] else " (missed)"
        lines.append(f"| {row['op']} | {row['case']} | {row['baseline']} | {interval} | {_number(row['target'])}{verdict} |")
    return "\n".join(lines)


def rewritten(text: str, block: str) -> str:
    """The README with the block between the marks replaced."""
    begin, end = _MARKS
    return re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n{block}\n{end}", text, flags=re.DOTALL)


def _number(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def main() -> int:
    """Rewrites README.md."""
    readme = ROOT / "README.md"
    readme.write_text(rewritten(readme.read_text(), table(committed())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
