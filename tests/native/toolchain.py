"""Compiles the native code for tests: with g++ through the host emulation, under a sanitizer, or with nvcc."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

Variant = Literal["plain", "address", "thread", "counted"]

ROOT = Path(__file__).resolve().parents[2]
EMULATION = ROOT / "tests" / "native" / "emulation"
EMULATION_SOURCES = sorted(EMULATION.glob("*.cpp"))
PROFILER = ROOT / "tests" / "native" / "profiler"
JOBS = 2
RACE_EXIT_CODE = 66

# -fno-strict-aliasing: kernels load a float4 from a float pointer, which is normal in CUDA.
_FLAGS = ["-std=c++20", "-O2", "-g1", "-fPIC", "-fno-strict-aliasing", "-ffp-contract=off"]
_WARNINGS = ["-Wall", "-Wextra", "-Wno-unknown-pragmas"]
_VARIANT_FLAGS: dict[str, list[str]] = {
    "plain": [],
    "address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"],
    "thread": ["-fsanitize=thread", "-fno-omit-frame-pointer"],
    "counted": [],
}
# Each load and store of a kernel calls the profiler. Nothing is merged that nvcc would not merge.
_COUNTED_KERNEL = ["-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0", "-fno-tree-vectorize", "-w"]


def build_shared(
    name: str,
    sources: Sequence[Path],
    *,
    variant: Variant = "plain",
    include: Sequence[Path | str] = (),
    define: Sequence[str] = (),
    link: Sequence[str] = (),
    extra: Sequence[str] = (),
) -> Path:
    """Returns build/native/<variant>/<name>.so, compiled from `sources` (.cu files as C++) and the emulator.

    Args:
        include: folders besides csrc/ and the emulator; those outside the repository count as system headers.
        define: `NAME` or `NAME=value`.
        link: arguments for the linker, after the objects.
        extra: arguments for the compiler.

    Raises:
        RuntimeError: g++ failed; the text is its output.
    """
    objects = _compile(sources, variant, include, define, extra)
    return _link(f"{name}.so", objects, variant, ["-shared", *link])


def build_program(
    name: str,
    sources: Sequence[Path],
    *,
    variant: Variant = "plain",
    include: Sequence[Path | str] = (),
    define: Sequence[str] = (),
    link: Sequence[str] = (),
    extra: Sequence[str] = (),
) -> Path:
    """As build_shared, but returns an executable."""
    return _link(name, _compile(sources, variant, include, define, extra), variant, list(link))


def sanitizer_env(variant: Variant) -> dict[str, str]:
    """The environment in which an uninstrumented Python can load a library of this variant."""
    env = dict(os.environ)
    if variant == "address":
        # libstdc++ has to be there before Python asks for it: ASan looks up __cxa_throw at its own start.
        env["LD_PRELOAD"] = f"{_library('libasan.so')} {_library('libstdc++.so.6')}"
        # An absurd size is an error of the allocator, as it is without the sanitizer.
        env["ASAN_OPTIONS"] = "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=1024"
        env["UBSAN_OPTIONS"] = "print_stacktrace=1"
        env["PYTHONMALLOC"] = "malloc"
    elif variant == "thread":
        env["LD_PRELOAD"] = _library("libtsan.so")
        env["TSAN_OPTIONS"] = f"ignore_noninstrumented_modules=1:report_signal_unsafe=0:exitcode={RACE_EXIT_CODE}"
        env["PYTHONMALLOC"] = "malloc"
    return env


def run_python(variant: Variant, *args: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs this Python under the sanitizer of `variant`; stdout and stderr are captured together."""
    return _run_sanitized(variant, sanitizer_env(variant), [sys.executable, *args], timeout)


