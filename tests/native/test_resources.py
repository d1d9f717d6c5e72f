"""No kernel has a stack frame or spills, and none takes more registers or shared memory than recorded."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.native import resources, toolchain
from tests.native.resources import Resources

PLANTED = Path(__file__).parent / "planted" / "resources.cu"


def compiler() -> Path:
    nvcc = toolchain.find_nvcc()
    if nvcc is None:
        pytest.skip("no CUDA toolkit in /usr/local/cuda*")
    return nvcc


@pytest.mark.parametrize("arch", resources.ARCHITECTURES)
def test_every_kernel_stays_within_the_record(arch: str) -> None:
    recorded = json.loads(resources.RECORD.read_text())
    assert resources.complaints(resources.measure_all(compiler(), arch), recorded[arch]) == []


def test_the_gate_sees_planted_regressions() -> None:
    result = resources.measure(PLANTED, compiler(), "sm_90")
    allowed = {name: asdict(used) for name, used in result.items()}
    wrong = resources.complaints(result, allowed)
    assert any(text.startswith("local_array: ") and "bytes of stack" in text for text in wrong), wrong
    assert any(text.startswith("spills: ") and "bytes of spills" in text for text in wrong), wrong
    assert not any(text.startswith("no_local_array") for text in wrong), wrong


def test_the_gate_sees_registers_and_names() -> None:
    result = {"blend": Resources(registers=40, stack=0, spills=0, shared=256)}

    def allowed(registers: int, shared: int) -> dict[str, int]:
        return {"registers": registers, "stack": 0, "spills": 0, "shared": shared}

    assert resources.complaints(result, {"blend": allowed(40, 256)}) == []
    assert resources.complaints(result, {"blend": allowed(39, 256)}) == ["blend: 40 registers, 39 recorded"]
    assert resources.complaints(result, {"blend": allowed(40, 255)}) == ["blend: 256 bytes of shared memory, 255 recorded"]
    assert len(resources.complaints(result, {})) == 1
    assert len(resources.complaints(result, {"blend": allowed(40, 256), "gone": allowed(1, 0)})) == 1


def test_a_report_of_an_unknown_form_is_an_error() -> None:
    with pytest.raises(ValueError, match="cannot read the report"):
        resources.parse("ptxas info    : Compiling entry function 'kernel' for 'sm_90'\nnothing else")
