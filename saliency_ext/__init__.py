"""saliency_ext computes saliency maps and judges them. Public names only; see README.md for the tour."""

import torch as _torch  # noqa: F401  (the native library links against it)

from ._load import load_native as _load_native

_load_native()

from . import attribution, disambiguation, infill, metrics, ops, probing, reference, segmentation  # noqa: E402
from .evaluation import TargetMaps, evaluate  # noqa: E402

ops.native.install("saliency_ext")

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
    "probing",
    "reference",
    "segmentation",
]
