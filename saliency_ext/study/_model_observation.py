"""What a model is and what it answers to some of the data: two studies of one folder must agree in both."""

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
    """A model, seen at work.

    Attributes:
        model: its description, to the bit; "changes" in place of what is another after each forward.
        passing: names of attributes that are.
        answers: "logits" of a few inputs, and the "tolerance" within which they are the same, relative to the largest of an
            input. Processors round differently, so answers are compared, and never digested into what must be equal.
    """

    model: Any
    passing: frozenset[str]
    outputs: ObservedOutputs


def observe(engine: Engine, images: Tensor) -> ModelObservation:
    """Forwards four inputs made of an image twice, and describes the model after each.

    The inputs are the image, its mirror, and the image with its upper, or left, half replaced by its mean. The first forward
    also fills what a model makes when it is first needed, so that a fresh one and one that was used before are described alike.
    A model that answers differently the second time, as one with dropout does, is known by its description alone. Random number
    generators are left as they were.

    Args:
        engine: of the study.
        images: (n, C, H, W), of the data: the first without a NaN is shown; where there is none, the model is not asked.

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
        model["weights"] = before["weights"]  # even of one that changes them: that they change is no reason to look away
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
    """In words, how far the answers of two models to the same images are apart; "" where rounding may be the reason."""
    said, result = old.get("logits"), new.get("logits")
    if not (isinstance(said, list) and isinstance(result, list)):
        return "" if said == result else "answers of the model to an image: the same twice then or now, not both times"
    if [len(row) for row in said] != [len(row) for row in result]:
        return "answers of the model to an image: of another number of classes"
    worst, limit = 0.0, max(float(old.get("tolerance", 0.0)), float(new.get("tolerance", 0.0)))
    for row, other in zip(said, result, strict=True):
        scale = max((abs(value) for value in row if math.isfinite(value)), default=0.0) or 1.0
        for was, now in zip(row, other, strict=True):
            if was != now and not (math.isnan(was) and math.isnan(now)):
                apart = abs(was - now) / scale
                worst = max(worst, apart if math.isfinite(apart) else math.inf)
    if worst <= limit:
        return ""
    return f"answers of the model to an image: off by {worst:.2g} of the largest logit, where {limit:g} may be rounding"


def steady(first: Any, second: Any) -> tuple[Any, set[str]]:
    """What two descriptions of one object have in common, and the names under which they differ.

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
