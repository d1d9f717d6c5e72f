"""Every op's contract, for tests that go over all of them: found in the test files of this folder."""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.ops.contract import OpContract


def _found() -> tuple[type[OpContract], ...]:
    files = [path for path in sorted(Path(__file__).parent.glob("test_*.py")) if "Contract):" in path.read_text()]
    modules = [importlib.import_module(f"tests.ops.{path.stem}") for path in files]
    return tuple(
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, OpContract)
        and value.__module__ == module.__name__
        and "name" in vars(value)
    )


CONTRACTS = _found()
