"""Image classifiers of timm: what their data configuration says of the inputs. timm itself is imported by `load` alone."""

import importlib
from collections.abc import Mapping
from typing import Any

from ..models import PreprocessSpec
from .loaded import Loaded, interpolation_of, numbers, unreadable
from .partner import partner

_LEAST = (0, 9)
_CROP_PCT = 0.875  # timm's, where a configuration has none


def load(name: str) -> Loaded:
    """A model of timm with its pretrained weights, from its cache or, where it has none, from the network as timm does.

    Raises:
        ImportError: timm is missing, broken or too old. Whatever timm raises for names and weights that there are not.

    Example:
        >>> load("vit_tiny_patch16_224")  # doctest: +SKIP
        Loaded(forward=VisionTransformer(...), preprocessing=PreprocessSpec(...), labels=None)
    """
    model = partner("timm", _LEAST, "timm").create_model(name, pretrained=True).eval()
    found = importlib.import_module("timm.data").resolve_data_config({}, model=model)
    return Loaded(model, preprocess_spec(found), class_names(model))


def preprocess_spec(config: Any) -> PreprocessSpec:
    """How pictures become inputs, from a data configuration or from a model.

    Args:
        config: what `timm.data.resolve_data_config` gives, or a model with `pretrained_cfg`: input_size (C, H, W), mean, std,
            crop_pct, crop_mode, interpolation.

    Raises:
        TypeError: neither of these. ValueError: a configuration that cannot be read.

    Note:
        The shorter side is the shorter side of the inputs over crop_pct (0.875 if missing, as in timm), rounded down;
        crop_mode "squash" is no crop.

    Example:
        >>> print(preprocess_spec({"input_size": (3, 224, 224), "mean": (0.5,) * 3, "std": (0.5,) * 3, "crop_pct": 0.9}))
        shorter side 248, middle 224 x 224 (bicubic); mean 0.5, 0.5, 0.5; std 0.5, 0.5, 0.5 (timm)
    """
    found = getattr(config, "pretrained_cfg", config)
    expected = "a data configuration or a model that has one"
    if not isinstance(found, Mapping):
        unreadable("timm", config, expected)
    try:
        _, height, width = (int(side) for side in found["input_size"])
        crop = found.get("crop_pct") or _CROP_PCT
        return PreprocessSpec(
            numbers(found["mean"]),
            numbers(found["std"]),
            (height, width),
            shorter=None if found.get("crop_mode") == "squash" else int(min(height, width) / crop),
            interpolation=interpolation_of(found.get("interpolation"), "bicubic"),
            source="timm",
        )
    except (ValueError, TypeError, KeyError) as error:
        unreadable("timm", config, expected, error)


def class_names(model: Any) -> tuple[str, ...] | None:
    """Names of the classes from `model.pretrained_cfg["label_names"]`; None if there are none.

    Example:
        >>> from types import SimpleNamespace
        >>> class_names(SimpleNamespace(pretrained_cfg={"label_names": ["cat", "dog"]}))
        ('cat', 'dog')
    """
    names = getattr(model, "pretrained_cfg", {}).get("label_names")
    return tuple(str(name) for name in names) if names else None
