"""The section of pairs: what is drawn where, what is said of whom."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html import unescape

import pytest
import torch
from PIL import Image

from saliency_ext.disambiguation import PairResult, Rules
from saliency_ext.infill import Constant, ImageMean
from saliency_ext.report import PairExample, write_pairs, write_report
from saliency_ext.report._pairs import COLOURS, percent, region_picture, statements, strength
from tests.disambiguation.planted import alike, apart, finder, ones, planted
from tests.report.samples import FIDELITY, result, results_of, values

PAIR = torch.tensor([[0, 1]])
HEIGHT = "the logit's height above the mean logit"
NASTY = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def distinct() -> PairResult:
    image = ones()
    return finder(apart(4.0), others=[Constant(-0.1), ImageMean()])(image, PAIR)[0][0]


@pytest.fixture(scope="module")
def shared() -> PairResult:
    return finder(alike(4.0, 20))(ones(), PAIR)[0][0]


def example(*pairs: PairResult) -> PairExample:
    return PairExample(f"a picture {NASTY}", torch.full((6, 6, 3), 100, dtype=torch.uint8), pairs, {0: f"cat {NASTY}"})


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page.replace("<wbr>", ""))))


def test_each_region_has_its_colour_and_all_else_is_grey(distinct, shared):
    """The middle of a cell is half grey, half its colour: U1 (cell 1) orange, U2 (cell 5) blue, a common one (cell 4) green."""
    assert [max(range(3), key=COLOURS[name].__getitem__) for name in ("U1", "U2", "D")] == [0, 2, 1], "orange, blue, green"
    for pair, cells in ((distinct, {1: "U1", 5: "U2"}), (shared, {4: "D"})):
        drawn = region_picture(torch.full((6, 6, 3), 100, dtype=torch.uint8), pair.proofs[0])
        assert drawn.shape == (192, 192, 3)
        grey = torch.tensor([130.0] * 3)
        for cell in range(9):
            middle = drawn[64 * (cell // 3) + 32, 64 * (cell % 3) + 32].double()
            wanted = (grey + torch.tensor(COLOURS[cells[cell]])) / 2 if cell in cells else grey
            assert (middle - wanted).abs().max() <= 0.5, cell
    assert drawn[64 + 1, 64 + 1].tolist() == list(COLOURS["D"]), "outlined"


def test_what_is_said_is_of_the_right_label_and_region(distinct, shared):
    """K = 4, a = 4: redacting cell 1 leaves (2e^4 + 2) / (e^4 (e^4 + 3)) = 3.5 % of label 0 and 193 % of label 1."""
    first, second = statements(example(distinct), distinct.proofs[0])
    assert first == f"without U1 (11 % of the image), 4 % of cat {NASTY} and 193 % of class 1 are left"
    assert second == f"without U2 (11 % of the image), 193 % of cat {NASTY} and 4 % of class 1 are left"
    assert statements(example(distinct), distinct.proofs[0], colours=True)[1].startswith("without the blue region (11 %")
    assert statements(example(shared), shared.proofs[0], colours=True)[0].startswith("without the green region (11 %")
    assert percent(float("nan")) == "n/a" and percent(-49.6) == "-50 %"


@pytest.mark.parametrize(
    ("score", "cells", "words", "measure", "margin"),
    [
        ("probability", ["0 %", "200 %"], "0 % of cat and 200 % of class 1 are left", "the probability:", "20.0"),
        ("logit", ["13 %", "102 %"], "13 % of cat and 102 % of class 1 are left", f"{HEIGHT}:", "7.2"),
        ("both", ["0 % / 13 %", "200 % / 102 %"], "0 % of cat and 200 % of class 1 are left, of the logits 13 % and 102 %",
         f"the probability / {HEIGHT} (both count):", "7.2"),
    ],
)  # fmt: skip
def test_what_is_shown_is_what_the_margin_is_of(score, cells, words, measure, margin, tmp_path):
    """K = 40, z_A = 8.5 [cell 1] + 1.5 [cell 2], z_B likewise of 5 and 6; mean .5, without cell 1 .2875.

    Then z_A - mean is 1.2125 of 9.5: 12.8 %, 7.2 points below 20, and z_B - mean 9.7125 of 9.5: 102 %; probabilities 0, 200 %.
    """
    model = planted(40, {(0, 1): 8.5, (0, 2): 1.5, (1, 5): 8.5, (1, 6): 1.5})
    shown = replace(example(finder(model, Rules(score=score))(ones(), PAIR)[0][0]), labels={0: "cat"})
    assert statements(shown, shown.pairs[0].proofs[0])[0] == f"without U1 (11 % of the image), {words}"
    page = write_pairs([shown], tmp_path / "a.html").read_text()
    assert re.findall(r'<span class="(?:falls|stays)">([^<]+%)</span>', page) == cells + cells[::-1]
    plain = text_of(page)
    assert f"Left of {measure} at most 20 %" in plain and f"smallest margin {margin} points" in plain and f"{words}." in plain


def test_robust_or_not(distinct):
    proof = distinct.proofs[0]
    assert strength(proof).startswith("robust: also under constant")
    assert strength(replace(proof, shown=proof.shown[:1])) == "under constant alone"


def test_the_page_shows_everything_and_runs_nothing(distinct, shared, tmp_path):
    idle = PairResult((2, 3), (0.001, 0.002), "undecided", "pair_undefined", "below the floor", ())
    open_ = PairResult((4, 5), (0.2, 0.3), "undecided", "ok", "nothing was found", ())
    path = write_pairs([example(distinct, shared, idle, open_)], tmp_path / "deep" / "index.html", facts={"model": NASTY})
    page = path.read_text()
    assert "<script" not in page and "default-src 'none'" in page and not re.search(r'(src|href)="(?!#|data:)', page)
    plain = text_of(page)
    for wanted in ("3 of 4 pairs judged, 2 proofs.", "distinct, robust", "Two entities.", "One entity.",
                   "pair_undefined below the floor", "class 2 0.00 / class 3 0.00", NASTY,
                   "undecided nothing was found class 4 0.20 / class 5 0.30",
                   "at most 20 % has fallen , at least 80 % is kept ; smallest margin 16.5 points"):  # fmt: skip
        assert wanted in plain, wanted
    cells = re.findall(r'<span class="(falls|stays)">(-?[\d.]+) %</span>', page)
    assert cells[:4] == [("falls", "4"), ("stays", "193"), ("stays", "193"), ("falls", "4")]
    assert cells[-2][0] == cells[-1][0] == "falls", "a common region lowers both"
    pictures = [Image.open(io.BytesIO(base64.b64decode(each))) for each in re.findall(r"data:image/png;base64,([^\"]+)", page)]
    assert [each.size for each in pictures] == [(192, 192)] * 3
    assert write_pairs([example(distinct, shared, idle, open_)], tmp_path / "b.html", facts={"model": NASTY}).read_text() == page


def test_the_section_is_part_of_the_report(distinct, tmp_path):
    results = results_of({("own", "fidelity"): result(FIDELITY, values(0.5, seed=0))})
    page = write_report(results, tmp_path / "a.html", pairs=[example(distinct)]).read_text()
    assert page.count('<section id="pairs"') == 1 and '<a href="#pairs">' in page and page.count('<article class="proof">') == 1
    without = write_report(results, tmp_path / "b.html").read_text()
    assert 'id="pairs"' not in without and '"#pairs"' not in without


def test_large_pictures_are_made_smaller(shared, tmp_path):
    big = replace(shared.proofs[0], masks=(torch.zeros(500, 1000) > 0,))
    pair = replace(shared, proofs=(big,))
    page = write_pairs(
        [PairExample("big", torch.zeros(500, 1000, 3, dtype=torch.uint8), [pair])], tmp_path / "a.html"
    ).read_text()
    sizes = [Image.open(io.BytesIO(base64.b64decode(each))).size for each in re.findall(r"base64,([^\"]+)", page)]
    assert sizes == [(384, 192)] * 2


def test_refusals(distinct):
    with pytest.raises(ValueError, match=r"PairExample: expected picture of shape \(H, W, 3\)"):
        PairExample("x", torch.zeros(6, 6), [])
    with pytest.raises(ValueError, match=r"PairExample: expected the masks of pairs of shape \(H, W\) = \(6, 5\), got \(6, 6\)"):
        PairExample("x", torch.zeros(6, 5, 3), [distinct])
