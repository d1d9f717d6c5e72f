"""The README's headline numbers and the table of all timed rows, from the committed JSON: `python -m bench.readme`."""

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
MARKS = ("<!-- headline:begin -->", "<!-- headline:end -->")


def committed() -> list[dict[str, Any]]:
    """What the benches wrote."""
    return [json.loads((RESULTS / name).read_text()) for name in _FILES if (RESULTS / name).exists()]


def table(contents: Sequence[dict[str, Any]]) -> str:
    """All timed rows that are quoted, as markdown: ratios with their intervals. An op in two files is that of the first."""
    shown = [list(rows) for rows in _shown(contents)]
    sources = "; by ".join(_source(content, rows) for content, rows in zip(contents, shown, strict=True) if rows)
    lines = [
        f"Measured by {sources}: median of paired ratios in one process, with a 95 % interval. All "
        "rows, ceilings and memory: [bench/results](bench/results); the rules: [bench/README.md](bench/README.md). No GPU was "
        "measured.",
        "",
        "| op | case | against | times faster |",
        "|---|---|---|---|",
    ]
    for row in (row for rows in shown for row in rows):
        interval = f"{number(row['ratio'])} [{number(row['ratio_low'])}, {number(row['ratio_high'])}]"
        lines.append(f"| {row['op']} | {row['case']} | {row['baseline']} | {interval} |")
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


def headline() -> str:
    """At most eight numbers, each with the file it is from, as markdown."""
    lines = ["| what | against | measured |", "|---|---|---|"]
    for what, against, name, value in _headlines():
        lines.append(f"| {what} | {against} | [{value}](bench/results/{name}) |")
    meta = _read("cpu.json")["meta"]
    return "\n".join(
        [
            *lines,
            "",
            f"Times on {meta['device_name']}, {meta['threads']} threads, torch {meta['torch']}, unless the file says otherwise.",
            "All rows, also those where others are faster: the benchmark page of the site (`make docs`).",
        ]
    )


def _headlines() -> Iterator[tuple[str, str, str, str]]:
    """What, against what, the file, the number."""
    render = "20 masked copies of 16 images 224 x 224, bfloat16"
    yield render, "eager torch", "cpu.json", _times("cpu.json", "blend_rank", "to bf16 channels_last", "eager")
    yield (
        "ranks of 16 maps 224 x 224",
        "torch.sort",
        "cpu.json",
        _times("cpu.json", "rank", "(16, ", "torch.sort(stable) + scatter"),
    )
    infill = "linear_infill_cpu.json"
    grad_cam = "pytorch-grad-cam NoisyLinearImputer"
    yield (
        "ROAD imputation, half removed",
        "pytorch-grad-cam",
        infill,
        _times(infill, "linear_infill", "50% removed, scattered", grad_cam),
    )
    flipping = _read("quantus.json")
    yield (
        "pixel flipping, 84 steps",
        f"Quantus {flipping['quantus']}",
        "quantus.json",
        f"{number(flipping['times_faster'][0])}x faster",
    )
    engine = "judging_cpu.json"
    yield (
        "deletion + insertion, 18-layer net",
        "the bare forwards",
        engine,
        f"{1 / _row(engine, 'engine', '1 image(s)', 'bare forwards')['ratio']:.2f}x their time",
    )
    run = next(row for row in _read("ranking.json")["tournaments"] if (row["metric"], row["scheme"]) == ("fidelity", "drawn"))
    fewer = f"{number(run['times_fewer_masked_inputs'])}x fewer masked inputs"
    yield "ranking three methods by fidelity", "all images, all steps", "ranking.json", fewer
    rows = [row for row in _read("pairs.json")["rows"] if row["slice"] == "easy" and row["infill"] == "mean"]
    ours = next(row["accuracy"] for row in rows if (row["rules"], row["method"]) == ("default", "grad_cam"))
    published = max(row["accuracy"] for row in rows if row["rules"].startswith("pairs2024"))
    yield "one entity or two: true verdicts", "the published rules", "pairs.json", f"{ours:.2f} against {published:.2f}"


def _times(name: str, op: str, case: str, baseline: str) -> str:
    """How many times faster it is."""
    return f"{number(_row(name, op, case, baseline)['ratio'])}x faster"


def _row(name: str, op: str, case: str, baseline: str) -> Any:
    """The first row of an op, case and baseline."""
    rows = (row for row in _read(name)["rows"] if row["op"] == op and case in row["case"] and row["baseline"] == baseline)
    return next(rows)


def _read(name: str) -> Any:
    return json.loads((RESULTS / name).read_text())


def between(text: str, block: str, marks: tuple[str, str]) -> str:
    """A text with what stands between two marks replaced."""
    begin, end = marks
    made, result = re.subn(f"{begin}.*{end}", lambda _: f"{begin}\n{block}\n{end}", text, flags=re.DOTALL)
    if result != 1:
        raise ValueError(f"expected one block between {begin} and {end}, found {result}")
    return made


def number(value: float) -> str:
    """Two digits, or whole."""
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def main() -> int:
    """Rewrites the numbers of README.md; the exit status of a command."""
    readme = ROOT / "README.md"
    readme.write_text(between(readme.read_text(), headline(), MARKS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
