"""From cases to rows: check, time, and describe what was timed."""

import gc
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .common import Baseline, Case, Setup, Task, max_difference, native
from .load import LIMIT, Load, wait_for_quiet
from .machine import last_level_cache
from .timing import Mismatch, Pair, Timer, against_budget, checked, paired

_ATTEMPTS = 3  # at a row that another process disturbed

MODULES = tuple(path.stem.removeprefix("bench_") for path in sorted(Path(__file__).parent.glob("bench_*.py")))


def cases(setup: Setup, only: list[str]) -> list[Case]:
    """The cases of all bench files, or of those whose file or op is named."""
    result = []
    for module in MODULES:
        found: list[Case] = importlib.import_module(f"{__package__}.bench_{module}").cases(setup)
        result += [case for case in found if not only or module in only or case.op in only]
    return result


def rows(case: Case, setup: Setup, ceilings: dict[str, Any], *, seconds: float, check_only: bool) -> Iterator[dict[str, Any]]:
    """One record per baseline. A wrong result gives a record with status "wrong", and no time."""
    blank = {"op": case.op, "case": case.name, "regime": case.regime}
    try:
        task = case.prepare()
        native().reset_counters()
        error = checked(lambda result, _: task.check(result), task.ours, lambda: None, task.tolerance)
    except Exception as problem:
        yield {**blank, "baseline": "-", "status": "wrong", "reason": _text(problem)}
        return
    counters = native().counters()
    common = {
        **blank,
        "max_error": error,
        "tolerance": task.tolerance,
        "launches": {op: count["launches"] / task.calls for op, count in sorted(counters.items())},
        "threads": max((count["threads"] for count in counters.values()), default=None),
        "bytes": task.traffic,
        "bytes_formula": task.formula,
        "fits_in_cache": task.traffic <= last_level_cache(setup.device),
    }
    for baseline in task.baselines:
        gc.collect()
        yield {**common, **_row(task, baseline, setup, ceilings, seconds, check_only)}


def _row(
    task: Task, baseline: Baseline, setup: Setup, ceilings: dict[str, Any], seconds: float, check_only: bool
) -> dict[str, Any]:
    target = None if setup.quick else baseline.target
    row: dict[str, Any] = {"baseline": baseline.name, "note": baseline.note, "target": target}
    budget, difference = baseline.cpu_budget, None
    if budget is not None and setup.device != "cpu":
        return {**row, "status": "skipped", "reason": "a budget of processor time is for the CPU"}
    if budget is None and baseline.run is None:
        return {**row, "status": "skipped", "reason": baseline.skipped}
    if baseline.run is not None:
        try:
            baseline.run()  # compiles, fills caches
        except Exception as problem:
            return {**row, "status": "skipped", "reason": "it failed: " + _text(problem)}
        try:
            if baseline.tolerance is not None:
                difference = checked(max_difference, task.ours, baseline.run, baseline.tolerance)
        except Mismatch as problem:
            return {**row, "status": "wrong", "reason": _text(problem)}
    row["difference"] = difference
    if check_only:
        return {**row, "status": "checked"}
    for attempt in range(1 if setup.quick else _ATTEMPTS):
        if attempt > 0:
            wait_for_quiet(20.0)
        load = Load()
        pair = _timed(task, baseline, setup, seconds)
        others = load.others()
        disturbed = others is not None and others > LIMIT
        if not disturbed:
            break
    ours = pair.a_seconds / task.calls
    return {
        **row,
        "status": "timed",
        "ratio": pair.ratio,
        "ratio_low": pair.low,
        "ratio_high": pair.high,
        "rounds": pair.rounds,
        "ours_ms": ours * 1e3,
        "baseline_ms": pair.b_seconds / task.calls * 1e3,
        **_rate(task, ours, ceilings),
        "others_cores": others,
        "disturbed": disturbed,
        "attempts": attempt + 1,
        "met": None if target is None or disturbed else pair.ratio >= target,
    }


def _timed(task: Task, baseline: Baseline, setup: Setup, seconds: float) -> Pair:
    limits = {"rounds": 3, "min_rounds": 2} if setup.quick else {}
    if baseline.cpu_budget is not None:
        return against_budget(task.ours, baseline.cpu_budget, seconds=seconds, **limits)  # type: ignore[arg-type]
    warmup = 1 if setup.quick else 2
    timer = Timer(setup.device)
    return paired(task.ours, baseline.run, seconds=seconds, timer=timer, warmup=warmup, **limits)  # type: ignore[arg-type]


def _rate(task: Task, seconds: float, ceilings: dict[str, Any]) -> dict[str, Any]:
    gbps = task.traffic / seconds / 1e9
    if task.ceiling == "gemm":
        share = task.flops / seconds / 1e9 / ceilings["gemm_gflops"]
    else:
        share = gbps / ceilings[f"{task.ceiling}_gbps"]
    return {"gbps": gbps, "ceiling": task.ceiling, "share_of_ceiling": share}


def _text(problem: Exception) -> str:
    """Type and first line of an error."""
    lines = str(problem).strip().splitlines()
    return f"{type(problem).__name__}: {lines[0][:200] if lines else ''}"
