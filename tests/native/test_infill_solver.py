"""The linear infill's solver, stopped early: from outside its iterations cannot be counted."""

from __future__ import annotations

from pathlib import Path

from tests.native import toolchain

PROGRAM = Path(__file__).parent / "infill_solver.cpp"


def test_every_iteration_counts() -> None:
    done = toolchain.run_program("plain", toolchain.build_program("infill_solver", [PROGRAM]))
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("0 failures\n"), done.stdout
