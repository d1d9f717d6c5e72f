"""Image classifiers of transformers: their logits, and preprocessing by their image processors.

All but `load` read objects by their shape: transformers itself is imported only there.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..checks import bad_value
from ..models import Classifier, PreprocessSpec
from ._loaded_model import ASSUMED, LoadedModel, Processor, measured, unreadable
from ._optional_dependency import optional_dependency

_OLDEST = (4, 40)
_CONFIG = "config.json"
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_TYPES = ("image_processor_type", "feature_extractor_type")
_HALF = (0.5,) * 3


def load(folder: str | Path) -> LoadedModel:
    """The classifier in a local folder that `save_pretrained` wrote; weights as safetensors, nothing is downloaded.

    Pictures are prepared by the folder's own image processor. Without one, the model's `image_size` (else 224), mean 0.5 and
    std 0.5 are assumed, and the source says so.

    Raises:
        ImportError: transformers is missing or too old. FileNotFoundError: no config.json. ValueError: a processor that cannot
            be made or run. Whatever transformers raises for a folder that holds no image classifier.

    Example:
        >>> load("none")
        Traceback (most recent call last):
        ...
        FileNotFoundError: transformers.load: expected a folder with config.json, as save_pretrained writes it, got 'none'
    """
    place = _folder("transformers.load", folder)
    library = optional_dependency("transformers", _OLDEST, "transformers")
    model = library.AutoModelForImageClassification.from_pretrained(
        place, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    return LoadedModel(Classifier(model.eval()), folder_spec(place, model), class_names(model))


def load_masks(folder: str | Path) -> Any:
    """The Segment Anything model in a local folder that `save_pretrained` wrote, in eval mode; nothing is downloaded.

    Raises:
        ImportError: transformers is missing or too old. FileNotFoundError: no config.json. Whatever transformers raises for a
            folder that holds another model.
    """
    place = _folder("transformers.load_masks", folder)
    result = optional_dependency("transformers", _OLDEST, "transformers").SamModel
    return result.from_pretrained(place, local_files_only=True, use_safetensors=True).eval()


def _folder(function: str, folder: str | Path) -> Path:
    place = Path(folder).expanduser()
    if not (place / _CONFIG).is_file():
        expected = f"a folder with {_CONFIG}, as save_pretrained writes it"
        raise FileNotFoundError(f"{function}: expected {expected}, got {str(folder)!r}")
    return place


def folder_spec(folder: Path, model: Any = None) -> PreprocessSpec:
    """How the image processor in a folder prepares pictures; without one, what is assumed of the model.

    Raises:
        ValueError: the processor cannot be made or run; the message names the folder.
    """
    if not any((folder / name).is_file() for name in _PROCESSORS):
        size = getattr(getattr(model, "config", None), "image_size", None) or 224
        height, width = size if isinstance(size, list | tuple) else (size, size)
        return PreprocessSpec(_HALF, _HALF, (int(height), int(width)), interpolation="bilinear", source=ASSUMED)
    try:
        return measured(_processor(_read(folder)), _PROCESSORS[0])
    except Exception as error:  # of many kinds: whatever a processor raises for its settings
        expected = "to hold an image processor that can be run on a picture"
        bad_value("transformers.load", str(folder / _PROCESSORS[0]), expected, f"{type(error).__name__}: {error}")


def preprocess_spec(processor: Any, *, source: str | None = None) -> PreprocessSpec:
    """How an image processor prepares pictures: it is called as it is.

    Args:
        processor: an image processor, or its settings: what `to_dict` gives and preprocessor_config.json holds, with the
            processor's type.
        source: where this comes from; the name of the class if not given.

    Raises:
        TypeError: neither of these. ValueError: a processor that fails or whose inputs no `PreprocessSpec` describes (one that
            does not resize, or cuts a picture into patches); settings that name no processor, or transformers is not installed:
            processors differ in what they make of the same settings.

    Example:
        >>> from transformers import ViTImageProcessor  # doctest: +SKIP
        >>> print(preprocess_spec(ViTImageProcessor()))  # doctest: +SKIP
        224 x 224 by its own processor; mean 0.5, 0.5, 0.5; std 0.5, 0.5, 0.5 (ViTImageProcessor)
    """
    expected = "an image processor or its settings,"
    of_settings = isinstance(processor, Mapping)
    if not of_settings and not (callable(processor) and callable(getattr(processor, "to_dict", None))):
        unreadable("transformers", processor, expected)
    try:
        own = _of_settings(processor) if of_settings else processor
        return measured(_processor(own), source or type(own).__name__)
    except Exception as error:  # of many kinds: whatever a processor raises for its settings
        unreadable("transformers", processor, expected, error)


def _of_settings(settings: Mapping[str, Any]) -> Any:
    """The processor that transformers makes of settings, by its own reader."""
    if not any(settings.get(key) for key in _TYPES):
        raise ValueError(f"settings without {_TYPES[0]}")
    with TemporaryDirectory() as folder:
        (Path(folder) / _PROCESSORS[0]).write_text(json.dumps(dict(settings)), encoding="utf-8")
        return _read(Path(folder))


def _read(folder: Path) -> Any:
    library = optional_dependency("transformers", _OLDEST, "transformers")
    return library.AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _processor(own: Any) -> Processor:
    return Processor(partial(_inputs, own), partial(_at_side, own))


def _inputs(own: Any, picture: Any) -> Any:
    return own(images=picture, return_tensors="pt")["pixel_values"][0]


def _at_side(own: Any, side: int) -> Processor:
    """The same processor with all its sizes in proportion."""
    settings = own.to_dict()
    factor = side / min(measured(_processor(own), "").size)
    for name in ("size", "crop_size"):
        if (value := settings.get(name)) is not None:
            sides = dict(value) if isinstance(value, Mapping) else value
            settings[name] = (
                {key: None if edge is None else round(edge * factor) for key, edge in sides.items()}
                if isinstance(sides, dict)
                else round(sides * factor)
            )
    return _processor(type(own).from_dict(settings))


def class_names(model: Any) -> tuple[str, ...] | None:
    """Names of the classes from `model.config.id2label`, in order; None if there are none.

    Example:
        >>> from types import SimpleNamespace
        >>> class_names(SimpleNamespace(config=SimpleNamespace(id2label={1: "dog", 0: "cat"})))
        ('cat', 'dog')
    """
    names = getattr(getattr(model, "config", None), "id2label", None) or {}
    return tuple(str(names[index]) for index in sorted(names)) or None
