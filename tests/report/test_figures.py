"""Figures: the numbers drawn are those of the results, where they belong; labels are never markup."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
import torch

from saliency_ext.report._figures import WIDTH, Curves, Line, axis_strip, curve_panel, curves_of, interval_strip, shared_extent
from saliency_ext.report._formatting import number, span, ticks
from saliency_ext.stats.intervals import Summary
from tests.report.samples import DELETION, FIDELITY, curved, result, values, with_status

NASTY = '<script>alert("x")</script> & \x00\x1b]'


def points(svg, kind):
    """Coordinates of the first element of a class."""
    element = next(each for each in ElementTree.fromstring(svg).iter() if each.get("class") == kind)
    return [tuple(map(float, pair.split(","))) for pair in element.get("points").split()]


def test_curves_are_means_over_valid_images():
    result = curved(FIDELITY, 0.5, count=20)
    result.status[3] = "nonfinite_map"
    curves = curves_of(result)
    ok = result.valid
    assert ok.sum() == 19 and [line.style for line in curves.lines] == ["most", "least"]
    for line, name in zip(curves.lines, ("mif", "lif"), strict=True):
        assert line.mean == pytest.approx(result.curves[name][ok].mean(0).tolist())
        assert all(low <= mean <= high for low, mean, high in zip(line.low, line.mean, line.high, strict=True))
    upper, lower = curves.band
    clean = float(result.curves["lif"][ok][:, 0].mean())
    assert upper == [pytest.approx(clean)] * 5 and lower == pytest.approx(result.curves["lif"][ok].mean(0).tolist())


def test_a_single_curve_stands_beside_the_reference_if_the_axes_agree():
    fractions = torch.linspace(0, 1, 3, dtype=torch.float64)
    mine, other = (
        result(DELETION, values(0.3, 4), fractions=fractions, curves={"deletion": torch.full((4, 3), level, dtype=torch.float64)})
        for level in (0.2, 0.7)
    )
    curves = curves_of(mine, ("random", other))
    assert [(line.label, line.style, line.mean[0]) for line in curves.lines] == [
        ("deletion", "most", pytest.approx(0.2)),
        ("random", "reference", pytest.approx(0.7)),
    ]
    assert len(curves_of(mine, ("mine", mine)).lines) == 1, "no curve beside itself"
    shorter = result(DELETION, values(0.3, 4), fractions=fractions[:2], curves={"deletion": torch.zeros(4, 2)})
    assert len(curves_of(mine, ("random", shorter)).lines) == 1


def test_nothing_to_draw():
    assert curves_of(None) is None and curves_of(result(FIDELITY, values(0.5, 4))) is None
    empty = with_status(FIDELITY, values(0.5, 2), [0, 1], "method_failed")
    assert curves_of(empty) is None


def test_long_curves_are_thinned_and_keep_their_ends():
    fractions = torch.linspace(0, 1, 1000, dtype=torch.float64)
    found = curves_of(result(DELETION, [0.1], fractions=fractions, curves={"deletion": fractions[None]}))
    assert len(found.fractions) == 64 and found.fractions[0] == 0.0 and found.fractions[-1] == 1.0
    assert found.lines[0].mean == found.fractions == found.lines[0].low, "one image has no band"


def test_panel_places():
    result = curves_of(curved(FIDELITY, 0.5))
    svg = curve_panel("mine", result, (0.0, 1.0), "share", "score")
    line = points(svg, "curve most")
    assert len(line) == 5
    steps = {round(b[0] - a[0], 1) for a, b in pairwise(line)}
    assert max(steps) - min(steps) <= 0.11, "equal shares are equally far apart"
    assert all(b[1] > a[1] for a, b in pairwise(line)), "a falling score goes down the page"
    least = points(svg, "curve least")
    assert least[1][1] < line[1][1], "LIF lies above MIF"
    assert len(points(svg, "artifact")) == 10 and len(points(svg, "band most")) == 10
    assert max(x for x, _ in line) < WIDTH - 10, "room for the last tick label"
    tree = ElementTree.fromstring(svg)
    assert tree.get("role") == "img" and tree.find("title").text == "mine"
    assert re.search(r"most relevant first \(MIF\): 0\.\d+ at 0%, 0\.\d+ at 50%, 0\.0\d* at 100%", tree.find("desc").text)


def test_labels_are_text():
    svg = curve_panel(NASTY, curves_of(curved(FIDELITY, 0.5)), (0, 1), NASTY, NASTY)
    svg += interval_strip(NASTY, Summary(0.5, 0.4, 0.6, 9, 0), 0.0, 1.0, False)
    assert "<script" not in svg and "&lt;script&gt;" in svg and "\x00" not in svg and "\x1b" not in svg
    tree = ElementTree.fromstring(f"<all>{svg}</all>")
    assert not list(tree.iter("script")) and tree.find(".//title").text.startswith("<script>alert")


def test_strip_places_are_linear():
    summary = Summary(0.5, 0.25, 1.0, 9, 0)
    tree = ElementTree.fromstring(interval_strip("mine", summary, 0.0, 1.0, True))
    reach = next(each for each in tree.iter("line") if each.get("class") == "reach")
    assert (reach.get("x1"), reach.get("x2"), tree.find("circle").get("cx")) == ("26.00%", "98.00%", "50.00%")
    assert tree.get("class") == "strip control" and tree.find("title").text == "mine: 0.500 [0.250, 1.000]"
    missing = ElementTree.fromstring(interval_strip("gone", Summary(*[float("nan")] * 3, 0, 9), 0.0, 1.0, False))
    assert missing.find("circle") is None and missing.find("title").text == "gone: n/a"
    crossing = interval_strip("mine", Summary(0.1, -0.2, 0.3, 9, 0), -1.0, 1.0, False)
    assert 'class="zero"' in crossing and 'class="zero"' not in interval_strip("mine", summary, 0.0, 1.0, False)


def test_axis_ticks_lie_inside():
    tree = ElementTree.fromstring(axis_strip(0.13, 0.58))
    assert [float(text.text) for text in tree.iter("text")] == [0.2, 0.4]


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.37, 0.02), (5.0, 5.0), (1e-9, 3e-9), (float("nan"), 1.0), (-1e6, 1e6)])
def test_ticks_cover_and_are_few(low, high):
    result = ticks(low, high)
    assert 2 <= len(result) <= 8 and result == sorted(set(result))
    if low == low:
        assert result[0] <= low + 1e-12 and result[-1] >= high - 1e-12


def test_numbers():
    assert (
        number(-0.0004) == "-0.0004"
        and number(-0.000813) == "-0.00081"
        and number(12.3456) == "12.346"
        and number(float("inf")) == "n/a"
    )
    assert span(0.1, 0.2) == "[0.100, 0.200]" and span(float("nan"), 1.0) == ""


def test_panels_that_are_compared_share_an_axis():
    nan = float("nan")
    first = Curves([0.0, 1.0], [Line("a", "most", [0.2, 0.5], [0.1, 0.4], [0.3, 0.6])])
    second = Curves([0.0, 1.0], [Line("b", "most", [0.4, nan], [-0.2, nan], [0.5, nan])])
    assert shared_extent([first, second]) == (-0.2, 0.6) and shared_extent({"b": second}.values()) == (-0.2, 0.5)
