"""From a picture file to what a model reads: size, crop and normalisation, stated in one place."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from .outcome import refuse

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """How pictures become inputs: RGB in [0, 1], resized, cropped in the middle, (picture - mean) / std per channel.

    size: (height, width) in pixels of the inputs. shorter: what the shorter side is resized to before the crop; None: both sides
    are resized to the size, whatever the aspect. source: who says so.
    """

    size: tuple[int, int]
    shorter: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str

    def __str__(self) -> str:
        height, width = self.size
        fit = (
            f"resized to {height} x {width}"
            if self.shorter is None
            else f"shorter side {self.shorter}, middle {height} x {width}"
        )
        mean, std = (", ".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        return f"{fit}; mean {mean}; std {std} ({self.source})"

    def picture(self, path: str | Path) -> Tensor:
        """The picture as the model's window on it: (H, W, 3) uint8. Raises what Pillow raises for a file that is none."""
        image_module, operations = _pillow()
        with image_module.open(path) as file:
            upright = operations.exif_transpose(file).convert("RGB")
        height, width = self.size
        if self.shorter is None:
            resized = upright.resize((width, height), image_module.Resampling.BICUBIC)
        else:
            factor = max(self.shorter / min(upright.size), width / upright.width, height / upright.height)
            fitted = (max(width, round(upright.width * factor)), max(height, round(upright.height * factor)))
            scaled = upright.resize(fitted, image_module.Resampling.BICUBIC)
            left, top = (scaled.width - width) // 2, (scaled.height - height) // 2
            resized = scaled.crop((left, top, left + width, top + height))
        return torch.from_numpy(numpy.array(resized))

    def inputs(self, picture: Tensor) -> Tensor:
        """What the model reads: (3, H, W) float32 from (H, W, 3) uint8."""
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return (picture.movedim(-1, 0).float() / 255 - mean) / std

    def shown(self, inputs: Tensor) -> Tensor:
        """Back to a picture (H, W, 3) uint8, from inputs (3, H, W)."""
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        pixels = (inputs.detach().cpu().float().nan_to_num(0) * std + mean) * 255
        return pixels.round().clamp(0, 255).byte().movedim(0, -1)

    def colour(self, value: float) -> tuple[float, ...]:
        """A grey level in [0, 1] in model input space."""
        return tuple((value - m) / s for m, s in zip(self.mean, self.std, strict=True))


def channels(text: str | None, name: str) -> tuple[float, ...] | None:
    """Three numbers, or one for all channels, from "0.5" or "0.48,0.45,0.40"."""
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 3) or (name == "--std" and min(values) <= 0):
        refuse(f"{name}: expected one number or three with commas between{', > 0' if name == '--std' else ''}, got {text!r}")
    return values * 3 if len(values) == 1 else values


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        refuse(f"to read pictures, Pillow is needed: {error}; pip install 'saliency_ext[report]'")
    return Image, ImageOps
