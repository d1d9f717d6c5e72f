"""The page of a study of choices."""

from __future__ import annotations

import re
from pathlib import Path

from saliency_ext.comparison import CurveTrace, Finding, Findings, Matrix
from saliency_ext.report import write_findings
from saliency_ext.report._matrix import heat_map
from saliency_ext.stats.intervals import Summary

NAN = float("nan")
NASTY = "<script>alert('x')</script> & \"co\""


def findings() -> Findings:
    matrix = Matrix("agreement", ("grey", NASTY), ("grey", "blur"), [[1.0, -0.25], [NAN, 0.5]], -1.0, 1.0)
    trace = CurveTrace(
        "reliability", "share", "score", [0.0, 0.5, 1.0], {"grey": ([1, 0.5, 0.2], [0.9, 0.4, 0.1], [1, 0.6, 0.3])}
    )
    result = Finding("Is it so?", f"Yes, {NASTY}.", {"share": Summary(0.5, 0.25, 0.75, 8, 1), "one": 0.125}, [matrix], [trace])
    return Findings("Do choices matter?", [result], {}, {"model": NASTY}, [("infill grey", "infill_failed", 3)])


def test_page_shows_everything_and_runs_nothing(tmp_path: Path) -> None:
    path = write_findings(findings(), tmp_path / "deep" / "index.html")
    text = path.read_text()
    assert "<script" not in text and "default-src 'none'" in text
    assert not re.search(r'(src|href)="(?!#|data:)', text)
    plain = re.sub(r"<[^>]+>", " ", text)
    for wanted in ("Is it so?", "Do choices matter?", "agreement", "0.500", "[0.250, 0.750]", "0.125", "infill_failed", "n/a"):
        assert wanted in plain, wanted
    assert text.count("<polyline") == 1 and text.count('class="cell') == 4
    assert write_findings(findings(), tmp_path / "again.html").read_text() == text
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".tmp"] == []


def test_heat_map_says_values_by_number_side_and_strength() -> None:
    svg = heat_map(Matrix("m", ("r",), ("a", "b", "c", "d"), [[1.0, -0.5, 0.0, NAN]], -1.0, 1.0))
    cells = re.findall(r'class="cell (\w+)" fill-opacity="([\d.]+)"', svg)
    assert cells == [("above", "0.750"), ("below", "0.375"), ("above", "0.000"), ("above", "0.000")]
    assert re.findall(r'class="in"[^>]*>([^<]+)<', svg) == ["1.00", "-0.50", "0.00", "n/a"]
    positive = heat_map(Matrix("m", ("r",), ("a", "b"), [[0.2, 0.4]], 0.2, 0.4))
    assert re.findall(r'fill-opacity="([\d.]+)"', positive) == ["0.000", "0.750"]
    flat = heat_map(Matrix("m", ("r",), ("a",), [[0.2]], 0.2, 0.2))
    assert re.findall(r'fill-opacity="([\d.]+)"', flat) == ["0.000"]


def test_page_without_faults_says_so(tmp_path: Path) -> None:
    result = Findings("Fine", [Finding("Q?", "A.")], {}, {})
    assert "Every infill, map and score has a value on every image." in write_findings(result, tmp_path / "a.html").read_text()
