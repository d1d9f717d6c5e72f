"""`python -m bench.studies.automatic_layers_table` writes the tables of docs/how-to/automatic-layer.md from committed JSON."""

import json
import sys
from typing import Any

from ..readme import RESULTS, ROOT, between

PAGE = ROOT / "docs/how-to/automatic-layer.md"
MARKS = ("<!-- layers:begin -->", "<!-- layers:end -->")
_COLUMNS = ("network", "image", "layer", "cells", "chosen as", "Grad-CAM")


def committed() -> dict[str, Any]:
    """What `bench.studies.automatic_layers` wrote."""
    content: dict[str, Any] = json.loads((RESULTS / "automatic_layers.json").read_text())
    return content


def tables(content: dict[str, Any]) -> str:
    """For each library a table, and what was left out."""
    return "\n\n".join(_library(name, part) for name, part in sorted(content["libraries"].items()))


def _library(name: str, part: dict[str, Any]) -> str:
    rows = [_cells(row) for row in part["rows"]]
    lines = [f"| {' | '.join(cells)} |" for cells in (_COLUMNS, ["---"] * len(_COLUMNS), *rows)]
    text = f"## {name} {part['version']}\n\n" + "\n".join(lines)
    if part["left out"]:
        text += "\n\nLeft out: " + "; ".join(f"{each} ({_plain(reason)})" for each, reason in part["left out"].items()) + "."
    return text


def _cells(row: dict[str, Any]) -> list[str]:
    height, width = row["input"][1:]
    start = [row["network"], f"{height} x {width}"]
    if "refusal" in row:
        return [*start, "none", "", f"refused: {_plain(row['refusal'])}", ""]
    outcome = ("finite" if row["varies"] else "constant") if row["finite"] else "not finite"
    call = "" if row["call"].endswith(" of 1") else f", call {row['call']}"
    return [*start, f"`{row['layer']}`{call}", row["grid"], row["choice"].removeprefix("automatic: "), outcome]


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;").strip().rstrip(".:")


def main() -> int:
    """The command."""
    PAGE.write_text(between(PAGE.read_text(), tables(committed()), MARKS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
