"""The element maths of csrc/common, under the address and undefined-behaviour sanitizers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.native import toolchain
from tests.native.toolchain import Variant

PROGRAM = Path(__file__).parent / "common_headers.cpp"


@pytest.mark.parametrize("variant", ["plain", "address"])
def test_common_headers(variant: Variant) -> None:
    program = toolchain.build_program("common_headers", [PROGRAM], variant=variant)
    done = toolchain.run_program(variant, program)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("0 failures\n"), done.stdout
