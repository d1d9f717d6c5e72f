"""Utilities for user models: train/eval mode, outputs, targets, gradients, layers, token grids, preprocessing. No models."""

from .classifier import Classifier
from .eval_mode import evaluation_mode
from .gradients import input_gradients
from .hooks import captured
from .layers import TargetLayer, target_layer
from .logits import logits_of
from .preprocessing import PreprocessSpec
from .targets import resolve_target
from .tokens import TokenGrid, token_grid

__all__ = [
    "Classifier",
    "PreprocessSpec",
    "TargetLayer",
    "TokenGrid",
    "captured",
    "evaluation_mode",
    "input_gradients",
    "logits_of",
    "resolve_target",
    "target_layer",
    "token_grid",
]
