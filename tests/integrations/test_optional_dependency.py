"""A third-party package that is missing, broken or too old: one line says what to install. None is imported with the library."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from saliency_ext.integrations import timm, torchvision, transformers
from saliency_ext.integrations._optional_dependency import optional_dependency

PACKAGES = ("torchmetrics", "captum", "quantus", "lightning", "pytorch_lightning", "transformers", "timm", "torchvision")

INTEGRATIONS = ("captum", "quantus", "transformers", "timm", "torchvision")  # importable without the package they integrate


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("__version__ = '0.9.2'", "got 0.9.2"),
        ("", "got one without a version"),
        (
            "raise RuntimeError('no operator nms')",
            "got one that fails with RuntimeError: no operator nms",
        ),
        (None, "got none"),
    ],
)
def test_one_line_says_what_to_install(tmp_path, monkeypatch, text, got):
    name = "a_package_of_the_tests"
    if text is not None:
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ImportError) as error:
        optional_dependency(name, (1, 0), "torchmetrics")
    assert str(error.value) == f"{name} >= 1.0 is needed, {got}; pip install 'saliency_ext[torchmetrics]'"


def test_a_package_that_is_new_enough(tmp_path, monkeypatch):
    (tmp_path / "a_new_package.py").write_text("__version__ = '1.10rc1'")
    monkeypatch.syspath_prepend(tmp_path)
    assert optional_dependency("a_new_package", (1, 9), "torchmetrics").__version__ == "1.10rc1"


def test_the_module_of_a_missing_package_says_it_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    for name in ("torchmetrics", "_torchmetrics_base"):
        monkeypatch.delitem(sys.modules, f"saliency_ext.integrations.{name}", raising=False)
    with pytest.raises(ImportError) as error:
        importlib.import_module("saliency_ext.integrations.torchmetrics")
    assert str(error.value) == "torchmetrics >= 1.0 is needed, got none; pip install 'saliency_ext[torchmetrics]'"


def test_the_extras_named_in_messages_exist_with_the_oldest_version():
    """What a message tells to install, `pyproject.toml` has, with the same oldest version."""
    root = Path(__file__).parents[2]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, module in (("transformers", transformers), ("timm", timm), ("torchvision", torchvision)):
        assert extras[name] == [f"{name}>={'.'.join(map(str, module._OLDEST))}"]
    source = (root / "saliency_ext" / "integrations" / "_torchmetrics_base.py").read_text()
    assert 'optional_dependency("torchmetrics", (1, 0), "torchmetrics")' in source
    assert extras["torchmetrics"] == ["torchmetrics>=1.0"]


def test_the_library_imports_no_third_party_package():
    """Nor do the commands, and the modules that need none to be read: in a fresh process."""
    modules = ", ".join(f"saliency_ext.integrations.{name}" for name in INTEGRATIONS)
    code = f"import sys, saliency_ext.commands._models, {modules}; print([name for name in sys.argv[1:] if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code, *PACKAGES], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
