"""What is written: a JSON file with one record per row, and the same as plain text."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .load import LIMIT

_DIGITS = 5  # significant; a time has fewer


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes the file in a stable key order, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(_rounded(content), indent=1, sort_keys=True) + "\n")
    partial.replace(path)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value


def ceilings_text(ceilings: dict[str, Any]) -> str:
    """The ceilings in one line."""
    small = " (small tensors: in cache)" if ceilings["tensor_bytes"] < 2 * ceilings["last_level_cache_bytes"] else ""
    if (ceilings["others_cores"] or 0) > LIMIT:
        small += " (disturbed: shares are too high)"
    return (
        f"ceilings{small}: copy {ceilings['copy_gbps']:.1f} GB/s (read + write), write {ceilings['write_gbps']:.1f} GB/s, "
        f"gemm {ceilings['gemm_gflops']:.0f} GFLOP/s, smallest torch call {ceilings['call_microseconds']:.2f} us"
    )


def case_text(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of one case: what was measured, then a line per baseline."""
    first = rows[0]
    lines = [f"{first['op']}: {first['case']}"]
    timed = [row for row in rows if row["status"] == "timed"]
    if timed:
        fastest = min(timed, key=lambda row: row["ours_ms"])
        share = f"{fastest['share_of_ceiling']:.2f} of {fastest['ceiling']}"
        place = " (fits in cache)" if fastest["fits_in_cache"] else ""
        rate = f"{fastest['gbps']:.1f} GB/s, {share}{place}, error {fastest['max_error']:.1e}"
        lines.append(f"    ours {_ms(fastest['ours_ms'])}, {rate}")
    lines += [_line(row) for row in rows]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    name = f"    {row['baseline']}"
    if row["status"] != "timed":
        return f"{name:<52} {row['status']}{': ' + row['reason'] if row.get('reason') else ''}"[:120]
    ratio = f"{_number(row['ratio'])}x [{_number(row['ratio_low'])}, {_number(row['ratio_high'])}]"
    verdict = "" if row["target"] is None else f"target {_number(row['target'])}x {'met' if row['met'] else 'MISSED'}"
    if row["target"] is not None and row["ratio_low"] < row["target"] < row["ratio_high"]:
        verdict += ", interval spans it"
    if row["disturbed"]:
        verdict = "disturbed by other processes, not judged"
    return f"{name:<52} {ratio:<24} {_ms(row['baseline_ms']):>12}  {verdict}"


def memory_text(records: Sequence[dict[str, Any]]) -> str:
    """Peak memory of one call, ours and eager."""
    lines = [f"{'peak memory of one call, MiB':<72} {'output':>9} {'ours':>9} {'eager':>9}"]
    for record in records:
        if "reason" in record:
            lines.append(f"    {record['op']}: {record['reason']}"[:120])
            continue
        numbers = " ".join(f"{_mib(record[key]):>9}" for key in ("output_bytes", "ours_peak_bytes", "eager_peak_bytes"))
        verdict = "" if record["temporaries_below_output"] else "  MORE THAN THE OUTPUT"
        if "budget_bytes" in record:
            verdict = f"  {'within' if record['within_budget'] else 'ABOVE'} {_mib(record['budget_bytes'])}"
        lines.append(f"    {record['op'] + ': ' + record['case']:<68.68} {numbers}{verdict}")
    return "\n".join(lines)


def _mib(count: int | None) -> str:
    return "-" if count is None else f"{count / 2**20:.1f}"


def _ms(value: float) -> str:
    return f"{_number(value)} ms" if value >= 0.1 else f"{_number(value * 1e3)} us"


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
