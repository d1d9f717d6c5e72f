"""Runs the benches: `python -m bench [--only rank,noise] [--quick] [--check] [--device cpu|cuda] [--out file.json]`."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch

import saliency_ext  # noqa: F401  (registers the ops)

from . import memory, report
from .common import Setup
from .load import LIMIT, Load, wait_for_quiet
from .machine import ceilings, library_digest, metadata
from .run import cases, rows

_RESULTS = Path(__file__).parent / "results"


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Checks the kernels, then times them against baselines.")
    parser.add_argument("--only", default="", help="ops or bench files, separated by commas")
    parser.add_argument("--quick", action="store_true", help="a smoke test: small sizes, headline cases, no torch.compile")
    parser.add_argument("--check", action="store_true", help="check all results, time nothing, write nothing")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, help="JSON file; default bench/results/<device>.json, none for --quick")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each comparison (default 2)")
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory of each op")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Exit status: 0 if all results were right. A missed target does not fail a run."""
    options = _arguments(words)
    setup = Setup(options.device, options.quick)
    seconds = min(options.seconds, 0.2) if options.quick else options.seconds
    only = [name for name in options.only.split(",") if name]
    if options.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    chosen = [case for case in cases(setup, only) if case.main or not options.quick]
    if not chosen:
        print(f"no case is named {options.only!r}", file=sys.stderr)
        return 2
    started = time.monotonic()
    content: dict[str, Any] = {"meta": metadata(options.device, options.quick)}
    print(
        " | ".join(f"{key} {content['meta'][key]}" for key in ("date", "commit", "device_name", "threads", "torch")), flush=True
    )
    for attempt in range(1 if options.quick or options.check else 3):
        if attempt > 0:
            wait_for_quiet(20.0)
        load = Load()
        content["ceilings"] = ceilings(options.device, options.quick or options.check)
        others = content["ceilings"]["others_cores"] = load.others()
        if others is None or others <= LIMIT:
            break
    print(report.ceilings_text(content["ceilings"]), flush=True)
    content["rows"], content["memory"] = [], []
    path = options.out or (None if options.quick or options.check else _RESULTS / f"{options.device}.json")
    for case in chosen:
        result = list(rows(case, setup, content["ceilings"], seconds=seconds, check_only=options.check))
        print(report.case_text(result), flush=True)
        content["rows"] += result
        _write(path, content, started)
    if not options.check and not options.no_memory:
        for op in dict.fromkeys(case.op for case in chosen):
            content["memory"] += memory.measure(setup, op)
        print(report.memory_text(content["memory"]), flush=True)
    content["meta"]["library_changed_on_disk"] = library_digest() != content["meta"]["library_sha256"]
    content["meta"]["complete"] = not only and not options.no_memory
    if content["meta"]["library_changed_on_disk"]:
        print("the library was rebuilt during this run: times are of the build before, peak memory may be of the one after")
    _write(path, content, started)
    wrong = [row for row in content["rows"] if row["status"] == "wrong"]
    judged = [row for row in content["rows"] if row.get("met") is not None]
    print(f"{len(content['rows'])} rows, {len(wrong)} wrong, {sum(r['met'] for r in judged)} of {len(judged)} targets met, "
          f"{time.monotonic() - started:.0f} s" + (f", written to {path.name}" if path else ""))  # fmt: skip
    return 1 if wrong else 0


def _write(path: Path | None, content: dict[str, Any], started: float) -> None:
    if path is not None:
        content["meta"]["seconds"] = time.monotonic() - started
        report.write_json(path, content)


if __name__ == "__main__":
    sys.exit(main())
