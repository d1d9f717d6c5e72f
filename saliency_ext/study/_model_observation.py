"""The identity of a model: its description, and its outputs on a few inputs. Two runs in one folder must agree in both."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from ..fingerprinting import Fingerprinter, module_digest
from ..models.precision import HALF_PRECISION, model_dtype
from ..nonfinite import finite_rows
from ..perturbation import Engine
from ..protocols import Forward

_CLASSES = 128  # at most, evenly spaced
# Of the largest logit of an image. float32 on the CPU: instruction sets and numbers of threads differ by 1e-6 to 1e-5; half
# precision, and accelerators with their TF32, by up to 1e-2.
_EXACT, _COARSE = 3e-4, 3e-2
_UNSTEADY = "not the same twice"
_CHANGES = "changes"  # in place of what is another after each call

ObservedOutputs = Mapping[str, Any]


@dataclass(frozen=True)
class ModelObservation:
    """A model, observed on a few inputs.

    Attributes:
        model: its description, exact; "changes" in place of what differs after each forward.
        passing: names of the attributes that differ.
        outputs: "logits" of a few inputs, and the "tolerance" within which they count as equal, relative to the largest logit of
            an input. Processors round differently, so outputs are compared, and are no part of what must be equal.
    """

    model: Any
    passing: frozenset[str]
    outputs: ObservedOutputs


def observe(engine: Engine, images: Tensor) -> ModelObservation:
    """Forwards four inputs made of an image twice, and describes the model after each.

    The inputs are the image, its mirror, and the image with its upper, or left, half replaced by its mean. The first forward
    also initialises what a model creates lazily, so that a fresh one and a used one have the same description. A stochastic
    model, whose outputs differ the second time, is identified by its description alone. Random number generators are restored.

    Args:
        engine: of the study.
        images: (n, C, H, W), of the data: the first without NaN is used; without one there are no outputs.

    Raises:
        What the model raises.
    """
    forward = engine.forward
    shown = engine.placed(_variants(images[finite_rows(images)][:1]))
    if shown.numel() == 0:
        return ModelObservation(_description(forward), frozenset(), {"tolerance": _EXACT, "logits": []})
    with torch.random.fork_rng([shown.device.index or 0] if shown.device.type == "cuda" else []):
        first = engine.logits(shown)
        before = _description(forward)
        second = engine.logits(shown)
    model, passing = steady(before, _description(forward))
    if isinstance(forward, Module):
        model["weights"] = before["weights"]  # also of a model that changes them
    half = {first.dtype, engine.cast(shown[:0]).dtype, model_dtype(forward)} & set(HALF_PRECISION)
    tolerance = _COARSE if half or first.device.type != "cpu" else _EXACT
    outputs = [{"tolerance": tolerance, "logits": _some(each)} for each in (first, second)]
    if outputs_differ(*outputs):
        outputs[0]["logits"] = _UNSTEADY
    return ModelObservation(model, frozenset(passing), outputs[0])


def _variants(image: Tensor) -> Tensor:
    """(4, C, H, W) of (1, C, H, W)."""
    upper, left, mean = image.clone(), image.clone(), image.mean((2, 3), keepdim=True)
    upper[:, :, : (image.shape[2] + 1) // 2] = mean
    left[:, :, :, : (image.shape[3] + 1) // 2] = mean
    return torch.cat([image, image.flip(-1), upper, left])


def _some(logits: Tensor) -> list[list[float]]:
    """Logits of so many classes at most, evenly spaced."""
    result: list[list[float]] = logits.detach()[:, :: max(1, -(-logits.shape[1] // _CLASSES))].double().cpu().tolist()
    return result


def outputs_differ(old: ObservedOutputs, new: ObservedOutputs) -> str:
    """The deviation between the outputs of two models on the same images, in words; "" where rounding may explain it."""
    before, now = old.get("logits"), new.get("logits")
    if not (isinstance(before, list) and isinstance(now, list)):
        return "" if before == now else "outputs of the model on an image: deterministic in only one of the two runs"
    if [len(row) for row in before] != [len(row) for row in now]:
        return "outputs of the model on an image: another number of classes"
    worst, limit = 0.0, max(float(old.get("tolerance", 0.0)), float(new.get("tolerance", 0.0)))
    for row, other in zip(before, now, strict=True):
        scale = max((abs(value) for value in row if math.isfinite(value)), default=0.0) or 1.0
        for first, second in zip(row, other, strict=True):
            if first != second and not (math.isnan(first) and math.isnan(second)):
                deviation = abs(first - second) / scale
                worst = max(worst, deviation if math.isfinite(deviation) else math.inf)
    if worst <= limit:
        return ""
    return f"outputs of the model on an image: deviate by {worst:.2g} of the largest logit, where {limit:g} may be rounding"


def steady(first: Any, second: Any) -> tuple[Any, set[str]]:
    """The common part of two descriptions of one object, and the names under which they differ.

    Example:
        >>> steady({"scale": 2, "calls": 1}, {"scale": 2, "calls": 2})
        ({'scale': 2, 'calls': 'changes'}, {'calls'})
    """
    if isinstance(first, dict) and isinstance(second, dict):
        result, changing = {}, set()
        for name in first | second:
            result[name], inner = steady(first.get(name), second.get(name))
            changing |= inner | ({name} if result[name] == _CHANGES else set())
        return result, changing
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        pairs = [steady(*pair) for pair in zip(first, second, strict=True)]
        return [item for item, _ in pairs], {name for _, names in pairs for name in names}
    return (first, set()) if first == second else (_CHANGES, set())


def _description(forward: Forward) -> Any:
    """A module by its class, structure, weights, code, attributes and hooks; another callable as any object."""
    if isinstance(forward, Module):
        return module_digest(forward) | Fingerprinter(forward).behaviour(forward)
    return Fingerprinter(None).describe(forward)
