"""Glue between the library and models: modes, outputs, targets, gradients. No models."""

from .gradients import input_gradients
from .modes import evaluation_mode
from .outputs import logits_of
from .targets import resolve_target

__all__ = ["evaluation_mode", "input_gradients", "logits_of", "resolve_target"]
