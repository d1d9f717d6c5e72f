"""Wraps models of other libraries so that they return logits."""

from typing import Any

from torch import Tensor, nn

from ..checks import bad_type, require_choice
from .logits import logits_of
from .preprocessing import LAYOUTS


class Classifier(nn.Module):
    """A model that returns an object with logits, or reads another layout, as one from (N, C, H, W) to logits (N, K).

    Args:
        model: a module; what it returns is read as `models.logits_of` does.
        layout: what it reads: "NCHW" or "NHWC".
        options: keyword arguments of each of its calls, such as interpolate_pos_encoding=True.

    Raises:
        TypeError, ValueError: no module, or an unknown layout.

    Note:
        One forward of the model per forward. The model is the submodule `model`, so its layers keep their names behind "model."
        and methods that need a layer, such as `attribution.GradCAM`, find the tokens of vision transformers by themselves.

    Example:
        >>> import torch
        >>> model = nn.Flatten()
        >>> Classifier(model, layout="NHWC")(torch.arange(4.0).view(1, 2, 1, 2))
        tensor([[0., 2., 1., 3.]])
    """

    def __init__(self, model: nn.Module, *, layout: str = "NCHW", options: dict[str, Any] | None = None) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            bad_type("Classifier", "model", "to be a torch.nn.Module", type(model).__name__)
        require_choice("Classifier", "layout", layout, LAYOUTS)
        self.model, self.layout, self.options = model, layout, dict(options or {})
        self.training = model.training  # of this module alone: those inside keep theirs

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, K)."""
        read = inputs.permute(0, 2, 3, 1) if self.layout == "NHWC" else inputs
        return logits_of(self.model(read, **self.options), len(inputs))
