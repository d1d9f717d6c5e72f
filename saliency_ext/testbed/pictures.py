"""The raw material: photographs and handwritten digits that ship inside scikit-image and scikit-learn.

Each has a training and a test half: the left 70 % and the right 30 % of every photograph, the first 1,347 and the last 450
digits (other writers). Everything is read from the installed packages; nothing is ever downloaded.
"""

from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checks import require_choice

SPLITS = ("train", "test")
PICTURES = (
    "brick.png",
    "grass.png",
    "gravel.png",
    "coffee.png",
    "chelsea.png",
    "astronaut.png",
    "rocket.jpg",
    "ihc.png",
    "hubble_deep_field.jpg",
    "moon.png",
    "motorcycle_left.png",
    "coins.png",
    "china.jpg",
    "flower.jpg",
)
_FROM_SKLEARN = ("china.jpg", "flower.jpg")
_TRAIN_SHARE = 0.7  # of a photograph's width
_TRAIN_DIGITS = 1347


@lru_cache(maxsize=1)
def photographs() -> tuple[Tensor, ...]:
    """All photographs in the order of `PICTURES`: (3, H, W) uint8; grey ones have three equal channels.

    Raises:
        ImportError: scikit-image or scikit-learn is missing. FileNotFoundError: the package came without a picture.
    """
    folders = {True: _folder("sklearn.datasets", "images"), False: _folder("skimage.data")}
    return tuple(_read(folders[name in _FROM_SKLEARN] / name) for name in PICTURES)


@lru_cache(maxsize=1)
def digits() -> tuple[Tensor, Tensor]:
    """Handwritten digits (1797, 8, 8) int64, ink 0 to 16, and what they are (1797,) int64.

    Raises:
        ImportError: scikit-learn is missing.
    """
    result = _import("sklearn.datasets").load_digits()
    return torch.from_numpy(result.images).long(), torch.from_numpy(result.target).long()


def columns(split: str, width: int) -> tuple[int, int]:
    """Columns [first, last) of a photograph that belong to a split."""
    border = int(_TRAIN_SHARE * width)
    return (border, width) if require_choice("columns", "split", split, SPLITS) else (0, border)


def digit_range(split: str) -> tuple[int, int]:
    """Digits [first, last) that belong to a split."""
    test = require_choice("digit_range", "split", split, SPLITS)
    return (_TRAIN_DIGITS, len(digits()[1])) if test else (0, _TRAIN_DIGITS)


@lru_cache(maxsize=2)
def handwritings(split: str) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of a split's digits sorted by class, and for each class 0-9 where its own begin there and how many they are."""
    first, last = digit_range(split)
    classes = digits()[1][first:last]
    counts = torch.bincount(classes, minlength=10)
    return classes.argsort(stable=True) + first, counts.cumsum(0) - counts, counts


def _import(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        package = {"sklearn": "scikit-learn", "skimage": "scikit-image"}[name.split(".")[0]]
        message = f"testbed: expected {package} to be installed (its pictures are the scenes), got {error}; pip install {package}"
        raise ImportError(message) from error


def _folder(package: str, *parts: str) -> Path:
    return Path(_import(package).__file__).parent.joinpath(*parts)


def _read(path: Path) -> Tensor:
    if not path.exists():
        # Its own loader would download the file: that is for the user to decide.
        raise FileNotFoundError(f"testbed: expected the picture {path}, got no such file; reinstall the package from its wheel")
    pixels = torch.from_numpy(_import("skimage.io").imread(path))
    return pixels.expand(3, *pixels.shape).clone() if pixels.ndim == 2 else pixels[..., :3].permute(2, 0, 1).contiguous()
