"""Figures as inline SVG: curves with bands, and bars with intervals. Colours and line styles are classes of the style sheet.

Elements are built as a tree and serialised, so a label can hold anything without becoming markup.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import torch

from ..metrics.result import MetricResult
from ..protocols import MetricInfo
from ..stats.intervals import Summary, bootstrap_means, fewest_images, interval
from ._formatting import number, span, ticks

WIDTH, HEIGHT = 320, 212
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 18, 10, 38
_MOST_POINTS = 64
_HALF = 0.5

Node = ElementTree.Element


@dataclass(frozen=True)
class Line:
    """A mean curve (S,) with its band; style is the class that draws it."""

    label: str
    style: str
    mean: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class Curves:
    """The curves of one map under one metric: shares (S,) on the x axis, lines, and a band as (upper, lower) edge."""

    fractions: list[float]
    lines: list[Line]
    band: tuple[list[float], list[float]] | None = None
    band_label: str = ""

    @property
    def extent(self) -> tuple[float, float]:
        """Lowest and highest value drawn."""
        values = [value for line in self.lines for value in (*line.low, *line.high, *line.mean) if value == value]
        return (min(values), max(values)) if values else (0.0, 1.0)


def shared_extent(drawn: Collection[Curves]) -> tuple[float, float]:
    """Lowest and highest value of several, at least one: one y axis for panels that are compared."""
    lows, highs = zip(*(curves.extent for curves in drawn), strict=True)
    return min(lows), max(highs)


_STYLES = ("most", "least", "reference", "further")  # of the curves of a metric, in turn


def curves_of(result: MetricResult | None, reference: tuple[str, MetricResult] | None = None) -> Curves | None:
    """The curves of a result as means with 95 % bands over its images; None where there are none.

    reference: name and result of a control whose curve is drawn beside a single one.
    """
    if result is None or result.fractions is None or not result.valid.any():
        return None
    shown = [name for name in result.curves if name != result.info.loss_band]
    if not shown or any(result.curves[name].shape[1] != len(result.fractions) for name in shown):
        return None
    places = _places(len(result.fractions))
    lines = _lines(result, shown, places)
    if len(shown) == 1 and reference is not None and _same_axis(result, reference[1], shown[0]):
        other = _lines(reference[1], shown, places)[0]
        lines.append(Line(reference[0], "reference", other.mean, other.low, other.high))
    fractions = [float(result.fractions[place]) for place in places]
    if result.info.loss_band not in result.curves:
        return Curves(fractions, lines)
    clean = float(result.curves[shown[0]][result.valid][:, 0].mean())
    lost = result.curves[result.info.loss_band][result.valid][:, places].mean(0)
    band = ([clean] * len(places), (clean - lost).tolist())
    return Curves(fractions, lines, band, _label(result.info, result.info.loss_band))


def _label(info: MetricInfo, curve: str) -> str:
    """The legend of a curve."""
    return dict(info.curve_labels).get(curve, curve.replace("_", " "))


def _lines(result: MetricResult, names: Sequence[str], places: list[int]) -> list[Line]:
    values = torch.stack([result.curves[name][result.valid][:, places] for name in names], 1)  # (n, curves, S)
    mean = values.mean(0)
    low, high = interval(bootstrap_means(values), len(values)) if len(values) >= fewest_images() else (mean, mean)
    labels = [_label(result.info, name) for name in names]
    styles = [_STYLES[index % len(_STYLES)] for index in range(len(names))]
    return [Line(*line) for line in zip(labels, styles, mean.tolist(), low.tolist(), high.tolist(), strict=True)]


def _same_axis(result: MetricResult, other: MetricResult, curve: str) -> bool:
    if other is result or other.fractions is None or result.fractions is None or curve not in other.curves:
        return False
    return torch.equal(other.fractions, result.fractions) and bool(other.valid.any())


def _places(count: int) -> list[int]:
    return torch.linspace(0, count - 1, min(count, _MOST_POINTS)).round().long().tolist()


def curve_panel(name: str, curves: Curves, extent: tuple[float, float], x_label: str, y_label: str) -> str:
    """One panel: the curves of one map, on axes whose y range is given so that panels can be compared."""
    levels = ticks(*extent)
    bottom, top = levels[0], levels[-1]

    def x(share: float) -> float:
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _TOP + (top - value) / (top - bottom) * (HEIGHT - _TOP - _BOTTOM)

    svg = node("svg", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", class_="panel", preserveAspectRatio="xMidYMid meet")
    svg.append(node("title", name))
    svg.append(node("desc", "; ".join(_described(line, curves.fractions) for line in curves.lines)))
    for level in levels:
        svg.append(node("line", class_="grid", x1=x(0), x2=x(1), y1=y(level), y2=y(level)))
        svg.append(node("text", f"{level:g}", class_="tick", x=_LEFT - 6, y=y(level) + 4, text_anchor="end"))
    for share in (0, 0.25, 0.5, 0.75, 1):
        svg.append(node("line", class_="mark", x1=x(share), x2=x(share), y1=y(bottom), y2=y(bottom) + 4))
        svg.append(node("text", f"{share:.0%}", class_="tick", x=x(share), y=y(bottom) + 16, text_anchor="middle"))
    svg.append(node("text", x_label, class_="axis", x=x(_HALF), y=HEIGHT - 4, text_anchor="middle"))
    turned = f"rotate(-90 11 {y((top + bottom) / 2):.1f})"
    svg.append(node("text", y_label, class_="axis", x=11, y=y((top + bottom) / 2), text_anchor="middle", transform=turned))
    shares = [x(share) for share in curves.fractions]
    if curves.band is not None:
        upper, lower = ([y(value) for value in edge] for edge in curves.band)
        svg.append(node("polygon", class_="artifact", points=_points(shares, upper, lower)))
    for line in curves.lines:
        low, high = ([y(value) for value in edge] for edge in (line.low, line.high))
        svg.append(node("polygon", class_=f"band {line.style}", points=_points(shares, high, low)))
    for line in curves.lines:
        svg.append(node("polyline", class_=f"curve {line.style}", points=_points(shares, [y(value) for value in line.mean])))
    return markup(svg)


def _described(line: Line, fractions: list[float]) -> str:
    half = min(range(len(fractions)), key=lambda place: abs(fractions[place] - _HALF))
    return f"{line.label}: " + ", ".join(f"{number(line.mean[at])} at {fractions[at]:.0%}" for at in (0, half, -1))


def _points(shares: list[float], first: list[float], back: list[float] | None = None) -> str:
    pairs = list(zip(shares, first, strict=True))
    pairs += list(zip(shares, back, strict=True))[::-1] if back is not None else []
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in pairs)


def interval_strip(name: str, summary: Summary, low: float, high: float, control: bool) -> str:
    """A mean with its interval on an axis from low to high, as wide as its place; controls are hollow."""

    def place(value: float) -> str:
        return f"{2 + 96 * (value - low) / (high - low):.2f}%"

    text = f"{name}: {number(summary.mean)} {span(summary.low, summary.high)}".strip()
    svg = node("svg", class_="strip control" if control else "strip", width="100%", height="22", role="img")
    svg.append(node("title", text))
    if low < 0 < high:
        svg.append(node("line", class_="zero", x1=place(0), x2=place(0), y1="0", y2="22"))
    if summary.low == summary.low:
        svg.append(node("line", class_="reach", x1=place(summary.low), x2=place(summary.high), y1="11", y2="11"))
    if summary.mean == summary.mean:
        svg.append(node("circle", class_="mean", cx=place(summary.mean), cy="11", r="4.5"))
    return markup(svg)


def axis_strip(low: float, high: float) -> str:
    """The axis under strips: its ticks."""
    svg = node("svg", class_="strip axis", width="100%", height="18", aria_hidden="true")
    inside: list[float] = []
    for most in (4, 8):  # finer where a single tick would be left
        if len(inside) < 2:
            inside = [level for level in ticks(low, high, most) if low - 1e-9 <= level <= high + 1e-9]
    for level in inside:
        at = f"{2 + 96 * (level - low) / (high - low):.2f}%"
        svg.append(node("line", class_="mark", x1=at, x2=at, y1="0", y2="4"))
        svg.append(node("text", f"{level:g}", class_="tick", x=at, y="15", text_anchor="middle"))
    return markup(svg)


def node(tag: str, text: str = "", **attributes: object) -> Node:
    """An element; `class_` and underscores stand for what Python cannot spell."""
    plain = ("viewBox", "preserveAspectRatio")
    names = {key: key if key in plain else key.rstrip("_").replace("_", "-") for key in attributes}
    made = Node(tag, {names[key]: _attribute(value) for key, value in attributes.items()})
    made.text = _printable(text)
    return made


def markup(tree: Node) -> str:
    """The element as text for an HTML page."""
    return ElementTree.tostring(tree, encoding="unicode", short_empty_elements=True)


def _attribute(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _printable(text: str) -> str:
    """Without control characters, which no document may hold."""
    return "".join(letter for letter in text if letter in "\t\n" or ord(letter) >= 32)
