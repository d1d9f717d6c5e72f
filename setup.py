"""Builds the one extension, saliency_ext._C: CPU kernels always, CUDA kernels where a CUDA toolkit is found (GPU or not)."""

import glob
import os
import re
import subprocess
from pathlib import Path

import torch
from setuptools import setup
from torch.utils import cpp_extension

ROOT = Path(__file__).parent
VERSION = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M).group(1)
TORCH_TARGET = "2.11"  # oldest torch on which the built library runs: the stable ABI of that release
ARCHS = os.environ.setdefault("TORCH_CUDA_ARCH_LIST", "8.0;9.0;10.0+PTX")


def cuda_toolkit() -> Path | None:
    """The toolkit's own folder: an nvcc on PATH may be a wrapper script somewhere else."""
    if os.environ.get("SALIENCY_EXT_CUDA") == "0":
        return None
    homes = [os.environ.get("CUDA_HOME"), *sorted(glob.glob("/usr/local/cuda*"), reverse=True)]
    return next((Path(home).resolve() for home in homes if home and (Path(home) / "bin/nvcc").exists()), None)


def cuda_version(toolkit: Path) -> str:
    text = subprocess.run([toolkit / "bin/nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"release ([\d.]+)", text).group(1)


def extension():
    toolkit = cuda_toolkit()
    major, minor = map(int, TORCH_TARGET.split("."))
    define = [
        f"-DTORCH_TARGET_VERSION=0x{major:02x}{minor:02x}000000000000",
        f"-DSX_VERSION={VERSION}",
        f"-DSX_TORCH_TARGET={TORCH_TARGET}",
        f"-DSX_TORCH_BUILT_WITH={torch.__version__}",
    ]
    # Without contraction to FMA the CPU, vector and CUDA versions of a formula round alike. Python's own flags ask for -g.
    cxx = ["-std=c++20", "-O3", "-g0", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
    cxx += ["-Wall", "-Wextra", "-Wno-unused-parameter"]
    link = ["-Wl,--no-as-needed", "-ltorch", "-Wl,--as-needed"]  # keeps libtorch: the weak CUDA stream symbol binds through it
    sources = [*glob.glob("csrc/*.cpp"), *glob.glob("csrc/cpu/*.cpp"), *glob.glob("csrc/ops/*.cpp")]
    library_dirs, libraries = [], []
    if toolkit is not None:
        cpp_extension.CUDA_HOME = str(toolkit)  # None under a CPU-only torch
        define += ["-DSX_WITH_CUDA", f"-DSX_CUDA_VERSION={cuda_version(toolkit)}", f"-DSX_CUDA_ARCHS={ARCHS.replace(';', ' ')}"]
        sources += glob.glob("csrc/cuda/*.cu")
        library_dirs, libraries = [str(toolkit / "lib64")], ["cudart_static", "dl", "rt", "pthread"]
    define = [flag.replace(" ", "_") for flag in define]
    return cpp_extension.CppExtension(
        "saliency_ext._C",
        sorted(sources),
        library_dirs=library_dirs,
        libraries=libraries,
        extra_compile_args={"cxx": [*cxx, *define], "nvcc": ["-std=c++20", "-O3", "-fmad=false", *define]},
        extra_link_args=link,
    )


setup(ext_modules=[extension()], cmdclass={"build_ext": cpp_extension.BuildExtension})
