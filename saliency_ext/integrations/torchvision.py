"""Image classifiers of torchvision: preprocessing from their weights. torchvision is imported by `load` alone."""

from copy import copy
from functools import partial
from typing import Any

from ..models import PreprocessSpec
from ._loaded_model import LoadedModel, Processor, measured, unreadable
from ._optional_dependency import optional_dependency

_OLDEST = (0, 14)


def load(name: str) -> LoadedModel:
    """A model of torchvision with its default weights, from its cache or, where it has none, from the network.

    Raises:
        ImportError: torchvision is missing, broken or too old. Whatever torchvision raises for names and weights it has not.

    Example:
        >>> load("resnet18")  # doctest: +SKIP
        Loaded(forward=ResNet(...), preprocessing=PreprocessSpec(...), labels=('tench', ...))
    """
    models = optional_dependency("torchvision", _OLDEST, "torchvision").models
    weights = models.get_model_weights(name).DEFAULT
    return LoadedModel(models.get_model(name, weights=weights).eval(), preprocess_spec(weights), class_names(weights))


def preprocess_spec(weights: Any) -> PreprocessSpec:
    """How pictures become inputs, from weights (`ResNet18_Weights.DEFAULT`) or from transforms, which are called as they are.

    Args:
        weights: with `transforms`, or what that gives, or any other transform from a Pillow picture to (C, H, W).

    Raises:
        TypeError: neither of these. ValueError: transforms that fail, or whose inputs no `PreprocessSpec` describes.

    Example:
        >>> import numpy as np, torch
        >>> def half(picture):
        ...     return torch.from_numpy(np.array(picture.resize((8, 8)))).movedim(-1, 0) / 127.5 - 1
        >>> print(preprocess_spec(half))
        8 x 8 by its own processor; mean 0.5, 0.5, 0.5; std 0.5, 0.5, 0.5 (torchvision)
    """
    expected = "weights, or their transforms,"
    transforms = weights.transforms() if callable(getattr(weights, "transforms", None)) else weights
    if not callable(transforms):
        unreadable("torchvision", weights, expected)
    try:
        return measured(_processor(transforms), "torchvision")
    except Exception as error:  # of many kinds: whatever transforms raise
        unreadable("torchvision", weights, expected, error)


def _processor(transforms: Any) -> Processor:
    sized = isinstance(getattr(transforms, "crop_size", None), list) and isinstance(
        getattr(transforms, "resize_size", None), list
    )
    return Processor(transforms, partial(_at_side, transforms) if sized else None)


def _at_side(transforms: Any, side: int) -> Processor:
    """torchvision's own preset with another crop, and the shorter side in proportion."""
    changed = copy(transforms)
    crop = min(transforms.crop_size)
    changed.crop_size, changed.resize_size = [side], [max(side, int(edge * side / crop)) for edge in transforms.resize_size]
    return _processor(changed)


def class_names(weights: Any) -> tuple[str, ...] | None:
    """Names of the classes from `weights.meta["categories"]`; None if there are none.

    Example:
        >>> from types import SimpleNamespace
        >>> class_names(SimpleNamespace(meta={"categories": ["cat", "dog"]}))
        ('cat', 'dog')
    """
    names = getattr(weights, "meta", {}).get("categories")
    return tuple(str(name) for name in names) if names else None
