"""What is installed, how it was built, which backend serves each op and why, and what to do where something is missing."""

import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch

from .ops import native


def build_info() -> dict[str, Any]:
    """How the native library was built: version, torch, compiler, CUDA version and archs (None without), CPU kernels in use."""
    return dict(import_module("saliency_ext._C").build_info())


def backends(device: str) -> dict[str, str]:
    """Per op: "native" where a kernel of ours serves the device, else "reference" (slow, same results)."""
    ours = device == "cpu" or (device == "cuda" and build_info()["cuda"] is not None)
    return {op: "native" if ours else "reference" for op in native.op_names()}


def report() -> str:
    """The whole diagnosis as text."""
    info = build_info()
    lines = [
        f"saliency_ext  {info['version']}",
        f"python        {platform.python_version()} ({sys.executable})",
        f"torch         {torch.__version__} (built with {info['torch_built_with']}, runs on torch >= {info['torch_target']})",
        f"compiler      {info['compiler']}",
        f"CPU kernels   {info['cpu_kernels']}, {torch.get_num_threads()} threads",
        f"CUDA kernels  {_cuda_line(info)}",
        "",
        f"{'op':<28}" + "".join(f"{device:<12}" for device in ("cpu", "cuda", "mps", "xpu")).rstrip(),
    ]
    tables = {device: backends(device) for device in ("cpu", "cuda", "mps", "xpu")}
    lines += [f"{op:<28}" + "".join(f"{table[op]:<12}" for table in tables.values()).rstrip() for op in native.op_names()]
    lines += [
        f"{'gaussian_blur':<28}" + "torch.matmul on every device",
        "",
        "native: a kernel of ours. reference: naive torch, same results, slow; used where we have no kernel.",
    ]
    advice = list(_advice(info))
    return "\n".join(lines + [""] + (advice or ["Nothing is missing."]))


def _cuda_line(info: dict[str, Any]) -> str:
    if info["cuda"] is None:
        return "not built"
    seen = "usable" if torch.cuda.is_available() else "no GPU visible to torch"
    return f"built with CUDA {info['cuda']} for sm {info['cuda_archs'].replace('_', ', ')}; {seen}"


def _advice(info: dict[str, Any]) -> Iterator[str]:
    if info["cuda"] is None:
        where = "a CUDA toolkit is here now" if shutil.which("nvcc") else "install a CUDA toolkit (nvcc) or set CUDA_HOME"
        yield f"- CUDA kernels were not built because no nvcc was found: {where}, then reinstall. CPU use needs nothing."
        if torch.cuda.is_available():
            yield "- torch sees a GPU, but without CUDA kernels every op on it runs the slow reference; reinstall as said above."
    elif torch.version.cuda is None:
        yield "- torch is a CPU build: install a CUDA build of torch to use a GPU. The library itself need not be rebuilt."
    elif not torch.cuda.is_available():
        yield "- torch has CUDA but sees no GPU: check the driver (nvidia-smi) and CUDA_VISIBLE_DEVICES."
    if shutil.which("g++") is None:
        yield "- no g++ on PATH: needed only to build from source."
