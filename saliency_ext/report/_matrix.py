"""Matrices as heat maps: inline SVG with a number in each cell, so that colour is never the only carrier."""

import math

from ..comparison import Matrix
from ._figures import markup, node
from ._formatting import number

_CELL_WIDTH, _CELL_HEIGHT, _LETTER = 58, 24, 6.4
_LONGEST = 26
_TURN = 38  # degrees by which the names of columns are turned
_RISE = math.sin(math.radians(_TURN))  # height of a turned name, over its length


def heat_map(matrix: Matrix) -> str:
    """Rows and columns by name; the cover of a cell grows from low to high, and below 0 the other colour is used."""
    left = 10 + _LETTER * min(_LONGEST, max((len(name) for name in matrix.rows), default=0))
    top = 18 + _LETTER * _RISE * min(_LONGEST, max((len(name) for name in matrix.columns), default=0))
    width = left + _CELL_WIDTH * len(matrix.columns) + top
    height = top + _CELL_HEIGHT * len(matrix.rows) + 4
    svg = node("svg", viewBox=f"0 0 {width:.0f} {height:.0f}", width=f"{width:.0f}", class_="heat", role="img")
    svg.append(node("title", matrix.title))
    for column, name in enumerate(matrix.columns):
        x = left + _CELL_WIDTH * (column + 0.4)
        svg.append(node("text", _short(name), x=x, y=top - 6, transform=f"rotate(-{_TURN} {x:.1f} {top - 6:.1f})"))
    for row, (name, values) in enumerate(zip(matrix.rows, matrix.values, strict=True)):
        y = top + _CELL_HEIGHT * row
        svg.append(node("text", _short(name), x=left - 6, y=y + 16, text_anchor="end"))
        for column, value in enumerate(values):
            x = left + _CELL_WIDTH * column
            style = {"class_": f"cell {_side(value, matrix)}", "fill_opacity": f"{_cover(value, matrix):.3f}"}
            svg.append(node("rect", x=x + 1, y=y + 1, width=_CELL_WIDTH - 2, height=_CELL_HEIGHT - 2, **style))
            svg.append(node("text", number(value, 2), class_="in", x=x + _CELL_WIDTH / 2, y=y + 16, text_anchor="middle"))
    return markup(svg)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def _side(value: float, matrix: Matrix) -> str:
    return "below" if matrix.low < 0 and value < 0 else "above"


def _cover(value: float, matrix: Matrix) -> float:
    """0 to 0.75: strength of a cell's colour. Around 0 where the range holds 0, else from low to high."""
    if value != value:
        return 0.0
    if matrix.low < 0:
        strength = abs(value) / max(abs(matrix.low), abs(matrix.high))
    else:
        strength = (value - matrix.low) / (matrix.high - matrix.low) if matrix.high > matrix.low else 0.0
    return 0.75 * min(1.0, max(0.0, strength))
