"""What `import saliency_ext` loads, counted in fresh processes: its seconds are measured in bench/import_time.py, not here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import saliency_ext

HEAVY = ("skimage", "scipy", "sklearn", "matplotlib", "PIL", "pyarrow", "jinja2", "pandas", "torch._dynamo", "torch._inductor")


def loaded(code):
    """Names of the modules that a piece of code adds to those of torch."""
    program = f"import sys, torch, json; before = set(sys.modules)\n{code}\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)


def own(names):
    return {name.split(".")[1] for name in names if name.startswith("saliency_ext.")}


@pytest.mark.parametrize("everything", [False, True], ids=["import", "all_names"])
def test_nothing_heavy_is_loaded(everything):
    code = "import saliency_ext" + ("\nfor name in saliency_ext.__all__: getattr(saliency_ext, name)" if everything else "")
    result = loaded(code)
    assert not [name for name in result if name.startswith(HEAVY)]


def test_packages_are_loaded_when_they_are_asked_for():
    assert own(loaded("import saliency_ext")) == {"_C", "_interrupt", "_load", "checks", "ops", "reference", "rng_streams"}
    assert "metrics" not in own(loaded("import saliency_ext; saliency_ext.infill"))
    assert "evaluation" in own(loaded("from saliency_ext import evaluate"))


def test_every_package_is_a_name_before_it_is_loaded():
    """In a fresh process: all folders but that of the command line, and the modules that users build on."""
    folders = {path.parent.name for path in Path(saliency_ext.__file__).parent.glob("*/__init__.py")} - {"commands"}
    wanted = sorted({*saliency_ext.__all__, *folders, "protocols", "nonfinite"})
    result = subprocess.run([sys.executable, "-c", _NAMES, *wanted], capture_output=True, text=True)
    assert (result.returncode, result.stdout.split()) == (0, wanted), result.stderr


_NAMES = """
import sys
import saliency_ext as sx
names = dir(sx)
print(*(name for name in sys.argv[1:] if name in names and getattr(sx, name) is getattr(sx, name)))
"""


def test_a_lazy_name_is_what_it_stands_for():
    from saliency_ext.evaluation import TargetMaps, evaluate

    assert saliency_ext.evaluate is evaluate and saliency_ext.TargetMaps is TargetMaps
    assert "evaluate" in vars(saliency_ext), "looked up once"
    with pytest.raises(AttributeError, match="module 'saliency_ext' has no attribute 'evaluates'"):
        _ = saliency_ext.evaluates
    with pytest.raises(ImportError, match="cannot import name 'evaluates'"):
        from saliency_ext import evaluates  # noqa: F401
