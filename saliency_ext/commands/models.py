"""The model of a run, from where it is said to be. Libraries of models are reached through `integrations`, when asked for."""

import argparse
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from ..integrations import timm, torchvision, transformers
from ..integrations.loaded import Loaded
from ..models import PreprocessSpec
from ..models.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from ..testbed.scenes import CLASSES, MEAN, SIDE, STD
from .outcome import refuse
from .preprocessing import channels
from .torchrun import own_gpu

TESTBED = "testbed"
_KINDS = f"{TESTBED}, {TESTBED}:transformer, transformers:FOLDER, timm:NAME, torchvision:NAME or python:MODULE:FUNCTION"


@dataclass(frozen=True)
class LoadedModel:
    """A model in eval mode, how pictures are prepared for it, and the names of its classes if they are known."""

    spec: str
    forward: nn.Module
    preprocessing: PreprocessSpec
    labels: tuple[str, ...] | None

    @property
    def device(self) -> torch.device:
        """Where its weights are; the CPU for a model without any."""
        return next(self.forward.parameters(), torch.empty(0)).device


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
        device: where to; None: CUDA if there is one, under torchrun a GPU for each process, else the CPU.
        size, mean, std: in place of what the model says of its inputs; mean and std of pixels in [0, 1].

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
    prepared = loaded.preprocessing
    if size is not None:
        prepared = replace(prepared, size=(size, size), shorter=size, source="as asked")
    if mean is not None or std is not None:
        mean, std = mean or prepared.unit_mean, std or prepared.unit_std
        prepared = replace(prepared, mean=mean, std=std, range=(0.0, 1.0), source="as asked")
    place = device or (own_gpu() if torch.cuda.is_available() else "cpu")
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
    return LoadedModel("", net, PreprocessSpec(MEAN, STD, (SIDE, SIDE), shorter=SIDE, source="the testbed's nets"), CLASSES)


def _transformers(path: str) -> LoadedModel:
    return _loaded("transformers", path, transformers.load)


def _timm(name: str) -> LoadedModel:
    return _loaded("timm", name, timm.load)


def _torchvision(name: str) -> LoadedModel:
    return _loaded("torchvision", name, torchvision.load)


def _loaded(library: str, name: str, load: Callable[[str], Loaded]) -> LoadedModel:
    """What a door to a library gives, or a refusal."""
    try:
        return LoadedModel("", *load(name))
    except ImportError as error:  # says what to install
        refuse(f"--model {library}: {error}")
    except Exception as error:  # of many kinds: no such name, no weights here, no network, a broken file
        words = str(error) if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        refuse(f"--model {library}: cannot load {name!r}: {words}")


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
    assumed = "assumed; say --size, --mean, --std"
    prepared = PreprocessSpec(IMAGENET_MEAN, IMAGENET_STD, (224, 224), shorter=256, source=assumed)
    return LoadedModel("", model, prepared, None)
