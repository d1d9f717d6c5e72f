"""The machine: its ceilings, measured in the bench's own process, and what it is."""

import contextlib
import datetime
import hashlib
import platform
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy
import torch

from .common import native
from .timing import Timer


def last_level_cache(device: str) -> int:
    """Bytes of the largest cache."""
    if device == "cuda":
        return int(torch.cuda.get_device_properties(0).L2_cache_size)
    sizes = [2**25]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        with contextlib.suppress(OSError, ValueError):
            text = path.read_text().strip()
            sizes.append(int(text[:-1]) * {"K": 2**10, "M": 2**20}.get(text[-1], 1))
    return max(sizes)


def ceilings(device: str, quick: bool = False) -> dict[str, Any]:
    """Median rates of this process on this machine: nothing here is a data sheet's number.

    copy: bytes read + written by `copy_` of a tensor several times the last-level cache; write: bytes written by `fill_`;
    gemm: float32 matrix product of 2,048 (CPU) or 8,192 (CUDA, TF32 off); call: seconds of the smallest torch op.
    """
    timer = Timer(device, flush_l2=False)
    cache = last_level_cache(device)
    count = (2**22 if quick else max(4 * cache, 2**28 if device == "cpu" else 2**31)) // 4
    source, target = torch.ones(count, device=device), torch.zeros(count, device=device)
    repeats = 3 if quick else 15

    def median(function: Any, inner: int = 1) -> float:
        timer(function)
        return statistics.median(timer(function, inner) for _ in range(repeats))

    copy = 2 * 4 * count / median(lambda: target.copy_(source))
    write = 4 * count / median(lambda: target.fill_(1.0))
    source = target = torch.empty(0)  # gives the memory back
    size = 512 if quick else 8192 if device == "cuda" else 2048
    left, right = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    product = torch.empty_like(left)
    gemm = 2 * size**3 / median(lambda: torch.mm(left, right, out=product))
    scalar = torch.zeros(1, device=device)
    start = time.perf_counter()
    for _ in range(1000):
        scalar.neg_()
    call = (time.perf_counter() - start) / 1000
    if device == "cuda":
        torch.cuda.synchronize()
    return {
        "copy_gbps": copy / 1e9,
        "write_gbps": write / 1e9,
        "gemm_gflops": gemm / 1e9,
        "call_microseconds": call * 1e6,
        "tensor_bytes": 4 * count,
        "last_level_cache_bytes": cache,
    }


def metadata(device: str, quick: bool) -> dict[str, Any]:
    """What was measured, where and with what."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _git("rev-parse", "--short", "HEAD") or "unknown",
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no", "--", "csrc", "saliency_ext")),
        "quick": quick,
        "device": device,
        "device_name": torch.cuda.get_device_name(0) if device == "cuda" else cpu_model(),
        "cpu": cpu_model(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "torch_cuda": torch.version.cuda,
        "library_sha256": library_digest(),
        "complete": False,  # set when the run ends
        "build_info": native().build_info(),
    }


def library_digest() -> str:
    """First digits of the SHA-256 of the native library's file: which build was timed, whatever the commit says."""
    return hashlib.sha256(Path(native().__file__).read_bytes()).hexdigest()[:16]


def cpu_model() -> str:
    """The processor's name as the kernel knows it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _git(*args: str) -> str:
    root = Path(__file__).parent.parent
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(["git", *args], cwd=root, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    return ""
