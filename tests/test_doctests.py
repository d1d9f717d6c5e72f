"""Every example of a docstring runs, on the CPU."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import saliency_ext

PACKAGE = Path(saliency_ext.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [".".join(("saliency_ext", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__") for path in FILES]


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("__main__")])
def test_examples(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if ".integrations." not in name:
            raise
        pytest.skip(str(error))  # its partner is not installed
    results = doctest.testmod(module)
    assert results.failed == 0


def test_every_op_has_an_example() -> None:
    finder = doctest.DocTestFinder()
    for name in saliency_ext.ops.__all__:
        value = getattr(saliency_ext.ops, name)
        if name != "native":
            assert any(test.examples for test in finder.find(value, name)), name
