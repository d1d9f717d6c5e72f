"""Every bench and study can be started: none imports a name that is elsewhere."""

import importlib
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"
MODULES = sorted(".".join(path.relative_to(BENCH.parent).with_suffix("").parts) for path in BENCH.rglob("*.py"))


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith(("__main__", "__init__"))])
def test_it_can_be_imported(name):
    importlib.import_module(name)
