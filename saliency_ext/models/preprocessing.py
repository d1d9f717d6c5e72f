"""Preprocessing of a model: from pictures to its inputs and back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..checks import bad_value, require_choice, require_dtype, require_integer, require_number, require_tensor

LAYOUTS = ("NCHW", "NHWC")
CHANNELS = ("RGB", "BGR", "L")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_FUNCTION = "PreprocessSpec"


@dataclass(frozen=True)
class PreprocessSpec:
    """How pictures become a model's inputs: written by hand, or measured from a processor of another library by `integrations`.

    input = (low + pixel / 255 * (high - low) - mean) / std per channel, with (low, high) = range, after resizing and cropping.

    Args:
        mean, std: per channel in the order of `channels`, on the scale of `range`; std > 0. One number is that of all channels.
        size: (height, width) of the inputs in pixels.
        layout: what the model reads, "NCHW" or "NHWC". Inputs are (N, C, H, W) everywhere in this package: pass the layout to
            `Classifier`, which permutes for the model.
        range: what the darkest and the brightest pixel are before mean and std: (0, 1), for some models (-1, 1) or (0, 255).
        shorter: what the shorter side is resized to before the middle is cropped, at least the shorter side of the size;
            None: both sides are resized to the size, whatever the aspect. To the pixel as torchvision's Resize and CenterCrop:
            the longer side is cut to a whole number, and what is missing of the window is black.
        interpolation: of the resizing: "nearest", "bilinear", "bicubic" or "lanczos".
        source: where this comes from, for reports.
        channels: what the model reads of a picture: "RGB", "BGR", or "L", its grey level alone.
        processor: a library's own way from a Pillow picture in RGB to inputs (C, H, W), in place of resizing and cropping; then
            all the rest describes what it makes of pixels. None: this spec is all there is.

    Raises:
        TypeError, ValueError: an argument outside of these.

    Note:
        Pure arithmetic in float32, deterministic, no forwards. `shown` undoes `inputs` exactly, but for rounding to 8 bits.

    Example:
        >>> spec = PreprocessSpec((0.5,), (0.25,), (1, 2))
        >>> spec.inputs(torch.tensor([[[0], [255]]], dtype=torch.uint8))
        tensor([[[-2.,  2.]]])
        >>> spec.colour(0.5)
        (0.0,)
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]
    layout: str = "NCHW"
    range: tuple[float, float] = (0.0, 1.0)
    shorter: int | None = None
    interpolation: str = "bicubic"
    source: str = "as given"
    channels: str = "RGB"
    processor: Callable[[Any], Tensor] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std):
            expected = "one number per channel, as many as in std"
            bad_value(_FUNCTION, "mean", expected, f"{len(self.mean)} beside {len(self.std)}")
        for value in self.mean:
            require_number(_FUNCTION, "mean", value, low=float("-inf"))
        for value in self.std:
            require_number(_FUNCTION, "std", value, above=0.0)
        if len(self.size) != 2:
            bad_value(_FUNCTION, "size", "(height, width)", self.size)
        for side in self.size:
            require_integer(_FUNCTION, "size", side, 1, 2**31 - 1)
        if self.shorter is not None:
            require_integer(_FUNCTION, "shorter", self.shorter, min(self.size), 2**31 - 1)
        if len(self.range) != 2 or not self.range[0] < self.range[1]:
            bad_value(_FUNCTION, "range", "(low, high) with low < high", self.range)
        require_choice(_FUNCTION, "layout", self.layout, LAYOUTS)
        require_choice(_FUNCTION, "channels", self.channels, CHANNELS)
        if self.channels == "L" and len(self.mean) != 1:
            bad_value(_FUNCTION, "mean", "one number where channels is 'L'", f"{len(self.mean)}")
        require_choice(_FUNCTION, "interpolation", self.interpolation, INTERPOLATIONS)

    def __str__(self) -> str:
        height, width = self.size
        fit = f"resized to {height} x {width} ({self.interpolation})"
        if self.shorter is not None:
            fit = f"shorter side {self.shorter}, middle {height} x {width} ({self.interpolation})"
        if self.processor is not None:
            fit = f"{height} x {width} by its own processor"
        if self.channels != "RGB":
            fit += ", grey" if self.channels == "L" else f", {self.channels}"
        mean, std = (", ".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        scale = "" if self.range == (0.0, 1.0) else f" of pixels in [{self.range[0]:g}, {self.range[1]:g}]"
        return f"{fit}; mean {mean}; std {std}{scale} ({self.source})"

    @property
    def unit_mean(self) -> tuple[float, ...]:
        """The mean where pixels are in [0, 1]."""
        low, high = self.range
        return tuple((value - low) / (high - low) for value in self.mean)

    @property
    def unit_std(self) -> tuple[float, ...]:
        """The standard deviation where pixels are in [0, 1]."""
        low, high = self.range
        return tuple(value / (high - low) for value in self.std)

    def inputs(self, pictures: Tensor) -> Tensor:
        """(..., C, H, W) float32 from pictures (..., H, W, C) uint8 of the right size, RGB or grey.

        Raises:
            TypeError, ValueError: another dtype, or another number of channels.
        """
        require_dtype("inputs", "pictures", require_tensor("inputs", "pictures", pictures), (torch.uint8,))
        several = len(self.mean) == 1 and self.channels != "L"  # one number for all channels
        if pictures.ndim < 3 or pictures.shape[-1] not in (len(self.mean), *([3] if several else [])):
            expected = f"of shape (..., H, W, C) with C = {len(self.mean)}"
            bad_value("inputs", "pictures", expected, tuple(pictures.shape), "channels come last in pictures: movedim(-3, -1)")
        mean, std = self._columns(pictures)
        return (self._ordered(pictures).movedim(-1, -3).float() / 255 - mean) / std

    def shown(self, inputs: Tensor) -> Tensor:
        """Back to pictures (..., H, W, C) uint8 on the CPU, from inputs (..., C, H, W); NaN becomes the darkest value."""
        values = inputs.detach().cpu().float()
        mean, std = self._columns(values)
        pixels = (values * std + mean).nan_to_num(0) * 255
        return self._ordered(pixels.round().clamp(0, 255).byte().movedim(-3, -1))

    def colour(self, value: float) -> tuple[float, ...]:
        """A grey level in [0, 1], from black to white, in model input space."""
        return tuple((value - m) / s for m, s in zip(self.unit_mean, self.unit_std, strict=True))

    def _ordered(self, pictures: Tensor) -> Tensor:
        """From RGB (..., H, W, C) to the model's order, or back."""
        return pictures.flip(-1) if self.channels == "BGR" else pictures

    def _columns(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std of pixels in [0, 1], (C, 1, 1) float32."""
        first, second = (
            torch.tensor(values, dtype=torch.float32, device=like.device).view(-1, 1, 1)
            for values in (self.unit_mean, self.unit_std)
        )
        return first, second
