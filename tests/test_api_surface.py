"""Public names change on purpose only: edit tests/api_surface.txt in the same commit."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType

import saliency_ext
import saliency_ext.comparison

FROZEN = Path(__file__).with_name("api_surface.txt")


def surface(module: ModuleType) -> list[str]:
    """One line per public name: functions with their parameters."""
    lines = []
    for name in sorted(module.__all__):
        value = getattr(module, name)
        parameters = ""
        if inspect.isfunction(value):
            signature = inspect.signature(value).parameters.values()
            required = [p.name + ("" if p.default is p.empty else "=") for p in signature]
            star = next((i for i, p in enumerate(signature) if p.kind is p.KEYWORD_ONLY), None)
            parameters = "(" + ", ".join(required if star is None else [*required[:star], "*", *required[star:]]) + ")"
        lines.append(f"{module.__name__}.{name}{parameters}")
    return lines


MODULES = (
    "attribution",
    "comparison",
    "disambiguation",
    "evaluation",
    "infill",
    "metrics",
    "ops",
    "perturbation",
    "reference",
    "segmentation",
)


def test_public_names_are_frozen() -> None:
    modules = [saliency_ext, *(getattr(saliency_ext, name) for name in MODULES)]
    current = [line for module in modules for line in surface(module)]
    assert current == FROZEN.read_text().splitlines(), "\n".join(current)


def test_public_names_are_documented() -> None:
    for name in saliency_ext.ops.__all__:
        value = getattr(saliency_ext.ops, name)
        if inspect.isfunction(value):
            text = inspect.getdoc(value) or ""
            missing = [part for part in ("Args:", "Returns:", "Raises:", "Note:", "Example:") if part not in text]
            assert not missing, f"{name}: {missing}"


def test_all_is_what_can_be_imported() -> None:
    for module in (saliency_ext, saliency_ext.ops, saliency_ext.reference):
        public = {name for name, value in vars(module).items() if not name.startswith("_") and not inspect.ismodule(value)}
        assert public <= set(module.__all__), f"{module.__name__}: {public - set(module.__all__)}"
