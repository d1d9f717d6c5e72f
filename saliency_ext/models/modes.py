"""Runs a model in evaluation mode and gives it back exactly as it was."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def evaluation_mode(forward: Callable[..., Any], *, warn: bool = True) -> Iterator[None]:
    """Puts an nn.Module into eval mode without gradients; each submodule's own mode is restored, also after an exception.

    Warns if the model was in training mode, unless that is known: batch statistics would couple the images, and running it
    would change them. A plain callable is left alone.
    """
    modules = list(forward.modules()) if isinstance(forward, torch.nn.Module) else []
    training = [module for module in modules if module.training]
    if training and warn:
        warnings.warn("the model is in training mode; it is run in eval mode and restored", RuntimeWarning, stacklevel=3)
    try:
        for module in training:
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True
