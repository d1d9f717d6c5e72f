"""Infill by a Gaussian blur of the image."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..checks import bad_value, require_choice
from ..ops.gaussian_blur import gaussian_blur
from ..protocols import InfillInfo
from .base import BaseInfill, InfillOptions

_BORDERS = ("reflect", "zero", "replicate", "renormalise")


@dataclass(frozen=True)
class Blur(BaseInfill):
    """Infill of the image itself, blurred: details go, colours and layout stay.

    infill = G_sigma inputs, the separable Gaussian of `saliency_ext.ops.gaussian_blur`.

    Args:
        sigma: standard deviation in pixels, >= 0; 0 is the image itself. It scales with the image: 10 at 224 is 1.4 at 32.
        border: "reflect", "replicate" or "renormalise"; "zero" darkens the borders.

    Returns:
        `fill`: (N, C, H, W), dtype and device of the inputs.

    Raises:
        TypeError: sigma is not a number.
        ValueError: sigma < 0 or not finite; unknown border.

    Note:
        One image at a time, so that the batch cannot change the rounding: as deterministic as torch.matmul on one image. The
        time does not depend on sigma. Memory: the output and one image. The kernel differs from that of `RiseBlur`.

    Example:
        >>> import torch
        >>> line = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0]).view(1, 1, 1, 5)
        >>> Blur(0.5).fill(line, torch.arange(1)).flatten()
        tensor([5.2773e-04, 1.0645e-01, 7.8657e-01, 1.0645e-01, 5.2773e-04])
    """

    info: ClassVar[InfillInfo] = InfillInfo("blur", "the image, blurred over a twentieth of its side")

    sigma: float
    border: str = "reflect"

    @classmethod
    def from_options(cls, options: InfillOptions, **further: Any) -> Self:
        """A twentieth of the shorter side."""
        return cls(max(1.0, min(options.size) / 20), **further)

    def __post_init__(self) -> None:
        sigma = self._number("sigma", self.sigma)
        if sigma < 0:
            bad_value("Blur", "sigma", ">= 0", self.sigma)
        require_choice("Blur", "border", self.border, _BORDERS)
        object.__setattr__(self, "sigma", sigma)

    @property
    def key(self) -> Hashable:
        """Name, sigma and border; without a blur the border has no effect."""
        return ("blur", self.sigma, self.border if self.sigma > 0 else "any")

    def _fill(self, inputs: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        filled = torch.empty(inputs.shape, dtype=inputs.dtype, device=inputs.device)
        for image, result in zip(inputs, filled, strict=True):
            packed = image.clone(memory_format=torch.contiguous_format)  # aligned and packed: the same product in any batch
            result.copy_(gaussian_blur(packed[None], self.sigma, border=self.border)[0])
        return filled