def run_program(variant: Variant, program: Path, *args: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs an executable of this variant, which brings the sanitizer itself."""
    env = {name: value for name, value in sanitizer_env(variant).items() if name != "LD_PRELOAD"}
    return _run_sanitized(variant, env, [str(program), *args], timeout)


def _run_sanitized(variant: Variant, env: dict[str, str], command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*(_fixed_layout() if variant == "thread" else []), *command],
        check=False,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )


def find_nvcc() -> Path | None:
    """The newest toolkit's own nvcc; one on PATH may be a wrapper script."""
    result = [*Path("/usr/local").glob("cuda*/bin/nvcc")]
    return max(result, key=lambda path: _version(path.resolve().parents[1].name), default=None)


def compile_for_device(source: Path, nvcc: Path) -> Path:
    """Returns the object file that nvcc makes of `source`. Raises RuntimeError with its output."""
    folder = ROOT / "build" / "native" / "device"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{source.stem}.o"
    flags = ["-std=c++20", "-O3", "-gencode=arch=compute_90,code=sm_90", "-Xcompiler", "-fPIC"]
    _run([str(nvcc), *flags, f"-I{ROOT / 'csrc' / 'cuda'}", "-c", str(source), "-o", str(target)])
    return target


def _version(toolkit: str) -> tuple[int, ...]:
    return tuple(int(part) for part in toolkit.removeprefix("cuda-").split(".") if part.isdigit())


def _compile(
    sources: Sequence[Path],
    variant: Variant,
    include: Sequence[Path | str],
    define: Sequence[str],
    extra: Sequence[str],
) -> list[Path]:
    folders = [f"-I{folder}" for folder in (EMULATION, ROOT / "csrc", ROOT / "csrc" / "cuda")]
    folders += [f"-I{path}" if Path(path).is_relative_to(ROOT) else f"-isystem{path}" for path in include]
    flags = [*_FLAGS, *_WARNINGS, *folders, *(f"-D{name}" for name in define), *extra]
    counted = _COUNTED_KERNEL if variant == "counted" else []
    jobs = [(source, [*flags, *_VARIANT_FLAGS[variant], *(counted if source.suffix == ".cu" else [])]) for source in sources]
    # The emulator's own data is shared by all CUDA threads without locks, so TSan must not look at it.
    own = ["-DSIM_THREAD_SANITIZER", "-fno-omit-frame-pointer"] if variant == "thread" else _VARIANT_FLAGS[variant]
    jobs += [(source, [*_FLAGS, *_WARNINGS, f"-I{EMULATION}", *own]) for source in EMULATION_SOURCES]
    with ThreadPoolExecutor(JOBS) as pool:
        return list(pool.map(lambda job: _compile_one(job[0], job[1], variant), jobs))


def _compile_one(source: Path, flags: list[str], variant: str) -> Path:
    """An object file is kept for as long as the flags and every file it was made of stay the same."""
    source = Path(source).resolve()
    key = hashlib.sha256("\0".join([str(source), *flags]).encode()).hexdigest()[:16]
    target = ROOT / "build" / "native" / variant / f"{source.stem}-{key}.o"
    record = target.with_suffix(".json")
    used = json.loads(record.read_text()) if target.exists() and record.exists() else None
    if used is not None and all(_digest(path) == digest for path, digest in used.items()):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}.o")
    rules = part.with_suffix(".d")
    _run(["g++", *flags, "-MD", "-MF", str(rules), "-c", "-x", "c++", str(source), "-o", str(part)])
    names = rules.read_text().replace("\\\n", " ").split(": ", 1)[1].split()
    rules.unlink()
    part.replace(target)
    record.write_text(json.dumps({path: _digest(path) for path in names}))
    return target


def _link(name: str, objects: list[Path], variant: Variant, arguments: list[str]) -> Path:
    target = ROOT / "build" / "native" / variant / name
    command = ["g++", *_VARIANT_FLAGS[variant], *map(str, objects), *arguments, "-pthread", "-o"]
    record = target.with_name(f"{name}.json")
    made_of = {"command": command, "objects": [_digest(str(path)) for path in objects]}
    if target.exists() and record.exists() and json.loads(record.read_text()) == made_of:
        return target
    part = target.with_name(f"{name}.{os.getpid()}")
    _run([*command, str(part)])
    part.replace(target)
    record.write_text(json.dumps(made_of))
    return target


@functools.cache
def _fixed_layout() -> list[str]:
    """TSan needs a memory layout that address randomisation may take away; some containers forbid to turn it off."""
    prefix = ["setarch", "-R"]
    allowed = shutil.which("setarch") and subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode == 0
    return prefix if allowed else []


@functools.cache
def _digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


def _library(name: str) -> str:
    result = subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return str(Path(result.stdout.strip()).resolve())


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}")
