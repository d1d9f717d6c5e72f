"""From a picture file to the pixels that a model's inputs are made of, and numbers per channel from the command line."""

from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from ..models import PreprocessSpec
from .outcome import refuse


def read_picture(path: str | Path, spec: PreprocessSpec) -> Tensor:
    """The picture as the model's window on it: (H, W, 3) uint8. Raises what Pillow raises for a file that is none."""
    image_module, operations = _pillow()
    with image_module.open(path) as file:
        upright = operations.exif_transpose(file).convert("RGB")
    method = image_module.Resampling[spec.interpolation.upper()]
    height, width = spec.size
    if spec.shorter is None:
        resized = upright.resize((width, height), method)
    else:
        factor = max(spec.shorter / min(upright.size), width / upright.width, height / upright.height)
        fitted = (max(width, round(upright.width * factor)), max(height, round(upright.height * factor)))
        scaled = upright.resize(fitted, method)
        left, top = (scaled.width - width) // 2, (scaled.height - height) // 2
        resized = scaled.crop((left, top, left + width, top + height))
    return torch.from_numpy(numpy.array(resized))


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
