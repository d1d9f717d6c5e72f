from __future__ import annotations

from fractions import Fraction
from itertools import permutations, product
from math import comb
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saliency_ext import reference
from saliency_ext.metrics.mask_agreement import MaskAgreement
from tests.backends import close, same_bits
from tests.metrics.test_relevance_mass import Masks, Rows, maps, truths
from tests.metrics.test_relevance_rank import KeyedContract

HALVES = (0.01, 0.5, 1)


def overlaps(saliency: Rows, truth: Masks, sample_id: int, seed: int) -> list[float]:
    ranks = reference.rank(torch.tensor([saliency], dtype=torch.float64), torch.tensor([sample_id]), seed=seed).flatten().tolist()
    inside = {i for i, on_object in enumerate(on for mask in truth for on in mask) if on_object}
    values = []
    for fraction in HALVES:
        count = max(1, int(fraction * len(ranks) + 0.5))
        top = {i for i, place in enumerate(ranks) if place < count}
        values.append(len(top & inside) / len(top | inside))
    return values


def precision_of_order(inside: list[bool]) -> Fraction:
    """Average precision where the pixels come in this order."""
    hits, total = 0, Fraction(0)
    for place, on_object in enumerate(inside, 1):
        hits += on_object
        total += Fraction(hits, place) if on_object else 0
    return total / hits


def precision_of_all_orders(values: list[float], inside: list[bool]) -> Fraction:
    """Mean over every order that sorts the values."""
    blocks = [[inside[i] for i, v in enumerate(values) if v == level] for level in sorted(set(values), reverse=True)]
    orders = list(product(*(list(permutations(block)) for block in blocks)))
    return sum((precision_of_order([on for block in order for on in block]) for order in orders), Fraction(0)) / len(orders)


def precision_by_counting(values: list[float], inside: list[bool]) -> Fraction:
    """The same for longer maps: hits before a tied hit follow the hypergeometric distribution."""
    total = Fraction(0)
    for level in set(values):
        before = [on for v, on in zip(values, inside, strict=True) if v > level]
        block = [on for v, on in zip(values, inside, strict=True) if v == level]
        m, t = len(block), sum(block)
        for place in range(1, m + 1) if t else ():
            for others in range(min(t - 1, place - 1) + 1):
                if place - 1 - others <= m - t:
                    share = Fraction(comb(t - 1, others) * comb(m - t, place - 1 - others), comb(m - 1, place - 1))
                    total += Fraction(t, m) * share * Fraction(sum(before) + others + 1, len(before) + place)
    return total / sum(inside)


class TestMeanOverlap(KeyedContract):
    metric = MaskAgreement(fractions=HALVES, seed=1)

    def naive(self, saliency: Rows, truth: Masks, sample_id: int) -> float:
        return sum(overlaps(saliency, truth, sample_id, seed=1)) / 3


class TestMaxOverlap(KeyedContract):
    metric = MaskAgreement(fractions=HALVES, summary="max", seed=2)

    def naive(self, saliency: Rows, truth: Masks, sample_id: int) -> float:
        return max(overlaps(saliency, truth, sample_id, seed=2))


class TestAveragePrecision(KeyedContract):
    metric = MaskAgreement(summary="average_precision")

    def naive(self, saliency: Rows, truth: Masks, sample_id: int) -> float:
        return float(precision_by_counting([v for row in saliency for v in row], [on for mask in truth for on in mask]))


def test_overlap_by_hand() -> None:
    # Order of the pixels: 1, 3, 0, 2; the truth holds 0 and 1.
    # k = 1: {1}, 1 of 2. k = 2: {1, 3}, 1 of 3. k = 3: {1, 3, 0}, 2 of 3. k = 4: all, 2 of 4.
    saliency = torch.tensor([[[2.0, 9.0], [1.0, 3.0]]], dtype=torch.float64)
    truth = torch.tensor([[[True, True], [False, False]]])

    def score(fractions: tuple[float, ...], summary: str = "mean") -> float:
        return MaskAgreement(fractions, summary).score(saliency, truth).item()

    assert [score((q,)) for q in (0.25, 0.5, 0.75, 1.0)] == [1 / 2, 1 / 3, 2 / 3, 2 / 4]
    assert score((0.25, 0.5)) == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert score((0.25, 0.5, 0.75, 1.0), "max") == 2 / 3
    # k = floor(4 q + 1/2), at least 1: 0.37 gives 1, 0.375 gives 2, 0.01 gives 1.
    assert [score((q,)) for q in (0.37, 0.375, 0.01)] == [1 / 2, 1 / 3, 1 / 2]


def test_average_precision_by_hand() -> None:
    # Order of the pixels: 1, 3, 0, 2; hits at places 1 and 3: (1/1 + 2/3) / 2 = 5/6.
    # The complement has places 2 and 4: (1/2 + 2/4) / 2 = 1/2.
    saliency = torch.tensor([[[2.0, 9.0], [1.0, 3.0]]], dtype=torch.float64)
    truth = torch.tensor([[[True, True], [False, False]]])
    metric = MaskAgreement(summary="average_precision")
    assert metric.score(saliency, truth).item() == pytest.approx(5 / 6)
    assert metric.score(saliency, ~truth).item() == pytest.approx(1 / 2)
    # One hit tied with one miss, after nothing: it comes first or second, (1/1 + 1/2) / 2 = 3/4. A threshold would say 1/2.
    tied = torch.tensor([[[5.0, 5.0, 1.0]]], dtype=torch.float64)
    assert metric.score(tied, torch.tensor([[[True, False, False]]])).item() == pytest.approx(3 / 4)


