"""Image classifiers of transformers: what they return as logits, and what their image processors say of the inputs.

All but `load` read objects by their shape: transformers itself is imported only there.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..checks import bad_value
from ..models import Classifier, PreprocessSpec
from .loaded import Loaded, interpolation_of, numbers, unreadable
from .partner import partner

_LEAST = (4, 40)
_CONFIG, _PROCESSOR = "config.json", "preprocessor_config.json"
_CROPPED_BELOW = 384  # ConvNeXt's processors crop below this side, and squeeze from it on


def load(folder: str | Path) -> Loaded:
    """The classifier in a local folder that `save_pretrained` wrote; weights as safetensors, nothing is downloaded.

    The image processor's file is read as text: its own reader needs torchvision. Without one, the model's `image_size` (else
    224), mean 0.5 and std 0.5 are assumed, and the source says so.

    Raises:
        ImportError: transformers is missing or too old. FileNotFoundError: no config.json. ValueError: a processor's file that
            cannot be read. Whatever transformers raises for a folder that holds no image classifier.

    Example:
        >>> load("none")
        Traceback (most recent call last):
        ...
        FileNotFoundError: transformers.load: expected a folder with config.json, as save_pretrained writes it, got 'none'
    """
    place = _folder("transformers.load", folder)
    library = partner("transformers", _LEAST, "transformers")
    model = library.AutoModelForImageClassification.from_pretrained(place, local_files_only=True, use_safetensors=True)
    return Loaded(Classifier(model.eval()), folder_spec(place, model), class_names(model))


def load_masks(folder: str | Path) -> Any:
    """The Segment Anything model in a local folder that `save_pretrained` wrote, in eval mode; nothing is downloaded.

    Raises:
        ImportError: transformers is missing or too old. FileNotFoundError: no config.json. Whatever transformers raises for a
            folder that holds another model.
    """
    place = _folder("transformers.load_masks", folder)
    found = partner("transformers", _LEAST, "transformers").SamModel
    return found.from_pretrained(place, local_files_only=True, use_safetensors=True).eval()


def _folder(function: str, folder: str | Path) -> Path:
    place = Path(folder).expanduser()
    if not (place / _CONFIG).is_file():
        expected = f"a folder with {_CONFIG}, as save_pretrained writes it"
        raise FileNotFoundError(f"{function}: expected {expected}, got {str(folder)!r}")
    return place


def folder_spec(folder: Path, model: Any = None) -> PreprocessSpec:
    """What preprocessor_config.json of a folder says; without it, what is assumed of the model.

    Raises:
        ValueError: it cannot be read; the message names the file.
    """
    path = folder / _PROCESSOR
    size = getattr(getattr(model, "config", None), "image_size", None)
    if not path.is_file():
        return preprocess_spec({}, image_size=size, source="assumed")
    try:
        return preprocess_spec(json.loads(path.read_text(encoding="utf-8")), image_size=size, source=path.name)
    except (TypeError, ValueError) as error:
        bad_value("transformers.load", str(path), "to be the settings of an image processor", str(error))


def preprocess_spec(processor: Any, *, image_size: Any = None, source: str | None = None) -> PreprocessSpec:
    """How an image processor prepares pictures.

    Args:
        processor: an image processor, or its settings: what `to_dict` gives and preprocessor_config.json holds.
        image_size: where the settings give no size: a number or a pair (of a model's config); 224 if None.
        source: who says so; the name of the class if not given.

    Raises:
        TypeError: neither of these. ValueError: settings that cannot be read.

    Note:
        Read: size (number, height and width, or shortest edge), centre crop, crop_pct, resample, rescaling with its factor and
        offset, normalisation. A number beside crop_pct is a shortest edge; height and width alone are not cropped.
        A processor that squeezes to a size and then crops is read as keeping the aspect.

    Example:
        >>> print(preprocess_spec({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 224}))
        shorter side 256, middle 224 x 224 (bilinear); mean 0.5, 0.5, 0.5; std 0.5, 0.5, 0.5 (dict)
    """
    expected = "an image processor or its settings"
    found = processor.to_dict() if callable(getattr(processor, "to_dict", None)) else processor
    if not isinstance(found, Mapping):
        unreadable("transformers", processor, expected)
    try:
        size, shorter = _sizes(found, image_size)
        mean, std = _normalisation(found)
        return PreprocessSpec(
            mean,
            std,
            size,
            range=_range(found),
            shorter=shorter,
            interpolation=interpolation_of(found.get("resample"), "bilinear"),
            source=source or type(processor).__name__,
        )
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
        unreadable("transformers", processor, expected, error)


def class_names(model: Any) -> tuple[str, ...] | None:
    """Names of the classes from `model.config.id2label`, in order; None if there are none.

    Example:
        >>> from types import SimpleNamespace
        >>> class_names(SimpleNamespace(config=SimpleNamespace(id2label={1: "dog", 0: "cat"})))
        ('cat', 'dog')
    """
    names = getattr(getattr(model, "config", None), "id2label", None) or {}
    return tuple(str(names[index]) for index in sorted(names)) or None


def _sizes(found: Mapping[str, Any], image_size: Any) -> tuple[tuple[int, int], int | None]:
    """Height and width of the inputs, and the shorter side before a crop."""
    size, share = found.get("size", image_size or 224), found.get("crop_pct")
    both = _sides(size)
    edge = both[0] if share is None else int(both[0] / share)
    if found.get("do_center_crop") and found.get("crop_size") is not None:
        return _sides(found["crop_size"]), edge
    is_edge = "shortest_edge" in size if isinstance(size, Mapping) else share is not None and not isinstance(size, list | tuple)
    if not is_edge:
        return both, None
    crops = found.get("do_center_crop") or found.get("do_resize_and_center_crop")  # PoolFormer's: whatever the side
    return both, edge if share is None or crops or both[0] < _CROPPED_BELOW else None


def _sides(size: Any) -> tuple[int, int]:
    """Height and width from a number, a pair, {"height", "width"} or {"shortest_edge"}."""
    if isinstance(size, Mapping) and "height" in size:
        return int(size["height"]), int(size["width"])
    if isinstance(size, list | tuple):
        height, width = size
        return int(height), int(width)
    edge = int(size["shortest_edge"] if isinstance(size, Mapping) else size)
    return edge, edge


def _normalisation(found: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, std = numbers(found.get("image_mean") or (0.5,) * 3), numbers(found.get("image_std") or (0.5,) * 3)
    twice = std if found.get("include_top") else (1.0,) * len(std)  # EfficientNet's processors divide once more
    if found.get("do_normalize") is False:
        return (0.0,) * len(mean), twice
    return mean, tuple(first * second for first, second in zip(std, twice, strict=True))


def _range(found: Mapping[str, Any]) -> tuple[float, float]:
    if found.get("do_rescale") is False:
        return 0.0, 255.0
    low = -1.0 if found.get("rescale_offset") else 0.0
    return low, low + round(255 * float(found.get("rescale_factor") or 1 / 255), 6)
