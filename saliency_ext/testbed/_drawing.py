"""Draws glyphs into photographs in whole numbers: the same bits in any batch, order and build.

Matrix products hold whole numbers below 2^53 in float64, so they are exact whatever order a library sums them in.
"""

from functools import lru_cache

import torch
from torch import Tensor

FRAME = 30  # largest side of a drawn glyph, in pixels
OPAQUE = 255
_UNIT = 1 << 12  # fixed-point one of the resize weights
_FAINTEST = 32  # opacity below which a pixel holds no ink: no ringing, tight boxes
_REACH = 100  # grey levels between the middle tone and the tone curve's ends


def opacity(glyphs: Tensor, sides: Tensor) -> Tensor:
    """Glyphs scaled to side x side pixels with a bicubic kernel: opacity in the corner of a square frame.

    Args:
        glyphs: (M, 8, 8) int64, ink 0 to 16.
        sides: (M,) int64, pixels, 8 to 30.

    Returns:
        (M, 30, 30) float32 whole numbers: 0 (no ink) or 32 to 255.
    """
    weights = _resize_weights()[sides]
    scaled = weights @ glyphs.double() @ weights.mT
    alpha = (scaled * (OPAQUE / 16 / _UNIT**2)).round().clamp(0, OPAQUE).float()
    return alpha * (alpha >= _FAINTEST)


def extent(ink: Tensor) -> Tensor:
    """Tight boxes (..., 4) int64 of masks (..., H, W): top, left, bottom, right, half-open; zeros where a mask is empty."""
    sides = [_first_and_end(ink.any(-1)), _first_and_end(ink.any(-2))]
    return torch.stack([sides[0][0], sides[1][0], sides[0][1], sides[1][1]], -1)


def tone(crops: Tensor, middle: Tensor) -> Tensor:
    """Photographs with their mean brought to a middle grey by a soft curve, so that darker and lighter ink both have room.

    out = middle + d / (1 + |d| / reach) with d = pixel - mean of the crop over all channels.

    Args:
        crops: (N, 3, H, W) uint8.
        middle: (N,) int64, 0 to 255.

    Returns:
        (N, 3, H, W) float32 whole numbers, within 100 of the middle and in [0, 255].
    """
    pixels = crops.flatten(1).long()
    mean = pixels.sum(1, keepdim=True).double() / pixels.shape[1]
    distance = torch.arange(256) - mean
    curve = middle[:, None] + distance / (1 + distance.abs() / _REACH)
    return curve.round().clamp(0, OPAQUE).float().gather(1, pixels).view(crops.shape)


def place(frames: Tensor, tops: Tensor, lefts: Tensor, side: int) -> Tensor:
    """Frames (M, 30, 30) moved into images (M, side, side): row `top` of the image is row 0 of the frame."""
    at = torch.arange(side)
    rows, columns = at - tops[:, None], at - lefts[:, None]  # may begin outside: a frame's blank margin may leave the image
    rows = torch.where((rows >= 0) & (rows < FRAME), rows, FRAME)
    columns = torch.where((columns >= 0) & (columns < FRAME), columns, FRAME)
    padded = torch.nn.functional.pad(frames, (0, 1, 0, 1))  # the blank row and column that stand for outside
    image = torch.arange(len(frames))[:, None]
    return padded[image, rows].gather(2, columns[:, None, :].expand(-1, side, -1))


def blend(canvas: Tensor, alpha: Tensor, colour: Tensor) -> Tensor:
    """Ink over a canvas: (N, 3, H, W) from opacity (N, H, W) and colour (N, 3), rounded to nearest.

    All are whole numbers in float32; products stay below 2^24, so this is exact, and no tie can occur: 255 is odd.
    """
    alpha = alpha[:, None]
    return ((canvas * (OPAQUE - alpha) + colour[:, :, None, None] * alpha) / OPAQUE).round()


def ink_colour(grey: Tensor, contrast: Tensor, polarity: Tensor, tint: Tensor) -> Tensor:
    """A colour whose grey level differs from a given one by the contrast, as far as there is room.

    Args:
        grey: (M,) float64, grey level behind the ink, 0 to 255.
        contrast: (M,) float64, grey levels.
        polarity: (M,) int64, +1 lighter than what is behind, -1 darker.
        tint: (M, 3) float64, added to red, green, blue; the mean is taken out, and it shrinks where there is no room.

    Returns:
        (M, 3) float32 whole numbers, 0 to 255.
    """
    room = torch.where(polarity > 0, 255 - grey, grey)
    level = (grey + polarity * torch.minimum(contrast, room))[:, None]
    tint = tint - (tint[:, :1] + tint[:, 1:2] + tint[:, 2:]) / 3
    space = torch.where(tint > 0, 255 - level, level) / tint.abs().clamp(min=1e-9)
    return (level + tint * space.amin(1, keepdim=True).clamp(max=1)).round().clamp(0, OPAQUE).float()


@lru_cache(maxsize=1)
def _resize_weights() -> Tensor:
    """(31, 30, 8) float64 whole numbers: row r of entry s are the weights of pixel r when 8 pixels become s."""
    weights = torch.zeros(FRAME + 1, FRAME, 8, dtype=torch.float64)
    for side in range(8, FRAME + 1):
        lines = torch.eye(8, dtype=torch.float64)[None, None]
        scaled = torch.nn.functional.interpolate(lines, size=(side, 8), mode="bicubic", align_corners=False)[0, 0]
        weights[side, :side] = (scaled * _UNIT).round()
    return weights


def _first_and_end(line: Tensor) -> tuple[Tensor, Tensor]:
    """First True and one past the last True of (..., L); zeros where there is none."""
    length = line.shape[-1]
    first, last = line.byte().argmax(-1), line.flip(-1).byte().argmax(-1)
    some = line.any(-1)
    return first * some, (length - last) * some
