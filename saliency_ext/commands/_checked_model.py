"""The model of a command's options, run once on a picture before anything else to check its inputs and outputs."""

import argparse
import warnings
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from ..integrations._loaded_model import ASSUMED
from ..models import Classifier, PreprocessSpec
from ._command_result import in_one_line, refuse
from ._models import CommandModel, load_model
from ._preprocessing import channels


def checked_model(options: argparse.Namespace) -> CommandModel:
    """The model of a command's options: --model, --device, --size, --mean, --std.

    It is run once, on noise: one that returns a mapping, an object or a tuple is read as `models.logits_of` does, and one that
    fails on pictures in colour, but not on grey ones, is given grey ones.

    Raises:
        CommandError: it cannot be loaded, or fails on a picture.

    Warns:
        RuntimeWarning: something of its inputs is assumed, as neither the model nor an option says it.
    """
    mean, std = channels(options.mean, "--mean"), channels(options.std, "--std")
    model = _tried(load_model(options.model, device=options.device, size=options.size, mean=mean, std=std))
    prepared = model.preprocessing
    if prepared.source.startswith(ASSUMED):
        text = f"--model {options.model} does not say how pictures are prepared for it: {prepared}"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    return model


def _tried(model: CommandModel) -> CommandModel:
    """As it runs on a picture, in colour or else in grey."""
    try:
        return _run(model)
    except Exception as error:  # whatever the model raises
        grey = _grey(model)
        if grey is not None:
            with suppress(Exception):
                return _run(grey)
        shape = tuple(_noise(model.preprocessing).shape)
        remedy = (
            "expected a model of images (N, C, H, W) alone that returns logits (N, K); wrap it in a torch.nn.Module that does"
        )
        refuse(f"--model {model.spec}: its forward fails on a picture of shape {shape}: {in_one_line(error)}; {remedy}")


def _run(model: CommandModel) -> CommandModel:
    """With the number of its classes, and as one that returns logits."""
    picture = _noise(model.preprocessing).to(model.device)
    with torch.no_grad():
        output = model.forward(picture)
        if isinstance(output, Tensor) and output.ndim == 2 and len(output) == 1:
            return replace(model, outputs=output.shape[1])
        read = Classifier(model.forward).eval()
        return replace(model, forward=read, outputs=read(picture).shape[1])


def _noise(spec: PreprocessSpec) -> Tensor:
    """Inputs (1, C, H, W) of a picture of noise."""
    depth = 1 if spec.channels == "L" else 3
    generator = torch.Generator().manual_seed(0)
    return spec.inputs(torch.randint(256, (1, *spec.size, depth), generator=generator, dtype=torch.uint8))


def _grey(model: CommandModel) -> CommandModel | None:
    """The model on grey pictures, with one number for mean and std; None where its own processor, or --mean, says colour."""
    prepared = model.preprocessing
    assumed = prepared.source.startswith(ASSUMED)
    numbers = prepared.unit_mean, prepared.unit_std
    if prepared.processor is not None or not (assumed or all(len(set(values)) == 1 for values in numbers)):
        return None
    mean, std = ((values[0] if len(set(values)) == 1 else sum(values) / 3,) for values in numbers)
    return replace(model, preprocessing=replace(prepared, mean=mean, std=std, range=(0.0, 1.0), channels="L"))
