"""saliency_ext computes saliency maps and judges them. Public names only; see README.md for the tour.

The native library and the ops are loaded at once; the other packages when they are first asked for.
"""

import typing as _typing
from importlib import import_module as _import_module

from ._interrupt import install as _install

_install()

import torch as _torch  # noqa: E402, F401  (the native library links against it)

from ._load import load_native as _load_native  # noqa: E402

_load_native()

from . import ops, reference  # noqa: E402

ops.native.install("saliency_ext")

if _typing.TYPE_CHECKING:
    from . import attribution, disambiguation, infill, metrics, perturbation, segmentation
    from .evaluation.evaluate import evaluate
    from .evaluation.maps import TargetMaps

__version__ = "0.1.0"

__all__ = [
    "TargetMaps",
    "__version__",
    "attribution",
    "disambiguation",
    "evaluate",
    "infill",
    "metrics",
    "ops",
    "perturbation",
    "reference",
    "segmentation",
]

_PACKAGES = (
    "attribution",
    "comparison",
    "conformance",
    "disambiguation",
    "evaluation",
    "infill",
    "integrations",
    "metrics",
    "models",
    "nonfinite",
    "perturbation",
    "protocols",
    "ranking",
    "report",
    "segmentation",
    "stats",
    "study",
    "testbed",
)
_OF_EVALUATION = ("TargetMaps", "evaluate")


def __getattr__(name: str) -> _typing.Any:
    """Loads what a name stands for; from then on it is an ordinary attribute."""
    if name in _PACKAGES:
        return _import_module(f"{__name__}.{name}")
    if name in _OF_EVALUATION:
        globals()[name] = getattr(_import_module(f"{__name__}.evaluation"), name)
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names and the packages, loaded or not."""
    return sorted({*globals(), *__all__, *_PACKAGES})
