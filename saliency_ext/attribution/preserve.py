"""Runs code that is not ours, and puts back what it may have changed."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy
import torch
from torch.nn import Module

from ..models.gradients import differentiable


@contextmanager
def preserved(module: Module | None, device: torch.device) -> Iterator[None]:
    """Evaluation mode with gradients; afterwards modes, requires_grad, .grad and generator states are those of before.

    Inside, every .grad of the module is None, so that nothing is added to the caller's.

    Args:
        module: whose state is kept; None where it cannot be reached.
        device: whose generator is kept beside the CPU's.
    """
    modes = [] if module is None else [(part, part.training) for part in module.modules()]
    parameters = [] if module is None else [(each, each.requires_grad, each.grad) for each in module.parameters()]
    python, legacy = random.getstate(), numpy.random.get_state()
    try:
        for parameter, _, _ in parameters:
            parameter.grad = None
        with torch.random.fork_rng([device] if device.type == "cuda" else []), differentiable(module or _nothing):
            yield
    finally:
        for parameter, wanted, gradient in parameters:
            parameter.requires_grad_(wanted).grad = gradient
        for part, training in modes:
            part.training = training
        random.setstate(python)
        numpy.random.set_state(legacy)


def _nothing() -> None:
    """Stands for a forward without modes."""