@given(
    values=st.lists(st.sampled_from([-1.0, 0.0, -0.0, 0.5, 2.0]), min_size=2, max_size=7),
    inside=st.lists(st.booleans(), min_size=7, max_size=7),
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_average_precision_is_the_mean_over_all_orders_of_ties(values: list[float], inside: list[bool]) -> None:
    inside = inside[: len(values)]
    if len(set(values)) == 1 or not any(inside):
        return
    expected = precision_of_all_orders(values, inside)
    assert precision_by_counting(values, inside) == expected
    saliency, truth = torch.tensor([[values]], dtype=torch.float64), torch.tensor([[inside]])
    assert MaskAgreement(summary="average_precision").score(saliency, truth).item() == pytest.approx(float(expected), rel=1e-12)


def test_perfect_and_opposite_maps() -> None:
    truth = torch.zeros(1, 4, 5, dtype=torch.bool)
    truth[:, 1:3, 1:3] = True  # 4 of 20 pixels
    perfect = truth.double()
    scores = [
        MaskAgreement((0.1, 0.2, 0.4), summary).score(perfect, truth).item() for summary in ("mean", "max", "average_precision")
    ]
    assert scores == [pytest.approx((2 / 4 + 4 / 4 + 4 / 8) / 3), 1.0, 1.0]
    # The opposite map has 16 misses first: no overlap at k = 2, 4, 8; precision (1/17 + 2/18 + 3/19 + 4/20) / 4 without ties.
    worst = -perfect + torch.arange(20).view(1, 4, 5) / 100
    assert [MaskAgreement((0.1, 0.2, 0.4), summary).score(worst, truth).item() for summary in ("mean", "max")] == [0.0, 0.0]
    precision = MaskAgreement(summary="average_precision").score(worst, truth).item()
    assert precision == pytest.approx((1 / 17 + 2 / 18 + 3 / 19 + 4 / 20) / 4)


@pytest.mark.parametrize("summary", ["mean", "max", "average_precision"])
def test_strictly_increasing_functions_change_nothing(summary: str) -> None:
    saliency, truth, metric = maps((3, 5, 7), "tied"), truths((3, 5, 7)), MaskAgreement(summary=summary)
    for changed in (saliency + 3.0, saliency**3, saliency.exp()):
        same_bits(metric.score(changed, truth), metric.score(saliency, truth))


def test_average_precision_reads_no_seed_and_no_ids() -> None:
    saliency, truth = maps((3, 5, 7), "tied"), truths((3, 5, 7))
    ids = torch.tensor([9, 4, 1])
    score = MaskAgreement(summary="average_precision").score(saliency, truth)
    same_bits(MaskAgreement(summary="average_precision", seed=8).score(saliency, truth, sample_ids=ids), score)
    assert not torch.equal(MaskAgreement(seed=8).score(saliency, truth), MaskAgreement().score(saliency, truth))


def test_average_precision_is_the_mean_overlap_of_random_tie_breaks() -> None:
    """Ties broken at random 3,000 times: the mean lies within 4.5 standard errors."""
    saliency, truth = maps((1, 5, 7), "tied"), truths((1, 5, 7))
    ranks = reference.rank(saliency.expand(3000, 5, 7), torch.arange(3000)).double()
    draws = MaskAgreement(summary="average_precision").score(-ranks, truth.expand(3000, 5, 7))
    expected = MaskAgreement(summary="average_precision").score(saliency, truth).item()
    assert abs(draws.mean().item() - expected) < 4.5 * draws.std().item() / 3000**0.5


def test_fractions_are_kept_as_a_tuple() -> None:
    given_list: list[float] = [0.1, 0.2]
    metric = MaskAgreement(given_list)
    given_list.append(0.3)
    assert metric.fractions == (0.1, 0.2) and hash(metric) == hash(MaskAgreement((0.1, 0.2)))
    assert MaskAgreement().fractions == pytest.approx([0.05 * i for i in range(1, 20)])
    close(
        metric.score(maps((2, 5, 7), "untied"), truths((2, 5, 7))),
        MaskAgreement((0.2, 0.1)).score(maps((2, 5, 7), "untied"), truths((2, 5, 7))),
    )


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"fractions": ()}, ValueError, "expected fractions not to be empty, got no fraction"),
        ({"fractions": (0.5, 0.0)}, ValueError, "expected fractions in (0, 1], got 0.0"),
        ({"fractions": (1.01,)}, ValueError, "expected fractions in (0, 1], got 1.01"),
        ({"fractions": (float("nan"),)}, ValueError, "expected fractions in (0, 1], got nan"),
        ({"fractions": (True,)}, TypeError, "expected fractions to be numbers, got bool"),
        ({"fractions": ("0.5",)}, TypeError, "expected fractions to be numbers, got str"),
        ({"fractions": 0.5}, TypeError, "expected fractions to be a sequence of numbers, got float"),
        ({"fractions": "0.5"}, TypeError, "expected fractions to be a sequence of numbers, got str"),
        ({"summary": "median"}, ValueError, "expected summary to be one of 'mean', 'max', 'average_precision', got 'median'"),
        ({"seed": -1}, ValueError, f"expected seed in [0, {2**63 - 1}], got -1"),
        ({"seed": 0.0}, TypeError, "expected seed to be an int, got float"),
    ],
)
def test_refuses_options(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        MaskAgreement(**options)
    assert str(caught.value) == f"MaskAgreement: {text}"
