"""The study of pair verdicts: what it asks and how it counts; the numbers themselves take minutes and are not a test."""

from __future__ import annotations

import json
from statistics import NormalDist

import pytest
import torch

pytest.importorskip("sklearn")

from bench.pairs_table import not_better, row_of, table
from bench.readme import RESULTS
from bench.studies.pairs import PAIRS, TRUE, Remembered, line, settings, wilson
from saliency_ext.testbed.slices import SLICES


def test_what_is_published():
    rows = list(settings())
    assert sum(PAIRS.values()) >= 300 and set(PAIRS) <= set(SLICES) and "easy" in PAIRS and len(PAIRS) > 5
    ours = [row for row in rows if row[0] == "default"]
    assert len({method for _, method, _ in ours}) >= 4 and len({infill for *_, infill in ours}) >= 3
    assert {rules for rules, *_ in rows} == {"default", "pairs2024_diff", "pairs2024_own"}
    assert TRUE == {"one": "shared", "two": "distinct", "absent": "pair_undefined"}


def test_intervals_of_shares():
    """At 0 of n the interval is [0, z2 / (n + z2)], at n of n its mirror image; 5 of 10 is symmetric about a half."""
    z2 = NormalDist().inv_cdf(0.975) ** 2
    assert wilson(0, 10) == pytest.approx([0.0, z2 / (10 + z2)])
    assert wilson(10, 10) == pytest.approx([10 / (10 + z2), 1.0])
    assert sum(wilson(5, 10)) == pytest.approx(1.0)
    assert all(bound != bound for bound in wilson(0, 0))


def test_maps_are_made_once():
    requested = []

    def method(inputs, classes):
        requested.append(len(inputs))
        return inputs[:, 0] * classes.view(-1, 1, 1)

    images, remembered = torch.arange(12.0).view(3, 1, 2, 2), Remembered(method)
    first = remembered(images, torch.tensor([1, 2, 3]))
    again = remembered(images[[2, 1, 0]], torch.tensor([3, 2, 5]))
    assert requested == [3, 1] and torch.equal(again[:2], first[[2, 1]]) and torch.equal(again[2], images[0, 0] * 5)


def test_a_line_says_what_a_row_holds():
    row = {"slice": "easy", "rules": "default", "method": "grad_cam", "infill": "mean", "accuracy": 0.95, "interval": [0.9, 0.99]}
    row |= {"judged": 60, "pairs": 64, "accuracy_judged": 0.98, "proofs": 59, "proofs_valid": 58, "proofs_robust": 30}
    text = line(row | {"masked_inputs_per_pair": 81.4})
    assert "0.950 [0.900, 0.990]" in text and "58/59 valid, 30 robust" in text and text.endswith("81 masked inputs a pair")


def published() -> dict:
    return json.loads((RESULTS / "pairs.json").read_text())


def test_the_table_is_of_the_whole_study():
    content = published()
    assert content["complete"] and content["sharing"]["verdicts_equal"] and max(content["sharing"]["ratio_to_one_pair"]) <= 3
    assert table(content).count("\n| ") == len(PAIRS) + 1
    assert {(row["rules"], row["method"], row["infill"]) for row in content["rows"]} == set(settings()), (
        "the JSON is of this study"
    )
    assert all(row["proofs_valid"] == row["proofs"] for row in content["rows"])


def test_the_table_says_where_ours_is_not_better():
    """Ours 0.9 and 0.5, at one threshold 0.8 and 0.4; published 0.7 and 0.5: an equal share is not better."""
    rows = [
        {"slice": name, "rules": rules, "method": method, "infill": "mean", "accuracy": share, "accuracy_at_80": share - 0.1}
        for name, own, other in (("easy", 0.9, 0.7), ("hard", 0.5, 0.5))
        for rules, method, share in (
            ("default", "grad_cam", own), ("default", "integrated_gradients", own - 0.3),
            ("pairs2024_diff", "integrated_gradients", other - 0.2), ("pairs2024_own", "integrated_gradients", other),
        )
    ]  # fmt: skip
    content = {"rows": rows}
    assert not_better(content, ["easy", "hard"], "grad_cam") == ["hard"]
    assert not_better(content, ["easy", "hard"], "integrated_gradients") == ["easy", "hard"]
    assert not_better(content, ["easy", "hard"], "grad_cam", "accuracy_at_80") == ["hard"]
    assert row_of(content, "hard", "pairs2024_diff", "integrated_gradients")["accuracy"] == 0.3
