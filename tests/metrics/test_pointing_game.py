from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from saliency_ext.metrics.pointing_game import PointingGame
from tests.backends import generator, same_bits
from tests.metrics.test_relevance_mass import MapMetricContract, Masks, Rows, maps, truths


def hit(saliency: Rows, truth: Masks, tolerance: int) -> float:
    """Every maximum against every pixel of the truth."""
    pixels = [(y, x) for y in range(len(saliency)) for x in range(len(saliency[0]))]
    highest = max(saliency[y][x] for y, x in pixels)
    tied = [(y, x) for y, x in pixels if saliency[y][x] == highest]
    near = [any(truth[v][u] and math.dist((y, x), (v, u)) <= tolerance for v, u in pixels) for y, x in tied]
    return sum(near) / len(tied)


class TestPointingGame(MapMetricContract):
    metric = PointingGame()

    def naive(self, saliency: Rows, truth: Masks, sample_id: int) -> float:
        return hit(saliency, truth, 0)


class TestPointingGameWithTolerance(MapMetricContract):
    metric = PointingGame(tolerance=2)

    def naive(self, saliency: Rows, truth: Masks, sample_id: int) -> float:
        return hit(saliency, truth, 2)

    test_pixels_have_no_places = None  # with a tolerance they have


def test_by_hand() -> None:
    # The maximum 5 is at (1, 2). The truth is (0, 0): 2 columns and 1 row away, at a distance of sqrt(5) = 2.24.
    saliency = torch.tensor([[[0.0, 1.0, 2.0], [4.0, 3.0, 5.0]]])
    truth = torch.tensor([[[True, False, False], [False, False, False]]])
    assert [PointingGame(t).score(saliency, truth).item() for t in (0, 1, 2, 3, 99)] == [0, 0, 0, 1, 1]
    # Its complement holds the maximum; the negated map has its maximum at (0, 0).
    assert PointingGame().score(saliency, ~truth).item() == 1
    assert PointingGame().score(-saliency, truth).item() == 1


def test_tied_maxima_count_by_their_share() -> None:
    # Maxima at pixels 0, 2, 3; the truth holds 2 and 3, with a tolerance of 1 also 1, with 2 also 0.
    saliency = torch.tensor([[[7.0, 1.0, 7.0, 7.0]]])
    truth = torch.tensor([[[False, False, True, True]]])
    assert [PointingGame(t).score(saliency.double(), truth).item() for t in (0, 1, 2)] == [2 / 3, 2 / 3, 1.0]


@pytest.mark.parametrize("tolerance", [0, 1, 2, 3, 5, 6, 50])
@pytest.mark.parametrize("size", [(1, 12), (12, 1), (9, 13)], ids=str)
def test_the_tolerance_is_a_circle(tolerance: int, size: tuple[int, int]) -> None:
    """A map with its maximum at each pixel in turn, against a truth of few pixels."""
    height, width = size
    saliency = torch.eye(height * width).view(-1, height, width)
    truth = (torch.rand(saliency.shape, generator=generator()) < 2 / (height * width)) | (saliency.flip(0) > 0)
    expected = [hit(s, t, tolerance) for s, t in zip(saliency.tolist(), truth.tolist(), strict=True)]
    assert PointingGame(tolerance).score(saliency, truth).tolist() == expected
    if tolerance in (2, 3) and size == (9, 13):
        assert 0 < sum(expected) < len(expected)


@pytest.mark.parametrize("tolerance", [0, 3])
@pytest.mark.parametrize("kind", ["untied", "tied"])
def test_target_minus_distractor(kind: str, tolerance: int) -> None:
    saliency, own = maps((6, 7, 8), kind), truths((6, 7, 8))
    other = own.flip(2) & ~own
    metric = PointingGame(tolerance)
    difference = metric.score(saliency, own, other=other)
    same_bits(difference, metric.score(saliency, own) - metric.score(saliency, other))
    same_bits(metric.score(saliency, other, other=own) + 0.0, -difference + 0.0)  # one zero has a sign
    assert (metric.score(saliency, own, other=own) == 0).all()


def test_target_minus_distractor_by_hand() -> None:
    # Maximum on own: 1 - 0. On other: 0 - 1. On neither: 0 - 0. Tied on both: 1/2 - 1/2.
    saliency = torch.tensor([[[9.0, 1.0, 2.0]], [[1.0, 9.0, 2.0]], [[1.0, 2.0, 9.0]], [[9.0, 9.0, 2.0]]])
    own = torch.tensor([[[True, False, False]]]).expand(4, 1, 3)
    other = torch.tensor([[[False, True, False]]]).expand(4, 1, 3)
    assert PointingGame().score(saliency, own, other=other).tolist() == [1, -1, 0, 0]
    # Without the second object there is nothing to compare with.
    empty = other.clone()
    empty[1] = False
    assert PointingGame().score(saliency, own, other=empty).isnan().tolist() == [False, True, False, False]


def test_perfect_and_opposite_maps() -> None:
    truth = truths((4, 8, 9))
    perfect = truth.float() * 2 - 1
    assert PointingGame().score(perfect, truth).tolist() == [1.0] * 4
    assert PointingGame().score(-perfect, truth).tolist() == [0.0] * 4
    assert PointingGame().score(perfect, truth, other=~truth).tolist() == [1.0] * 4
    assert PointingGame().score(-perfect, truth, other=~truth).tolist() == [-1.0] * 4


def test_a_random_point_hits_by_the_area_share() -> None:
    """Mean over all places of the maximum: exactly the share of the truth."""
    saliency = torch.eye(20, dtype=torch.float64).view(20, 4, 5)
    truth = torch.zeros(4, 5, dtype=torch.bool)
    truth[1:3, 2:5] = True
    assert PointingGame().score(saliency, truth.expand(20, 4, 5)).mean().item() == pytest.approx(6 / 20)


@pytest.mark.parametrize(
    ("tolerance", "error", "text"),
    [
        (-1, ValueError, "PointingGame: expected tolerance in [0, 1048576], got -1"),
        (1.5, TypeError, "PointingGame: expected tolerance to be an int, got float"),
        (True, TypeError, "PointingGame: expected tolerance to be an int, got bool"),
    ],
)
def test_refuses_tolerances(tolerance: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        PointingGame(tolerance)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("other", "error", "text"),
    [
        (torch.ones(2, 4, 5), TypeError, "PointingGame.score: expected other of dtype bool, got float32"),
        (
            torch.ones(1, 4, 5).bool(),
            ValueError,
            "PointingGame.score: expected other of shape (N, H, W) = (2, 4, 5), got (1, 4, 5)",
        ),
        ("mask", TypeError, "PointingGame.score: expected other to be a torch.Tensor, got str"),
    ],
    ids=["float", "shape", "text"],
)
def test_refuses_others(other: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        PointingGame().score(maps((2, 4, 5), "untied"), truths((2, 4, 5)), other=other)
    assert str(caught.value).startswith(text)
