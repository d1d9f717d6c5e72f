"""All kernels and their bindings under sanitizers, each in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from saliency_ext.ops import native
from tests.native import simulated_ops, toolchain
from tests.native.toolchain import Variant

PROGRAM = Path(__file__).parent / "kernels_program.cpp"


@pytest.mark.parametrize("variant", ["address", "thread"])
def test_ops_over_the_emulated_kernels(variant: Variant) -> None:
    """Bindings and .cu files through torch: see sanitized_ops.py."""
    library = simulated_ops.build(variant)
    few = ["--few"] if variant == "thread" else []
    done = toolchain.run_python(variant, "-m", "tests.native.sanitized_ops", str(library), *few, timeout=300)
    assert done.returncode == 0, done.stdout
    assert " launches" in done.stdout.splitlines()[-1], done.stdout


@pytest.mark.parametrize("variant", ["plain", "address", "thread"])
def test_kernels_without_torch(variant: Variant) -> None:
    """CPU kernels from two threads, against the emulated CUDA kernels; under TSan, where emulation is slow, by themselves."""
    files = [PROGRAM, *simulated_ops.sources("cpu/*.cpp", "cuda/*.cu")]
    program = toolchain.build_program("kernels_program", files, **simulated_ops.options(variant) | {"link": []})
    done = toolchain.run_program(variant, program, *(["cpu"] if variant == "thread" else []))
    assert (done.returncode, done.stdout) == (0, "0 failures\n")


def test_direct_calls_with_hostile_arguments() -> None:
    """5,000 of them: see fuzzed_ops.py. What was found stays in tests/ops/test_native_checks.py."""
    done = toolchain.run_python(
        "address", "-m", "tests.native.fuzzed_ops", str(simulated_ops.build("address")), "5000", timeout=300
    )
    assert done.returncode == 0, done.stdout[-5000:]
    last = done.stdout.splitlines()[-1]
    assert last.startswith("5000 calls, ") and f"of {len(native.op_names())} ops" in last, last
