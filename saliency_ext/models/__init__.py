"""Glue between the library and models: modes, outputs, targets. No models."""

from .modes import evaluation_mode
from .outputs import logits_of
from .targets import resolve_target

__all__ = ["evaluation_mode", "logits_of", "resolve_target"]
