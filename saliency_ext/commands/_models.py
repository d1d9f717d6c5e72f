"""Loads the model of a run from the value of --model; other libraries through `integrations`."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..integrations import timm, torchvision, transformers
from ..integrations._loaded_model import ASSUMED, LoadedModel, at_side, renormalised
from ..models import PreprocessSpec
from ..models.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from ..testbed.scenes import CLASSES, MEAN, SIDE, STD
from ._command_result import in_one_line, refuse
from ._torchrun import own_gpu

TESTBED = "testbed"
_KINDS = f"{TESTBED}, {TESTBED}:transformer, transformers:FOLDER, timm:NAME, torchvision:NAME or python:MODULE:FUNCTION"


@dataclass(frozen=True)
class CommandModel:
    """A model in eval mode, how pictures are prepared for it, and the names of its classes if they are known.

    outputs: the number of its classes, once it has been run.
    """

    spec: str
    forward: nn.Module
    preprocessing: PreprocessSpec
    labels: tuple[str, ...] | None
    outputs: int | None = None

    @property
    def device(self) -> torch.device:
        """Where its weights are; the CPU for a model without any."""
        return next(self.forward.parameters(), torch.empty(0)).device


def load_model(
    spec: str,
    *,
    device: str | None = None,
    size: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> CommandModel:
    """The model that a text names.

    Args:
        spec: "testbed[:NET]", "transformers:FOLDER", "timm:NAME", "torchvision:NAME" or "python:MODULE:FUNCTION".
        device: where to; None: CUDA if there is one, under torchrun a GPU for each process, else the CPU.
        size, mean, std: in place of what the model says of its inputs; mean and std of pixels in [0, 1], one number for all
            channels or one for each. Of another size the shorter side before the crop follows in proportion.

    Raises:
        CommandError: it cannot be loaded; says what is missing.
    """
    kind, _, rest = spec.partition(":")
    loaders: dict[str, Callable[[str], CommandModel]] = {
        TESTBED: _testbed,
        "transformers": _transformers,
        "timm": _timm,
        "torchvision": _torchvision,
        "python": _python,
    }
    if kind not in loaders or (kind != TESTBED and not rest):
        refuse(f"--model: expected {_KINDS}, got {spec!r}")
    loaded = loaders[kind](rest)
    target_device = device or (own_gpu() if torch.cuda.is_available() else "cpu")
    if target_device.partition(":")[0] == "meta":
        refuse("--device: expected a device that holds numbers, got 'meta'")
    try:
        torch.zeros(1, device=target_device).cpu()  # also for a model without weights
        forward = loaded.forward.to(target_device).eval()
    except Exception as error:  # of many kinds: torch without a device asserts, or misses a module
        refuse(f"--device: cannot use {target_device!r}: {in_one_line(error)}")
    prepared = _prepared(loaded.preprocessing, {"--size": size, "--mean": mean, "--std": std})
    return replace(loaded, spec=spec, forward=forward.requires_grad_(False), preprocessing=prepared)


def _prepared(declared: PreprocessSpec, requested: dict[str, Any]) -> PreprocessSpec:
    """Preprocessing from the options, else from the model, else assumed."""
    given = [name for name, value in requested.items() if value is not None]
    size, mean, std = requested.values()
    result = declared
    try:
        if size is not None and declared.size != (size, size):
            result = _at_side(result, size)
        if mean is not None or std is not None:
            count = len(result.mean)
            means, stds = (_each(values, count) for values in (mean or result.unit_mean, std or result.unit_std))
            result = renormalised(result, means, stds)
    except ValueError as error:
        refuse(f"{', '.join(given)}: {error}")
    if declared.source == ASSUMED and (missing := [name for name in requested if name not in given]):
        return replace(result, source=f"{ASSUMED}; say {', '.join(missing)}")
    return replace(result, source="as asked") if given else result


def _at_side(spec: PreprocessSpec, side: int) -> PreprocessSpec:
    if spec.processor is not None:
        return at_side(spec, side)
    shorter = spec.shorter
    in_proportion = None if shorter is None else max(side, int(shorter * side / min(spec.size)))
    return replace(spec, size=(side, side), shorter=in_proportion)


def _each(values: tuple[float, ...], count: int) -> tuple[float, ...]:
    return values * count if len(values) == 1 else values


def _testbed(name: str) -> CommandModel:
    from ..testbed.load import load_net

    try:
        net = load_net(name or "residual")
    except (ValueError, OSError, ImportError) as error:
        refuse(f"--model {TESTBED}: {error}")
    return CommandModel("", net, PreprocessSpec(MEAN, STD, (SIDE, SIDE), shorter=SIDE, source="the testbed's nets"), CLASSES)


def _transformers(path: str) -> CommandModel:
    return _loaded("transformers", path, transformers.load)


def _timm(name: str) -> CommandModel:
    return _loaded("timm", name, timm.load)


def _torchvision(name: str) -> CommandModel:
    return _loaded("torchvision", name, torchvision.load)


def _loaded(library: str, name: str, load: Callable[[str], LoadedModel]) -> CommandModel:
    """What a door to a library gives, or a refusal."""
    try:
        return CommandModel("", *load(name))
    except ImportError as error:  # says what to install
        refuse(f"--model {library}: {error}")
    except Exception as error:  # of many kinds: no such name, no weights here, no network, a broken file
        words = str(error) if isinstance(error, FileNotFoundError) else in_one_line(error)
        refuse(f"--model {library}: cannot load {name!r}: {words}")


def _python(rest: str) -> CommandModel:
    module_name, _, attribute = rest.partition(":")
    if not attribute or not module_name or module_name.startswith("."):
        refuse(f"--model python: expected python:MODULE:FUNCTION, a function that returns the model, got 'python:{rest}'")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        result = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        refuse(f"--model python: cannot find {attribute!r} in {module_name!r}, searched from {here!r}: {in_one_line(error)}")
    except (Exception, SystemExit) as error:  # whatever the user's module raises
        refuse(f"--model python: {module_name!r} cannot be imported: {in_one_line(error)}")
    finally:
        sys.path.remove(here)
    try:
        model = result if isinstance(result, nn.Module) or not callable(result) else result()
    except (Exception, SystemExit) as error:  # whatever the user's function raises
        refuse(f"--model python: {module_name}:{attribute} fails, called without arguments: {in_one_line(error)}")
    if not isinstance(model, nn.Module):
        refuse(f"--model python: expected {module_name}:{attribute} to give a torch.nn.Module, got {type(model).__name__}")
    return CommandModel("", model, PreprocessSpec(IMAGENET_MEAN, IMAGENET_STD, (224, 224), shorter=256, source=ASSUMED), None)
