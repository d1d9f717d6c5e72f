"""The model of a run, from where it is said to be. Each partner library is imported here alone, when it is asked for."""

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..models import logits_of
from ..testbed.scenes import CLASSES, MEAN, SIDE, STD
from .outcome import refuse
from .preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, channels

TESTBED = "testbed"
_KINDS = f"{TESTBED}, {TESTBED}:transformer, transformers:FOLDER, timm:NAME, torchvision:NAME or python:MODULE:FUNCTION"


@dataclass(frozen=True)
class LoadedModel:
    """A model in eval mode, how pictures are prepared for it, and the names of its classes if they are known."""

    spec: str
    forward: nn.Module
    preprocessing: Preprocessing
    labels: tuple[str, ...] | None


class LogitsOf(nn.Module):
    """A model that returns an object with logits, as one that returns the logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, K)."""
        return logits_of(self.model(inputs), len(inputs))


def asked_model(options: argparse.Namespace) -> LoadedModel:
    """The model of a command's options: --model, --device, --size, --mean, --std."""
    mean, std = channels(options.mean, "--mean"), channels(options.std, "--std")
    return load_model(options.model, device=options.device, size=options.size, mean=mean, std=std)


def load_model(
    spec: str,
    *,
    device: str | None = None,
    size: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> LoadedModel:
    """The model that a text names.

    Args:
        spec: "testbed[:NET]", "transformers:FOLDER", "timm:NAME", "torchvision:NAME" or "python:MODULE:FUNCTION".
        device: where to; None: CUDA if there is one, else the CPU.
        size, mean, std: in place of what the model says of its inputs.

    Raises:
        CommandError: it cannot be loaded; says what is missing.
    """
    kind, _, rest = spec.partition(":")
    loaders: dict[str, Callable[[str], LoadedModel]] = {
        TESTBED: _testbed,
        "transformers": _transformers,
        "timm": _timm,
        "torchvision": _torchvision,
        "python": _python,
    }
    if kind not in loaders or (kind != TESTBED and not rest):
        refuse(f"--model: expected {_KINDS}, got {spec!r}")
    loaded = loaders[kind](rest)
    chosen = {"size": (size, size) if size else None, "shorter": size, "mean": mean, "std": std}
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    prepared = replace(loaded.preprocessing, **given, source="as asked") if given else loaded.preprocessing
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        forward = loaded.forward.to(place).eval()
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        refuse(f"--device: cannot use {place!r}: {error}")
    return replace(loaded, spec=spec, forward=forward.requires_grad_(False), preprocessing=prepared)


def _testbed(name: str) -> LoadedModel:
    from ..testbed.load import load_net

    try:
        net = load_net(name or "residual")
    except (ValueError, OSError, ImportError) as error:
        refuse(f"--model {TESTBED}: {error}")
    return LoadedModel("", net, Preprocessing((SIDE, SIDE), SIDE, MEAN, STD, "the testbed's nets"), CLASSES)


def _transformers(path: str) -> LoadedModel:
    library = _partner("transformers")
    folder = Path(path).expanduser()
    if not (folder / "config.json").is_file():
        refuse(f"--model transformers: expected a folder with config.json, as save_pretrained writes it, got {str(folder)!r}")
    try:
        model = library.AutoModelForImageClassification.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, ImportError, RuntimeError, KeyError) as error:
        refuse(f"--model transformers: cannot load {str(folder)!r}: {error}")
    names = getattr(model.config, "id2label", None) or {}
    labels = tuple(str(names[index]) for index in sorted(names)) or None
    return LoadedModel("", LogitsOf(model), _preprocessor(folder, getattr(model.config, "image_size", None)), labels)


def _preprocessor(folder: Path, image_size: int | None) -> Preprocessing:
    """From preprocessor_config.json: read as text, as the library's own reader wants torchvision."""
    path = folder / "preprocessor_config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        size, crop = found.get("size", image_size or 224), found.get("crop_size")
        crop = crop if found.get("do_center_crop") else None
        both = _sides(crop or size)
        shorter = _sides(size)[0] if crop or (isinstance(size, dict) and "shortest_edge" in size) else None
        mean, std = found.get("image_mean") or (0.5,) * 3, found.get("image_std") or (0.5,) * 3
        if found.get("do_normalize") is False:
            mean, std = (0.0,) * 3, (1.0,) * 3
        return Preprocessing(both, shorter, tuple(map(float, mean)), tuple(map(float, std)), path.name if found else "assumed")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        refuse(f"--model transformers: cannot read {path}: {error}; give --size, --mean and --std in a folder without it")


def _sides(size: Any) -> tuple[int, int]:
    """Height and width from a number, {"height", "width"} or {"shortest_edge"}."""
    if isinstance(size, dict) and "height" in size:
        return int(size["height"]), int(size["width"])
    edge = int(size["shortest_edge"] if isinstance(size, dict) else size)
    return edge, edge


def _timm(name: str) -> LoadedModel:
    library = _partner("timm")
    try:
        model = library.create_model(name, pretrained=True)
    except Exception as error:  # of many kinds: no such name, no weights here, no network
        refuse(f"--model timm: cannot load {name!r} with its weights: {type(error).__name__}: {error}")
    found = importlib.import_module("timm.data").resolve_data_config({}, model=model)
    height, width = found["input_size"][1:]
    shorter = round(min(height, width) / found.get("crop_pct", 1.0))
    return LoadedModel(
        "", model, Preprocessing((height, width), shorter, tuple(found["mean"]), tuple(found["std"]), "timm"), None
    )


def _torchvision(name: str) -> LoadedModel:
    library = _partner("torchvision")
    try:
        weights = library.models.get_model_weights(name).DEFAULT
        model = library.models.get_model(name, weights=weights)
    except Exception as error:  # of many kinds, as above
        refuse(f"--model torchvision: cannot load {name!r} with its weights: {type(error).__name__}: {error}")
    found = weights.transforms()
    crop, shorter = found.crop_size[0], found.resize_size[0]
    prepared = Preprocessing((crop, crop), shorter, tuple(found.mean), tuple(found.std), "torchvision")
    return LoadedModel("", model, prepared, tuple(weights.meta["categories"]))


def _python(rest: str) -> LoadedModel:
    module_name, _, attribute = rest.partition(":")
    if not attribute:
        refuse(f"--model python: expected python:MODULE:FUNCTION, a function that returns the model, got 'python:{rest}'")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        made = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        refuse(f"--model python: cannot find {attribute!r} in {module_name!r}, looked for from {here!r}: {error}")
    finally:
        sys.path.remove(here)
    model = made if isinstance(made, nn.Module) else made()
    if not isinstance(model, nn.Module):
        refuse(f"--model python: expected {module_name}:{attribute} to give a torch.nn.Module, got {type(model).__name__}")
    prepared = Preprocessing((224, 224), 256, IMAGENET_MEAN, IMAGENET_STD, "assumed; say --size, --mean, --std")
    return LoadedModel("", model, prepared, None)


def _partner(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:  # also what a broken installation raises while it is imported
        refuse(f"--model {name}: cannot import it: {type(error).__name__}: {error}; pip install {name}")
