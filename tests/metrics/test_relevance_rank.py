from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from saliency_ext import reference
from saliency_ext.metrics.relevance_rank import RelevanceRank
from tests.backends import same_bits
from tests.metrics.test_relevance_mass import MapMetricContract, Masks, Rows, maps, truths


class KeyedContract(MapMetricContract):
    """A metric whose ties fall at random, by sample id."""

    keyed = True

    @pytest.mark.parametrize(
        ("ids", "error", "text"),
        [
            (torch.tensor([1, 2, 3]), ValueError, "expected sample_ids of shape (N,) = (2,), got (3,)"),
            (torch.tensor([1, 2]).int(), TypeError, "expected sample_ids of dtype int64, got int32"),
            (torch.tensor([1, -2]), ValueError, "expected sample_ids in [0, 281474976710655], got -2"),
        ],
        ids=["length", "dtype", "negative"],
    )
    def test_refuses_ids_that_are_none(self, ids: Tensor, error: type[Exception], text: str) -> None:
        with pytest.raises(error) as caught:
            self.metric.score(maps((2, 4, 5), "untied"), truths((2, 4, 5)), sample_ids=ids)
        assert str(caught.value).startswith(f"{type(self.metric).__name__}.score: ") and text in str(caught.value)


class TestRelevanceRank(KeyedContract):
    metric = RelevanceRank(seed=3)

    def naive(self, saliency: Rows, truth: Masks, sample_id: int) -> float:
        ranks = (
            reference.rank(torch.tensor([saliency], dtype=torch.float64), torch.tensor([sample_id]), seed=3).flatten().tolist()
        )
        inside = [on_object for mask in truth for on_object in mask]
        area = sum(inside)
        hits = 0
        for place, on_object in zip(ranks, inside, strict=True):
            hits += place < area and on_object
        return hits / area


def test_by_hand() -> None:
    # Order of the pixels: 3, 0, 2, 1. The truth holds 0, 1, 3, so K = 3: the first three are 3, 0, 2, two of them inside.
    saliency = torch.tensor([[[4.0, 1.0], [2.0, 8.0]]], dtype=torch.float64)
    truth = torch.tensor([[[True, True], [False, True]]])
    assert RelevanceRank().score(saliency, truth).tolist() == [2 / 3]
    # The complement is pixel 2, K = 1: the first is 3. Of the negated map it is 1.
    assert RelevanceRank().score(saliency, ~truth).tolist() == [0]
    assert RelevanceRank().score(-saliency, truth).tolist() == [2 / 3]  # first three 1, 2, 0


def test_perfect_and_opposite_maps() -> None:
    truth = truths((4, 8, 9)) & (torch.arange(9) < 4)  # less than half: the opposite map can avoid it
    truth[:, 0, 0] = True
    perfect = truth.float()
    assert RelevanceRank().score(perfect, truth).tolist() == [1.0] * 4
    assert RelevanceRank().score(-perfect, truth).tolist() == [0.0] * 4
    assert RelevanceRank().score(perfect, torch.ones_like(truth)).tolist() == [1.0] * 4


def test_strictly_increasing_functions_change_nothing() -> None:
    saliency, truth = maps((3, 5, 7), "tied"), truths((3, 5, 7))
    for changed in (saliency + 3.0, saliency**3, saliency.exp()):
        same_bits(RelevanceRank().score(changed, truth), RelevanceRank().score(saliency, truth))


def test_ties_are_at_random_by_seed_and_id() -> None:
    """Zero outside one pixel: of K = 32 places 31 are drawn from 63 pixels, 31 of them inside."""
    saliency, truth = torch.zeros(200, 8, 8, dtype=torch.float64), torch.zeros(200, 8, 8, dtype=torch.bool)
    saliency[:, 0, 0], truth[:, :4] = 1.0, True
    ids = torch.arange(200) + 1000
    score = RelevanceRank().score(saliency, truth, sample_ids=ids)
    same_bits(RelevanceRank().score(saliency[5:6], truth[5:6], sample_ids=ids[5:6]), score[5:6])
    same_bits(RelevanceRank().score(saliency, truth), RelevanceRank().score(saliency, truth, sample_ids=torch.arange(200)))
    assert not torch.equal(RelevanceRank(seed=1).score(saliency, truth, sample_ids=ids), score)
    assert len(set(score.tolist())) > 5
    # Expectation (1 + 31 * 31 / 63) / 32 = 0.508; hypergeometric deviation sqrt(31 * (31/63) * (32/63) * (32/62)) / 32 = 0.0625.
    assert abs(score.mean().item() - (1 + 31 * 31 / 63) / 32) < 4.5 * 0.0625 / 200**0.5


@pytest.mark.parametrize(
    ("seed", "error", "text"),
    [
        (-1, ValueError, f"RelevanceRank: expected seed in [0, {2**63 - 1}], got -1"),
        ("0", TypeError, "RelevanceRank: expected seed to be an int, got str"),
    ],
)
def test_refuses_seeds(seed: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        RelevanceRank(seed=seed)
    assert str(caught.value) == text
