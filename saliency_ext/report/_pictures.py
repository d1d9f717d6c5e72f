"""Maps over images as small PNG files inside the page, all on one colour scale.

Scale: a map divided by the largest |value| of its method over the images shown (its 99.5 % quantile, so that a single pixel
does not dim the rest): from -1 to 1. Blue speaks against the target, orange to red for it, the image shines through at 0.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .data import Example

LARGEST = 192  # pixels of the longer side of a map in the page; larger ones are made smaller
LEAST = 192  # of a picture that stands for itself; smaller ones are enlarged
_QUANTILE = 0.995
_COLOURS = 96
# Colour of a value at 0, 1/2 and 1; the share of it that covers the image grows with the value.
_FOR = ((255, 214, 102), (240, 128, 20), (170, 10, 10))
_AGAINST = ((150, 205, 250), (50, 130, 220), (10, 40, 150))
_COVER = 0.9


def method_scales(examples: Sequence[Example]) -> dict[str, float]:
    """Per map name, what counts as 1: the 99.5 % quantile of |value| over the finite pixels of all examples; 0 for empty maps."""
    pixels: dict[str, list[Tensor]] = {}
    for example in examples:
        for name, saliency in example.maps.items():
            values = saliency.detach().cpu().double().flatten()
            pixels.setdefault(name, []).append(values[values.isfinite()].abs())
    return {name: _quantile(torch.cat(parts)) for name, parts in pixels.items()}


def _quantile(values: Tensor) -> float:
    if len(values) == 0:
        return 0.0
    result = float(values.kthvalue(max(1, round(_QUANTILE * len(values)))).values)
    return result or float(values.max())  # a map with very few pixels


def overlay(picture: Tensor, saliency: Tensor, scale: float) -> Tensor:
    """The map's colours over the grey picture: (H, W, 3) uint8 from (H, W, 3) uint8 and (H, W)."""
    values = saliency.detach().cpu().double().nan_to_num(0, 0, 0)
    values = (values / scale).clamp(-1, 1) if scale > 0 else torch.zeros_like(values)
    grey = picture.double().mean(-1, keepdim=True) * 0.7 + 70  # flat, so that colours tell
    strength = values.abs()[..., None]
    colour = torch.where(values[..., None] >= 0, _ramp(strength, _FOR), _ramp(strength, _AGAINST))
    cover = _COVER * strength.sqrt()
    return (grey * (1 - cover) + colour * cover).round().clamp(0, 255).byte()


def _ramp(strength: Tensor, colours: tuple[tuple[int, int, int], ...]) -> Tensor:
    first, middle, last = (torch.tensor(colour, dtype=torch.float64) for colour in colours)
    lower = first + (middle - first) * (2 * strength).clamp(max=1)
    return lower + (last - middle) * (2 * strength - 1).clamp(min=0)


def colour_bar(width: int = 257, height: int = 14) -> Tensor:
    """The scale from -1 to 1 over mid-grey: (height, width, 3) uint8."""
    values = torch.linspace(-1, 1, width, dtype=torch.float64).expand(height, width)
    return overlay(torch.full((height, width, 3), 110, dtype=torch.uint8), values, 1.0)


def enlarged(picture: Tensor, factor: int) -> Tensor:
    """Each pixel of (H, W, C) as a square."""
    return picture.repeat_interleave(factor, 0).repeat_interleave(factor, 1)


def legible(picture: Tensor) -> Tensor:
    """A picture or mask (H, W, C) at least 192 pixels long, by whole pixels."""
    return enlarged(picture, max(1, -(-LEAST // max(picture.shape[:2]))))


def shrunk(picture: Tensor, saliency: Mapping[str, Tensor], *, largest: int = LARGEST) -> tuple[Tensor, dict[str, Tensor]]:
    """Picture and maps with a longer side of at most `largest` pixels, averaged over areas."""
    height, width = picture.shape[:2]
    factor = largest / max(height, width, 1)
    if factor >= 1:
        return picture, dict(saliency)
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    small = functional.interpolate(picture.movedim(-1, 0)[None].double(), size, mode="area")[0].movedim(0, -1)
    maps = {
        name: functional.interpolate(values.detach().cpu()[None, None].double(), size, mode="area")[0, 0]
        for name, values in saliency.items()
    }
    return small.round().clamp(0, 255).byte(), maps


def data_uri(picture: Tensor, *, reduce: bool = True) -> str:
    """A PNG of (H, W, 3) uint8 as the address of an image inside the page; with `reduce` in at most 96 colours, for size."""
    return "data:image/png;base64," + base64.b64encode(png(picture, reduce=reduce)).decode("ascii")


def png(picture: Tensor, *, reduce: bool = False) -> bytes:
    """A PNG file of (H, W, 3) uint8."""
    image = pillow("Image").fromarray(picture.contiguous().numpy())
    if reduce:
        image = image.quantize(_COLOURS)
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return content.getvalue()


def peak(saliency: Tensor) -> tuple[float, float]:
    """Where the map is highest, as shares of the height from the top and of the width from the left."""
    values = saliency.detach().cpu().double().nan_to_num(-torch.inf, torch.inf, -torch.inf)
    row, column = divmod(int(values.argmax()), values.shape[1])
    return (row + 0.5) / values.shape[0], (column + 0.5) / values.shape[1]


def pillow(module: str) -> Any:
    """A module of Pillow, loaded when it is first needed.

    Raises:
        ImportError: it is not installed; says how to install it.
    """
    try:
        return import_module(f"PIL.{module}")
    except ImportError as error:
        raise ImportError(f"report: expected Pillow to be installed, got {error}; pip install 'saliency_ext[report]'") from error
