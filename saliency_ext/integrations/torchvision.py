"""Image classifiers of torchvision: what their weights say of the inputs. torchvision itself is imported by `load` alone."""

from typing import Any

from ..models import PreprocessSpec
from .loaded import Loaded, interpolation_of, numbers, unreadable
from .partner import partner

_LEAST = (0, 14)


def load(name: str) -> Loaded:
    """A model of torchvision with its default weights, from its cache or, where it has none, from the network.

    Raises:
        ImportError: torchvision is missing, broken or too old. Whatever torchvision raises for names and weights it has not.

    Example:
        >>> load("resnet18")  # doctest: +SKIP
        Loaded(forward=ResNet(...), preprocessing=PreprocessSpec(...), labels=('tench', ...))
    """
    models = partner("torchvision", _LEAST, "torchvision").models
    weights = models.get_model_weights(name).DEFAULT
    return Loaded(models.get_model(name, weights=weights).eval(), preprocess_spec(weights), class_names(weights))


def preprocess_spec(weights: Any) -> PreprocessSpec:
    """How pictures become inputs, from weights (`ResNet18_Weights.DEFAULT`) or what their `transforms` gives.

    Args:
        weights: with `transforms`, or with crop_size, resize_size, mean, std and interpolation.

    Raises:
        TypeError: neither of these. ValueError: sizes or numbers that cannot be read.

    Example:
        >>> from types import SimpleNamespace
        >>> found = SimpleNamespace(crop_size=[224], resize_size=[256], mean=[0.4] * 3, std=[0.2] * 3, interpolation="bilinear")
        >>> print(preprocess_spec(found))
        shorter side 256, middle 224 x 224 (bilinear); mean 0.4, 0.4, 0.4; std 0.2, 0.2, 0.2 (torchvision)
    """
    expected = "weights, or their transforms"
    found = weights.transforms() if callable(getattr(weights, "transforms", None)) else weights
    if not (hasattr(found, "crop_size") and hasattr(found, "mean")):
        unreadable("torchvision", weights, expected)
    try:
        crop = [int(side) for side in found.crop_size]
        return PreprocessSpec(
            numbers(found.mean),
            numbers(found.std),
            (crop[0], crop[-1]),
            shorter=int(found.resize_size[0]),
            interpolation=interpolation_of(getattr(found, "interpolation", None), "bilinear"),
            source="torchvision",
        )
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        unreadable("torchvision", weights, expected, error)


def class_names(weights: Any) -> tuple[str, ...] | None:
    """Names of the classes from `weights.meta["categories"]`; None if there are none.

    Example:
        >>> from types import SimpleNamespace
        >>> class_names(SimpleNamespace(meta={"categories": ["cat", "dog"]}))
        ('cat', 'dog')
    """
    names = getattr(weights, "meta", {}).get("categories")
    return tuple(str(name) for name in names) if names else None
