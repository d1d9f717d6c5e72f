"""Loads the native library, or says what to do when it cannot be."""

from importlib import import_module
from types import ModuleType


def load_native() -> ModuleType:
    """The module `_C`; importing it registers torch.ops.saliency_ext."""
    try:
        return import_module("saliency_ext._C")
    except ImportError as error:
        import torch

        raise ImportError(
            f"saliency_ext: expected its native library to load under torch {torch.__version__}, got: {error}; "
            "rebuild it with `pip install --no-build-isolation --force-reinstall --no-deps saliency_ext` in this environment "
            "(torch >= 2.11 and g++ are needed)"
        ) from error
