"""Who may import whom, and which files an op consists of: the README's layout, enforced."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import saliency_ext
from saliency_ext.ops import native
from tests.ops.all_contracts import CONTRACTS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, CSRC, TESTS = ROOT / "saliency_ext", ROOT / "csrc", ROOT / "tests"

# A module imports from the rows above its own; the modules of one row do not know each other.
LAYERS = [
    {"_C"},
    {"_interrupt", "_load", "bibliography", "protocols", "checks", "rng_streams", "nonfinite", "_digests"},
    {"_atomic_io", "_registry", "fingerprinting"},
    {"reference"},
    {"ops"},
    {"infill", "segmentation", "models", "testbed", "stats"},
    {"perturbation"},
    {"metrics", "attribution"},
    {"evaluation"},
    {"study"},
    {"ranking"},
    {"comparison", "disambiguation"},
    {"report", "conformance"},
    {"doctor", "demo"},
    {"integrations"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
ONE_IMPORTS = {"integrations": "commands", "cli": "__main__", "__main__": ""}  # and nobody else
MAY_PRINT = {"cli.py"}
READS_ENVIRONMENT = {"doctor.py"}


def python_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def unit_of(path: Path) -> str:
    """The module or subpackage of saliency_ext that a file belongs to."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports_of(path: Path) -> Iterator[str]:
    """Units of saliency_ext that a file imports."""
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            yield from (parts[1] for parts in names if parts[0] == "saliency_ext" and len(parts) > 1)
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".") if node.module else []
            if node.level == 0 and module[:1] == ["saliency_ext"]:
                module = module[1:]
            elif node.level == 0 or node.level < depth:
                continue  # another library, or inside the same subpackage
            yield from [module[0]] if module else [alias.name for alias in node.names]


@pytest.mark.parametrize("path", python_files(PACKAGE), ids=name_of)
def test_python_imports_go_up_only(path: Path) -> None:
    unit = unit_of(path)
    if unit == "__init__":
        return
    level = {name: number for number, names in enumerate(LAYERS) for name in names}
    assert unit in level, f"{unit} is in no layer: add it to LAYERS, and to the README"
    for imported in imports_of(path):
        if imported == unit or imported not in level:  # itself, or a name of saliency_ext/__init__
            continue
        assert level[imported] < level[unit], f"{unit} must not import {imported}"
        assert ONE_IMPORTS.get(imported, unit) == unit, f"nothing imports {imported} but {ONE_IMPORTS[imported]}"


@pytest.mark.parametrize("path", python_files(PACKAGE), ids=name_of)
def test_library_code_has_manners(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        where = f"{name_of(path)}:{getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.Assert), f"{where}: raise an error that names the argument instead of asserting"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            assert path.name in MAY_PRINT, f"{where}: library code does not print"
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if text == "torch.ops" or text.startswith("torch.ops."):
                assert unit_of(path) == "ops", f"{where}: only saliency_ext/ops touches torch.ops"
            if text in ("os.environ", "os.getenv"):
                assert path.name in READS_ENVIRONMENT, f"{where}: no environment variable is read at run time"


# A call of the user's model, and what only saliency_ext/models may do to it.
CALLS_OF_A_MODEL = ("forward", "model", "self.model", "self.forward", "self._model", "self._forward_model")
OWN_NETWORKS = ("testbed", "demo", "models", "integrations", "reference")  # nets of the library, adapters, naive code
OTHER_FORWARDS = (  # files in which one of these names is no classifier
    "attribution/agf/_graph.py",
    "conformance/_metric_rules.py",
    "disambiguation/segment_anything.py",
    "perturbation/_cuda_graph.py",
)


@pytest.mark.parametrize("path", python_files(PACKAGE), ids=name_of)
def test_the_model_is_reached_in_one_way(path: Path) -> None:
    if unit_of(path) in OWN_NETWORKS or str(path.relative_to(PACKAGE)) in OTHER_FORWARDS:
        return
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.Call):
            continue
        where, text = f"{name_of(path)}:{node.lineno}", ast.unparse(node.func)
        assert text not in CALLS_OF_A_MODEL, f"{where}: call it through models.logits.model_logits"
        assert text.rpartition(".")[2] != "logits_of", f"{where}: call the model through models.logits.model_logits"
        hook = text.rpartition(".")[2].startswith("register_") and text.endswith("hook")
        assert not hook, f"{where}: hooks are registered by models.hooks, for one thread"


INTEGRATES_CURVES = "perturbation/curve_integration.py"
NAIVE = ("reference",)  # which states the definition once more, to be compared with


@pytest.mark.parametrize("path", python_files(PACKAGE), ids=name_of)
def test_curves_are_integrated_in_one_place(path: Path) -> None:
    if unit_of(path) in NAIVE or str(path.relative_to(PACKAGE)) == INTEGRATES_CURVES:
        return
    for node in ast.walk(tree_of(path)):
        where = f"{name_of(path)}:{getattr(node, 'lineno', 0)}: integrate with perturbation.{Path(INTEGRATES_CURVES).stem}"
        if isinstance(node, ast.Call):
            assert not re.search(r"\b(cumulative_)?(trapezoid|trapz|simpson)$", ast.unparse(node.func)), where
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            sides = [ast.unparse(side.slice) if isinstance(side, ast.Subscript) else "" for side in (node.left, node.right)]
            assert not (("1:" in sides[0] and ":-1" in sides[1]) or (":-1" in sides[0] and "1:" in sides[1])), where


# ---- csrc

