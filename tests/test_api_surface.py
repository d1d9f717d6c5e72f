"""Public names: importable, listed in `__all__`, and documented."""

from __future__ import annotations

import inspect

import saliency_ext
import saliency_ext.ops
import saliency_ext.reference


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
