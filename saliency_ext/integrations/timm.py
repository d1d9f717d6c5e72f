"""Image classifiers of timm: preprocessing from their data configuration. timm is imported by `load` alone."""

import importlib
from collections.abc import Mapping
from functools import partial
from typing import Any

from ..models import PreprocessSpec
from ._loaded_model import LoadedModel, Processor, measured, unreadable
from ._optional_dependency import optional_dependency

_OLDEST = (0, 9)


def load(name: str) -> LoadedModel:
    """A model of timm with its pretrained weights, from its cache or, where it has none, from the network as timm does.

    Raises:
        ImportError: timm is missing, broken or too old. Whatever timm raises for names and weights that there are not.

    Example:
        >>> load("vit_tiny_patch16_224")  # doctest: +SKIP
        Loaded(forward=VisionTransformer(...), preprocessing=PreprocessSpec(...), labels=None)
    """
    model = optional_dependency("timm", _OLDEST, "timm").create_model(name, pretrained=True).eval()
    return LoadedModel(model, preprocess_spec(model), class_names(model))


def preprocess_spec(config: Any) -> PreprocessSpec:
    """How pictures become inputs, from a data configuration or from a model: by timm's own transform of it.

    Args:
        config: what `timm.data.resolve_data_config` gives, or a model with `pretrained_cfg`.

    Raises:
        TypeError: neither of these. ValueError: a configuration of which timm makes no transform, or timm is not installed: a
            configuration means what timm makes of it.

    Example:
        >>> preprocess_spec({"input_size": (3, 224, 224), "crop_pct": 0.9})  # doctest: +SKIP
        PreprocessSpec(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), size=(224, 224), ...)
    """
    result = getattr(config, "pretrained_cfg", config)
    expected = "a data configuration or a model that has one,"
    if not isinstance(result, Mapping):
        unreadable("timm", config, expected)
    try:
        optional_dependency("timm", _OLDEST, "timm")
        options = {"pretrained_cfg": dict(result)} if result is config else {"model": config}
        return measured(_processor(importlib.import_module("timm.data").resolve_data_config({}, **options)), "timm")
    except Exception as error:  # of many kinds: whatever timm and torchvision raise
        unreadable("timm", config, expected, error)


def _processor(found: Mapping[str, Any]) -> Processor:
    transform = importlib.import_module("timm.data").create_transform(**found, is_training=False)
    grey = found["input_size"][0] == 1  # timm reads such pictures grey, and its transform then takes them so
    return Processor(partial(_of_grey, transform) if grey else transform, partial(_at_side, found))


def _of_grey(transform: Any, picture: Any) -> Any:
    return transform(picture.convert("L"))


def _at_side(found: Mapping[str, Any], side: int) -> Processor:
    return _processor({**found, "input_size": (found["input_size"][0], side, side)})


def class_names(model: Any) -> tuple[str, ...] | None:
    """Names of the classes from `model.pretrained_cfg["label_names"]`; None if there are none.

    Example:
        >>> from types import SimpleNamespace
        >>> class_names(SimpleNamespace(pretrained_cfg={"label_names": ["cat", "dog"]}))
        ('cat', 'dog')
    """
    names = getattr(model, "pretrained_cfg", {}).get("label_names")
    return tuple(str(name) for name in names) if names else None