MAY_INCLUDE = {  # folder -> folders it may include from; "" is csrc itself
    "common": {"common"},
    "kernels.h": {"common"},
    "cpu": {"cpu", "kernels.h", "common"},
    "cuda": {"cuda", "kernels.h", "common"},
    "ops": {"ops", "kernels.h"},
    "module.cpp": {"ops", "cpu"},
}
CSRC_FILES = sorted(path for path in CSRC.rglob("*") if path.suffix in (".h", ".cuh", ".cpp", ".cu"))


@pytest.mark.parametrize("path", CSRC_FILES, ids=name_of)
def test_csrc_includes_go_one_way(path: Path) -> None:
    folder = path.relative_to(CSRC).parts[0]
    for number, line in enumerate(path.read_text().splitlines(), 1):
        where = f"{name_of(path)}:{number}"
        if match := re.match(r'\s*#include "(.+)"', line):
            if match[1] == "cuda_sim.h":
                assert name_of(path) == "csrc/cuda/launch.h", f"{where}: only launch.h knows the emulation"
                continue
            candidates = [(path.parent / match[1]).resolve(), (CSRC / match[1]).resolve()]
            included = next((file for file in candidates if file.exists()), None)
            assert included is not None, f"{where}: {match[1]} is not in csrc"
            assert included.relative_to(CSRC).parts[0] in MAY_INCLUDE[folder], f"{where}: {folder} must not include {match[1]}"
        if match := re.match(r"\s*#include <(.+)>", line):
            torch_header = match[1].split("/")[0] in ("torch", "ATen", "c10")
            assert not torch_header or folder == "ops", f"{where}: only csrc/ops includes torch"
            stable = match[1].startswith(("torch/csrc/stable/", "torch/headeronly/", "torch/csrc/inductor/aoti_torch/c/"))
            assert not torch_header or stable, f"{where}: only headers of the stable ABI"


def column_of(op: str) -> list[Path]:
    """The files of a native op, found by its name: who defines it, who implements it, its reference, its tests, its bench."""
    (python,) = (path for path in (PACKAGE / "ops").glob("*.py") if f'define("{op}"' in path.read_text())
    (binding,) = (path for path in (CSRC / "ops").glob("*.cpp") if re.search(rf"^\S.* {op}\(", path.read_text(), flags=re.M))
    kernels = [CSRC / "cpu" / binding.name, CSRC / "cuda" / f"{binding.stem}.cu"]
    contracts = [contract for contract in CONTRACTS if op in contract.native or f"{op}_out" in contract.native]
    contracts = contracts or [contract for contract in CONTRACTS if op.removesuffix("_out") in contract.native]
    tests = [ROOT / f"{contract.__module__.replace('.', '/')}.py" for contract in contracts]
    called = re.compile(rf"\b({'|'.join({contract.name for contract in contracts} or {op})})\(")
    benches = [path for path in (ROOT / "bench").glob("bench_*.py") if called.search(path.read_text())]
    return [python, binding, *kernels, *tests[:1], *benches[:1]]


def registered_ops() -> set[str]:
    return set(re.findall(r'm\.def\("(\w+)\(', (CSRC / "ops" / "registry.cpp").read_text()))


def test_every_registered_op_is_implemented_and_defined() -> None:
    implemented = set(re.findall(r'm\.impl\("(\w+)"', (CSRC / "ops" / "registry.cpp").read_text()))
    assert registered_ops() == implemented == set(native.op_names())


@pytest.mark.parametrize("op", sorted(registered_ops()))
def test_every_op_has_its_whole_column(op: str) -> None:
    column = column_of(op)
    assert len(column) == 6 and all(path.exists() for path in column), [name_of(path) for path in column]
    assert re.search(r"\breference\b|def _reference", column[0].read_text()), "it has a naive reference"


def test_no_file_belongs_to_no_op() -> None:
    files = {*(CSRC / "cpu").glob("*.cpp"), *(CSRC / "cuda").glob("*.cu")}
    assert files == {path for op in registered_ops() for path in column_of(op)[2:4]}


def test_every_op_passes_the_contract() -> None:
    reached = {name for contract in CONTRACTS for name in contract.native}
    assert registered_ops() - reached == {"blend_dense_out"}  # out= of every renderer: test_writes_into_out
    public = {name for name in saliency_ext.ops.__all__ if inspect.isfunction(getattr(saliency_ext.ops, name))}
    assert public == {contract.name for contract in CONTRACTS}


def test_the_library_needs_only_the_stable_abi() -> None:
    """No C++ symbol of torch is left open: the binary outlives the torch it was built with."""
    library = saliency_ext._C.__file__
    symbols = subprocess.run(["nm", "-D", "--undefined-only", "-C", library], check=True, capture_output=True, text=True).stdout
    wanted = [line.split(maxsplit=1)[1] for line in symbols.splitlines() if re.search(r"\b(c10|at|torch)::", line)]
    assert not wanted, wanted
    assert "aoti_torch" in symbols  # it is the right file


def documented(text: str) -> set[str]:
    """Names in the Args and Attributes sections of a docstring."""
    found: set[str] = set()
    for section in re.finditer(r"^( *)(?:Args|Attributes):\n((?:\1 {2,}.*\n|\s*\n)*)", f"{text}\n", re.MULTILINE):
        indent = len(section[1]) + 4
        for entry in re.findall(rf"^ {{{indent}}}((?:\*{{0,2}}\w+(?:, )?)+):(?: |$)", section[2], re.MULTILINE):
            found |= {name.strip().lstrip("*") for name in entry.split(",")}
    return found


@pytest.mark.parametrize("path", python_files(PACKAGE), ids=name_of)
def test_docstrings_describe_arguments_that_exist(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.FunctionDef):
            continue
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        unknown = documented(ast.get_docstring(node, clean=False) or "") - {each.arg for each in every if each}
        assert not unknown, f"{name_of(path)}:{node.lineno}: {node.name} has no argument {unknown}"
