"""Layout of image cells in a layer's activation: feature maps, and the tokens of vision transformers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..checks import bad_type, bad_value, require_integer

# (rows, columns), or (rows, columns, leading tokens).
Grid = tuple[int, int] | tuple[int, int, int]

_USUAL_LEADING = 5  # a class token and four registers
_MOST_LEADING = 9
_REMEDY = "pass grid=(rows, columns), or grid=(rows, columns, leading tokens) where tokens also trail"


@dataclass(frozen=True)
class TokenGrid:
    """How to read an activation as feature maps (N, C, rows, columns); made by `token_grid`.

    Attributes:
        layout: "NCHW", "NHWC", "NLC" (tokens) or "LNC" (tokens first).
        rows, columns: cells of the image, row by row.
        leading: tokens before those of the cells: class, distillation and register tokens.
        channels: C.
        alternatives: other (rows, columns, leading) that the number of tokens allows; empty where the inference has no rival.
    """

    layout: str
    rows: int
    columns: int
    leading: int
    channels: int
    alternatives: tuple[tuple[int, int, int], ...] = ()

    def spatial(self, activation: Tensor) -> Tensor:
        """The activation as (N, C, rows, columns), a view.

        Raises:
            ValueError: it has another number of cells or channels.
        """
        wanted = (self.channels, self.rows, self.columns)
        view = activation
        if self.layout == "NHWC" and activation.ndim == 4:
            view = activation.permute(0, 3, 1, 2)
        elif self.layout in ("NLC", "LNC") and activation.ndim == 3:
            tokens = activation if self.layout == "NLC" else activation.transpose(0, 1)
            cells = tokens[:, self.leading : self.leading + self.rows * self.columns]
            if cells.shape[1] == self.rows * self.columns:
                view = cells.transpose(1, 2).view(len(cells), cells.shape[2], self.rows, self.columns)
        if view.shape[1:] != wanted:
            bad_value("TokenGrid.spatial", "activation", f"with {self}", tuple(activation.shape))
        return view

    def has_aspect_of(self, height: int, width: int) -> bool:
        """Whether square patches of an image give such rows and columns, one more or less; never more than there are pixels."""
        return (
            self.rows <= height and self.columns <= width and abs(self.rows * width - self.columns * height) <= max(height, width)
        )

    def __str__(self) -> str:
        lead = f" after {self.leading} leading token{'s' if self.leading > 1 else ''}" if self.leading else ""
        return f"{self.rows} x {self.columns} cells of {self.channels} channels{lead}, layout {self.layout}"


def token_grid(
    shape: Sequence[int], size: tuple[int, int], *, images: int = 1, grid: Grid | None = None, function: str = "token_grid"
) -> TokenGrid:
    """Infers from an activation's shape and the size of the input where the cells of the image are.

    Tokens: rows and columns are the input's height and width over one patch size, and at most 9 tokens lead. Of several
    possibilities one with at most 5 leading tokens comes first, then one where the patches divide the input exactly, then the
    one with the fewest leading tokens; the others are stated as `alternatives`.
    Four dimensions: (N, C, h, w), unless only (N, h, w, C), as in Swin, has the aspect of the input.

    Args:
        shape: of the activation: (N, C, h, w), (N, h, w, C), (N, L, C) or (L, N, C).
        size: (H, W) of the input in pixels.
        images: N. Where (N, L, C) and (L, N, C) both fit, it is read as (N, L, C); with one image there is no doubt.
        grid: (rows, columns) if known: what is left of the tokens leads; or (rows, columns, leading), and the rest trails.
        function: the name in error messages.

    Raises:
        ValueError: no grid fits; the message names what was seen and how to pass `grid`.

    Example:
        >>> print(token_grid((1, 197, 768), (224, 224)))
        14 x 14 cells of 768 channels after 1 leading token, layout NLC
        >>> print(token_grid((1, 7, 7, 1024), (224, 224)))
        7 x 7 cells of 1024 channels, layout NHWC
    """
    seen = tuple(shape)
    result = infer_grid(seen, size, images=images, grid=checked_grid(function, grid))
    if result is not None:
        return result
    tokens = _tokens(seen, images)
    if len(seen) == 4 and seen[0] == images:
        expected = f"to be {seen[2:]} for (N, C, h, w) or {seen[1:3]} for (N, h, w, C), in an activation of shape {seen}"
        bad_value(function, "grid", expected, grid)
    if tokens is None:
        layouts = f"of shape (N, C, h, w), (N, h, w, C), (N, L, C) or (L, N, C) with N = {images}"
        bad_value(function, "the activation", layouts, seen, "choose a layer outside windows and heads")
    if grid is None:
        expected = f"a grid with the aspect of the input {size[0]} x {size[1]} after at most {_MOST_LEADING} leading tokens"
        bad_value(function, "tokens", f"to be {expected}", f"{tokens[1]} tokens in shape {seen}", _REMEDY)
    expected = f"to have at most {tokens[1]} cells, and at most {_MOST_LEADING} leading tokens unless they are given"
    bad_value(function, "grid", expected, f"{grid} for an activation of shape {seen}", _REMEDY)


def checked_grid(function: str, grid: Grid | None) -> Grid | None:
    """The grid, if it is (rows, columns) or (rows, columns, leading)."""
    if grid is None:
        return None
    if not isinstance(grid, tuple) or len(grid) not in (2, 3):
        bad_type(function, "grid", "to be (rows, columns) or (rows, columns, leading tokens)", repr(grid))
    for number, low in zip(grid, (1, 1, 0), strict=False):
        require_integer(function, "grid", number, low, 2**31 - 1)
    return grid


def infer_grid(shape: tuple[int, ...], size: tuple[int, int], *, images: int = 1, grid: Grid | None = None) -> TokenGrid | None:
    """As `token_grid`, but None where no grid fits."""
    if len(shape) == 4 and shape[0] == images:
        return _feature_map(shape, size, grid)
    tokens = _tokens(shape, images)
    if tokens is None:
        return None
    layout, count = tokens
    if grid is not None:
        fits = [(grid[0], grid[1], grid[2] if len(grid) == 3 else count - grid[0] * grid[1])]
        if fits[0][2] + grid[0] * grid[1] > count or (len(grid) == 2 and not 0 <= fits[0][2] <= _MOST_LEADING):
            return None
    else:
        fits = _possible(count, size)
    return TokenGrid(layout, *fits[0], shape[2], tuple(fits[1:])) if fits else None


def _tokens(shape: tuple[int, ...], images: int) -> tuple[str, int] | None:
    """Layout and number of tokens of (N, L, C) or (L, N, C)."""
    if len(shape) != 3 or images not in shape[:2]:
        return None
    return ("NLC", shape[1]) if shape[0] == images else ("LNC", shape[0])


def _feature_map(shape: tuple[int, ...], size: tuple[int, int], grid: Grid | None) -> TokenGrid | None:
    _, a, b, c = shape
    if grid is not None:
        last = grid[:2] == (a, b) and grid[:2] != (b, c)
        if not last and grid[:2] != (b, c):
            return None
    else:
        last = (a, b) in _cells(size) and (b, c) not in _cells(size) and _skew(a, b, size) < _skew(b, c, size)
    return TokenGrid("NHWC", a, b, 0, c) if last else TokenGrid("NCHW", b, c, 0, a)


def _possible(count: int, size: tuple[int, int]) -> list[tuple[int, int, int]]:
    """(rows, columns, leading) that give `count` tokens, the likeliest first."""
    fits = [(rows, columns, count - rows * columns, exact) for (rows, columns), exact in _cells(size).items()]
    fits = [fit for fit in fits if 0 <= fit[2] <= _MOST_LEADING and fit[0] * fit[1] > 1]
    fits.sort(key=lambda fit: (fit[2] > _USUAL_LEADING, not fit[3], fit[2], _skew(fit[0], fit[1], size)))
    return [fit[:3] for fit in fits]


def _cells(size: tuple[int, int]) -> dict[tuple[int, int], bool]:
    """(rows, columns) of the input in square patches of any size, and whether the patches divide it exactly."""
    result: dict[tuple[int, int], bool] = {}
    for patch in range(1, max(1, min(size)) + 1):
        exact = size[0] % patch == 0 and size[1] % patch == 0
        for cells in ((size[0] // patch, size[1] // patch), (-(-size[0] // patch), -(-size[1] // patch))):
            result[cells] = result.get(cells, False) or exact
    return result


def _skew(rows: int, columns: int, size: tuple[int, int]) -> float:
    """How far the aspect of the grid is from that of the input: 0 = equal."""
    return abs(math.log(rows * size[1] / (columns * size[0]))) if rows * columns * size[0] * size[1] > 0 else math.inf
