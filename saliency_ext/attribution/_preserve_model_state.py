"""Runs third-party code and restores the state of models and generators that it may have changed."""

import functools
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy
import torch
from torch.nn import Module

from ..models.gradients import differentiable


@contextmanager
def preserved(modules: Sequence[Module], device: torch.device) -> Iterator[None]:
    """Evaluation mode with gradients; afterwards modes, requires_grad, .grad and generator states are those of before.

    Inside, every .grad of the modules is None, so that nothing is added to the caller's.

    Args:
        modules: whose state is kept.
        device: whose generator is kept beside the CPU's.
    """
    modes = [(part, part.training) for module in modules for part in module.modules()]
    parameters = [(each, each.requires_grad, each.grad) for each in dict.fromkeys(p for m in modules for p in m.parameters())]
    forward = functools.partial(_nothing, *modules)
    python, legacy = random.getstate(), numpy.random.get_state()
    try:
        for parameter, _, _ in parameters:
            parameter.grad = None
        with torch.random.fork_rng([device] if device.type == "cuda" else []), differentiable(forward):
            yield
    finally:
        for parameter, wanted, gradient in parameters:
            parameter.requires_grad_(wanted).grad = gradient
        for part, training in modes:
            part.training = training
        random.setstate(python)
        numpy.random.set_state(legacy)


def _nothing(*modules: Module) -> None:
    """Stands for a forward of these modules."""
