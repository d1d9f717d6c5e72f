"""Reads picture files into model inputs, and per-channel numbers of the command line."""

import math
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from ..checks import bad_value
from ..models import PreprocessSpec
from ._command_result import refuse

LARGEST = 2**24  # pixels of a whole resized picture; of a larger one the window alone is computed
_DIRECT = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # TIFF's tags


def read_inputs(path: str | Path, spec: PreprocessSpec) -> Tensor:
    """The model's inputs (C, H, W) float32 of a picture file, by the model's own processor where it has one.

    Raises:
        ValueError: a picture whose pixels or frames have no one meaning, or too long a one for a processor. Besides what Pillow
            raises for a file that is none.
    """
    if spec.processor is None:
        return spec.inputs(read_picture(path, spec))
    return _processed(path, spec)


def read_picture(path: str | Path, spec: PreprocessSpec) -> Tensor:
    """The picture as the model's window on it: (H, W, C) uint8. Raises as `read_inputs` does."""
    if spec.processor is not None:
        return spec.shown(_processed(path, spec))
    window = _window(_upright(path), spec)
    pixels = torch.from_numpy(numpy.array(window.convert("L") if spec.channels == "L" else window))
    return pixels[..., None] if spec.channels == "L" else pixels


def seen(inputs: Tensor, spec: PreprocessSpec) -> Tensor:
    """Inputs (C, H, W) as a picture for a report: (H, W, 3) uint8, grey where the model reads one channel."""
    picture = spec.shown(inputs)
    return picture.expand(*picture.shape[:-1], 3)


def _processed(path: str | Path, spec: PreprocessSpec) -> Tensor:
    picture = _upright(path)
    area = max(spec.size) ** 2 * max(picture.size) / min(picture.size)
    if area > LARGEST:  # a shorter side of the window's makes so many pixels before the middle is cropped
        expected = f"of at most {LARGEST} pixels where its shorter side is that of the inputs"
        bad_value("read_inputs", "picture", expected, f"{picture.width} x {picture.height}", "crop it")
    made: Tensor = spec.processor(picture)  # type: ignore[misc]  # not None here
    return made


def _window(picture: Any, spec: PreprocessSpec) -> Any:
    """Resized and cropped as torchvision's `Resize` and `CenterCrop` do, to the pixel: cut to whole numbers, padded in black.

    Of a picture that would have more than `LARGEST` pixels the window alone is computed, to a level of 255.
    """
    method = _pillow()[0].Resampling[spec.interpolation.upper()]
    height, width = spec.size
    if spec.shorter is None:
        return picture.resize((width, height), method)
    shorter, short = spec.shorter, min(picture.size)
    across, down = (shorter if side == short else int(shorter * side / short) for side in picture.size)
    left, top = (_corner(side, wanted) for side, wanted in ((across, width), (down, height)))
    if across * down <= LARGEST:
        scaled = picture if (across, down) == picture.size else picture.resize((across, down), method)
        return scaled.crop((left, top, left + width, top + height))
    inner = max(left, 0), max(top, 0), min(left + width, across), min(top + height, down)
    scale = picture.width / across, picture.height / down
    box = tuple(min(place * scale[number % 2], picture.size[number % 2]) for number, place in enumerate(inner))
    part = picture.resize((inner[2] - inner[0], inner[3] - inner[1]), method, box=box)
    return part.crop((left - inner[0], top - inner[1], left - inner[0] + width, top - inner[1] + height))


def _corner(side: int, wanted: int) -> int:
    """Where the middle begins: an odd rest is rounded to even; what is missing is padded, the odd pixel behind."""
    return round((side - wanted) / 2) if side >= wanted else -((wanted - side) // 2)


def _upright(path: str | Path) -> Any:
    """The picture in RGB, turned as its EXIF says; refused where its mode, transparency or frames leave open what is meant."""
    image_module, operations = _pillow()
    with image_module.open(path) as file:
        frames = getattr(file, "n_frames", 1)
        if frames > 1 and file.format != "MPO":  # of phones: the first is the photograph
            bad_value("read_picture", "picture", "of one frame", f"{frames} frames", "save the one that is meant")
        file.load()
        kind, bits = file.format, _bits(file)
        upright = operations.exif_transpose(file)
    mode = upright.mode
    if mode in _ALPHA or "transparency" in upright.info:
        return _opaque(upright)
    if mode in _SIXTEEN_BITS or (mode == "I" and bits is not None):
        return _of_sixteen_bits(upright, kind, bits)
    if mode not in _DIRECT:
        expected = "of 8 or 16 bits per channel, grey, RGB or CMYK"
        bad_value("read_picture", "picture", expected, f"mode {mode}", "its range is not known; save it as 8-bit RGB")
    return upright.convert("RGB")


def _bits(file: Any) -> int | None:
    """How many bits a grey value of more than 8 has by the file's format; None where the format does not say."""
    if file.format in ("PNG", "PPM"):
        return 16  # a PPM's values are scaled by Pillow
    if file.format == "TIFF" and file.mode in _SIXTEEN_BITS:
        if file.tag_v2.get(_PHOTOMETRIC) == 0:
            bad_value("read_picture", "picture", "in which 0 is black", "a TIFF of 16 bits in which 0 is white", "invert it")
        result = file.tag_v2.get(_BITS_PER_SAMPLE, 16)
        return int(result[0] if isinstance(result, tuple) else result)
    return None


def _of_sixteen_bits(picture: Any, kind: str, bits: int | None) -> Any:
    if bits is None:
        expected = "of 16 bits as PNG, TIFF or PGM, whose range is known"
        bad_value("read_picture", "picture", expected, f"mode {picture.mode} of {kind}", "save it as one of these")
    values = numpy.asarray(picture).astype(numpy.float64) * (255 / (2**bits - 1))
    grey = numpy.rint(values.clip(0, 255)).astype(numpy.uint8)
    return _pillow()[0].fromarray(grey).convert("RGB")


def _opaque(picture: Any) -> Any:
    """Without an alpha channel that is opaque everywhere; any other shows a background that the file does not know."""
    if picture.mode in _SIXTEEN_BITS or picture.mode in ("I", "F"):
        bad_value("read_picture", "picture", "opaque", f"mode {picture.mode} with a transparent value", "save it without")
    premultiplied = {"RGBa": "RGBA", "La": "LA"}
    whole = picture.convert(premultiplied.get(picture.mode, picture.mode)).convert("RGBA")
    darkest = whole.getchannel("A").getextrema()[0]
    if darkest < 255:
        remedy = "flatten it onto the background that is meant"
        bad_value("read_picture", "picture", "opaque", f"mode {picture.mode} with alpha down to {darkest} of 255", remedy)
    return whole.convert("RGB")


def channels(text: str | None, name: str) -> tuple[float, ...] | None:
    """Three numbers, or one for all channels, from "0.5" or "0.48,0.45,0.40"."""
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 3) or not all(map(math.isfinite, values)) or (name == "--std" and min(values) <= 0):
        positive = ", > 0" if name == "--std" else ""
        refuse(f"{name}: expected one finite number or three with commas between{positive}, got {text!r}")
    return values


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        refuse(f"to read pictures, Pillow is needed: {error}; pip install 'saliency_ext[report]'")
    return Image, ImageOps
