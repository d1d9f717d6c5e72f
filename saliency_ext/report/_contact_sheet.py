"""Maps of one image as one picture: the image first, then each map with its name under it, and the scale."""

from collections.abc import Mapping, Sequence
from textwrap import wrap

import torch
from torch import Tensor

from ._pictures import colour_bar, legible, method_scales, overlay, pillow, png
from .data import Example

_GAP, _TEXT = 10, 30
_LETTER = 7  # width of a letter, about
_PAPER, _INK = 255, (27, 31, 36)


def contact_sheet(example: Example, columns: int = 4) -> bytes:
    """A PNG with the image and its maps, row by row, each on a scale of its own, see `method_scales`.

    Args:
        example: the image, its maps, and a caption.
        columns: pictures side by side.
    """
    scales = method_scales([example])
    cells: dict[str, Tensor] = {"image": example.picture}
    cells |= {name: overlay(example.picture, saliency, scales[name]) for name, saliency in example.maps.items()}
    large = {name: legible(cell) for name, cell in cells.items()}
    return png(_laid_out(large, example.caption, min(columns, len(cells))))


def _laid_out(cells: Mapping[str, Tensor], caption: str, columns: int) -> Tensor:
    height, width = next(iter(cells.values())).shape[:2]
    rows = -(-len(cells) // columns)
    sheet = torch.full(
        (2 * _TEXT + _GAP + rows * (height + _TEXT), _GAP + columns * (width + _GAP), 3), _PAPER, dtype=torch.uint8
    )
    texts = [(_GAP, _GAP, caption)]
    for place, (name, cell) in enumerate(cells.items()):
        top, left = _TEXT + (place // columns) * (height + _TEXT), _GAP + (place % columns) * (width + _GAP)
        sheet[top : top + height, left : left + width] = cell
        texts.append((left, top + height + 4, name))
    bar = colour_bar(min(257, sheet.shape[1] - 2 * _GAP))
    top = sheet.shape[0] - _TEXT - 4
    sheet[top : top + bar.shape[0], _GAP : _GAP + bar.shape[1]] = bar
    below = top + bar.shape[0] + 2
    texts += [
        (_GAP, below, "against it"),
        (_GAP + bar.shape[1] // 2 - 3, below, "0"),
        (_GAP + bar.shape[1] - 38, below, "for it"),
    ]
    return with_texts(sheet, texts)


def with_texts(sheet: Tensor, texts: list[tuple[int, int, str]]) -> Tensor:
    """The picture (H, W, 3) with texts at (left, top)."""
    image_module = pillow("Image")
    image = image_module.fromarray(sheet.numpy())
    pen = pillow("ImageDraw").Draw(image)
    font = pillow("ImageFont").load_default(13)
    for left, top, text in texts:
        pen.text((left, top), text, fill=_INK, font=font)
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(sheet.shape)


def wrapped(texts: Sequence[str], width: int) -> list[str]:
    """Texts broken into lines that fit into a width of pixels."""
    return [line for text in texts for line in wrap(text, max(20, width // _LETTER))]
