"""A partner that is missing, broken or too old: one line that says what to install. And none is imported with the package."""

import subprocess
import sys

import pytest

from saliency_ext.integrations.partner import partner

PARTNERS = ("torchmetrics", "captum", "quantus", "lightning", "pytorch_lightning", "transformers", "timm", "torchvision")


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
    name = "a_partner_of_the_tests"
    if text is not None:
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ImportError) as error:
        partner(name, (1, 0), "torchmetrics")
    assert str(error.value) == f"{name} >= 1.0 is needed, {got}; pip install 'saliency_ext[torchmetrics]'"


def test_a_partner_that_is_new_enough(tmp_path, monkeypatch):
    (tmp_path / "a_new_partner.py").write_text("__version__ = '1.10rc1'")
    monkeypatch.syspath_prepend(tmp_path)
    assert partner("a_new_partner", (1, 9), "torchmetrics").__version__ == "1.10rc1"


def test_the_package_imports_no_partner():
    """In a fresh process; the seconds it takes beyond torch are printed by `python -X importtime`, not tested."""
    code = "import sys, saliency_ext; print([name for name in sys.argv[1:] if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code, *PARTNERS], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
