"""Infill by the smallest or largest value of each image."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .._registry import Variant
from ..checks import require_choice
from ..protocols import InfillInfo
from .base import BaseInfill


@dataclass(frozen=True)
class ImageExtreme(BaseInfill):
    """Infill of one value per image, the same in all channels: its smallest or its largest.

    infill[n, c, h, w] = min (or max) over c, h, w of inputs[n]. Some codes call them "black" and "white". In model input space
    the channels are usually scaled differently, and then the colour is neither black, white nor grey.

    Args:
        which: "min" or "max".

    Returns:
        `fill`: (N, 1, 1, 1), dtype and device of the inputs.

    Raises:
        TypeError, ValueError: as `fill`. ValueError: another choice.

    Note:
        Deterministic, exact: a selection. Memory: N numbers. What was removed already changes nothing: infilling with the
        smallest value keeps it the smallest. A non-finite pixel makes its image's infill non-finite.

    Example:
        >>> import torch
        >>> image = torch.tensor([[[[1.0, 2.0]], [[5.0, 3.0]]]])
        >>> ImageExtreme("min").fill(image, torch.arange(1)).item(), ImageExtreme("max").fill(image, torch.arange(1)).item()
        (1.0, 5.0)
    """

    info: ClassVar[InfillInfo] = InfillInfo("image_extreme", "the smallest or largest value of the image itself", by_name=False)
    variants: ClassVar[tuple[Variant, ...]] = (
        Variant("image_minimum", "the smallest value of the image itself", {"which": "min"}),
        Variant("image_maximum", "the largest value of the image itself", {"which": "max"}),
    )

    which: str

    def __post_init__(self) -> None:
        require_choice("ImageExtreme", "which", self.which, ("min", "max"))

    def _fill(self, inputs: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        if inputs.numel() == 0:
            return inputs.new_zeros(len(inputs), 1, 1, 1)
        values = inputs.flatten(1)
        result = values.amin(1) if self.which == "min" else values.amax(1)
        return result.view(-1, 1, 1, 1)
