"""The CUDA kernels as torch ops on CPU tensors: the very same .cu files, compiled by g++ against the host emulation.

`load()` registers them as torch.ops.saliency_sim, with the fake kernels and autograd of the product. Under
`saliency_ext.ops.native.using(NAMESPACE)` every functional call goes there.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

from tests.native import toolchain
from tests.native.toolchain import ROOT, Variant

NAMESPACE = "saliency_sim"
TORCH_TARGET = "0x020b000000000000"
SEEDS = (0, 1, 77)  # 0 = threads in natural order, else shuffled


def options(variant: Variant) -> dict[str, Any]:
    """How the sources are compiled; programs that are compiled likewise share the objects."""
    from torch.utils import cpp_extension

    folders = cpp_extension.library_paths()
    return {
        "variant": variant,
        "include": cpp_extension.include_paths(),
        "define": ["SX_EMULATED_CUDA", f"SX_NAMESPACE={NAMESPACE}", f"TORCH_TARGET_VERSION={TORCH_TARGET}"],
        # The product is loaded too: its symbols and these have the same names.
        "extra": ["-fvisibility=hidden", "-Wno-unused-parameter", *(["-g0"] if variant == "plain" else ["-O1"])],
        "link": [*(f"-L{folder}" for folder in folders), "-ltorch", "-ltorch_cpu", "-lc10"],
    }


def sources(*patterns: str) -> list[Path]:
    """Files of csrc that match."""
    return [path for pattern in patterns for path in sorted((ROOT / "csrc").glob(pattern))]


def build(variant: Variant = "plain") -> Path:
    """Path of the library of a sanitizer variant; compiled where a source changed."""
    return toolchain.build_shared(NAMESPACE, sources("ops/*.cpp", "cpu/*.cpp", "cuda/*.cu"), **options(variant))


def load_library(path: str | Path) -> ctypes.CDLL:
    """Registers the ops of a built library, with what Python adds to them."""
    import torch

    from saliency_ext.ops import native

    torch.ops.load_library(str(path))
    native.install(NAMESPACE)
    library = ctypes.CDLL(str(path))
    library.sim_last_error.restype = ctypes.c_char_p
    library.sim_launch_count.restype = ctypes.c_uint64
    return library


@functools.cache
def load() -> ctypes.CDLL:
    """Builds and registers the plain variant, once per process."""
    return load_library(build())


def schedule(seed: int, workers: int = 0) -> None:
    """Order in which the emulator runs blocks and threads, and over how many OS threads."""
    library = load()
    library.sim_set_seed(ctypes.c_uint64(seed))
    library.sim_set_workers(workers)
