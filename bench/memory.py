"""Peak memory of one call, in a process of its own: `python -m bench.memory OP` prints JSON.

CPU: the high-water mark of the resident set, reset before the call, less what was resident; every large block is returned to
the system at once (the parent sets the allocator so), so that reuse cannot hide a temporary. CUDA: torch's allocator statistics.
"""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .common import Setup

_SLACK = 2**22  # pages of threads, code and page rounding: not temporaries


def measure(setup: Setup, op: str) -> list[dict[str, Any]]:
    """Records of one op's file, measured in a child process."""
    command = [sys.executable, "-m", f"{__package__}.memory", op, setup.device, str(int(setup.quick))]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_TOP_PAD_": "0"}
    root = Path(__file__).parent.parent
    try:
        child = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True, timeout=300)
        result: list[dict[str, Any]] = json.loads(child.stdout.splitlines()[-1])
        return result
    except (subprocess.SubprocessError, OSError, ValueError, IndexError) as error:
        detail = (getattr(error, "stderr", "") or "").strip().splitlines()
        return [{"op": op, "reason": f"not measured: {type(error).__name__} {detail[-1][:160] if detail else ''}"}]


def peak(run: Callable[[], Any], device: str) -> tuple[int, int]:
    """Bytes of the result, and the most that was held beyond what was held before the call."""
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = run()
        torch.cuda.synchronize()
        return _bytes(result), torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    result = run()
    return _bytes(result), max(_status("VmHWM") - before, 0)


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {name} in /proc/self/status")


def _bytes(result: Any) -> int:
    if isinstance(result, tuple | list):
        return sum(map(_bytes, result))
    return 0 if result is None else int(result.nbytes)


def _records(op: str, setup: Setup) -> list[dict[str, Any]]:
    from .run import cases

    records = []
    for case in cases(setup, [op]):
        if setup.quick and not case.main:
            continue
        task = case.prepare()
        eager = next((b for b in task.baselines if b.run is not None and b.tolerance is not None), None)
        task.ours()  # threads, caches
        output, ours = peak(task.ours, setup.device)
        record: dict[str, Any] = {"op": case.op, "case": case.name, "output_bytes": output, "ours_peak_bytes": ours}
        record["eager_peak_bytes"] = None
        if task.memory_budget is not None:
            record["budget_bytes"], record["within_budget"] = task.memory_budget, ours <= task.memory_budget
        watched = [b for b in task.baselines if b.run is not None and (b.peak or b is eager)]
        record["baseline_peak_bytes"] = {b.name: peak(b.run, setup.device)[1] for b in watched if b.run is not None}
        if eager is not None:
            record["eager"], record["eager_peak_bytes"] = eager.name, record["baseline_peak_bytes"][eager.name]
        record["temporaries_bytes"] = max(ours - output, 0)
        record["temporaries_below_output"] = ours - output <= max(output, _SLACK)
        records.append(record)
    return records


if __name__ == "__main__":
    name, device, quick = sys.argv[1:]
    print(json.dumps(_records(name, Setup(device, quick == "1"))))
