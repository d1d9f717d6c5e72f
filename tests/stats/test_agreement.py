"""Agreement of rankings: by hand, against scipy and brute force, and what they refuse."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from saliency_ext.stats import disagreement, krippendorff_alpha, more_stable, rank_agreement, self_advantage


def random_scores(settings: int, methods: int, images: int, seed: int = 0) -> Tensor:
    """A common effect of the methods, under noise."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(settings, methods, images, generator=generator, dtype=torch.float64)
    return noise + torch.arange(methods, dtype=torch.float64)[:, None] / 2


def names(count: int) -> list[str]:
    return [f"n{index}" for index in range(count)]


def test_taus_are_those_of_scipy() -> None:
    scores = random_scores(4, 6, 15)
    result = rank_agreement(scores, names(4), names(6))
    means = scores.mean(2)
    taus, rhos, flips = [], [], []
    for i, j in itertools.combinations(range(4), 2):
        tau = stats.kendalltau(means[i], means[j]).statistic
        assert float(result.tau[i, j]) == pytest.approx(tau) and result.tau[i, j] == result.tau[j, i]
        crossed = sum(
            (means[i, a] - means[i, b]) * (means[j, a] - means[j, b]) < 0 for a, b in itertools.combinations(range(6), 2)
        )
        assert int(result.inversions[i, j]) == int(crossed)
        taus.append(tau)
        rhos.append(stats.spearmanr(means[i], means[j]).statistic)
        flips.append(int(crossed) / 15)
    assert result.mean_tau.mean == pytest.approx(sum(taus) / 6)
    assert result.mean_rho.mean == pytest.approx(sum(rhos) / 6)
    assert result.flips.mean == pytest.approx(sum(flips) / 6)
    assert result.flips.low <= result.flips.mean <= result.flips.high
    assert (result.low <= result.tau + 1e-12).all() and result.tau.diagonal().tolist() == [1.0] * 4


def test_ties_are_tau_b() -> None:
    scores = torch.tensor([[1.0, 1, 2, 3], [1, 2, 2, 0]], dtype=torch.float64)[:, :, None].expand(2, 4, 3)
    result = rank_agreement(scores, names(2), names(4))
    assert float(result.tau[0, 1]) == pytest.approx(stats.kendalltau([1, 1, 2, 3], [1, 2, 2, 0]).statistic)


def test_equal_and_opposite_rankings() -> None:
    """Every image says the same: nothing is in doubt, so intervals have no width and every flip is decided."""
    order = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    same = rank_agreement(torch.stack([order, order + 5])[:, :, None].expand(2, 3, 8), names(2), names(3))
    assert (same.mean_tau.mean, same.mean_tau.low, same.mean_tau.high) == (1.0, 1.0, 1.0)
    assert (same.flips.mean, same.decided_flips, same.flips_other_images) == (0.0, 0.0, 0.0)
    assert all(alpha.mean == pytest.approx(1.0) for alpha in same.alpha)
    opposite = rank_agreement(torch.stack([order, -order])[:, :, None].expand(2, 3, 8), names(2), names(3))
    assert (opposite.mean_tau.mean, opposite.mean_rho.mean) == (-1.0, -1.0)
    assert (opposite.flips.mean, opposite.decided_flips, int(opposite.inversions[0, 1])) == (1.0, 1.0, 3)


def test_noise_flips_without_deciding() -> None:
    scores = torch.randn(3, 5, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    result = rank_agreement(scores, names(3), names(5))
    assert result.flips.mean > 0.2 and result.flips_other_images > 0.2
    assert result.decided_flips < 0.1
    assert abs(result.alpha[0].mean) < 0.15


def brute_alpha(ranks: Tensor) -> float:
    """Straight from the definition: mean squared difference within a method over that between any two ratings."""
    methods, images = ranks.shape
    within = [(a - b) ** 2 for row in ranks for a, b in itertools.permutations(row.tolist(), 2)]
    between = [(a - b) ** 2 for a, b in itertools.permutations(ranks.flatten().tolist(), 2)]
    return 1 - (sum(within) / (methods * images * (images - 1))) / (sum(between) / len(between))


def test_alpha_is_that_of_the_definition() -> None:
    scores = random_scores(1, 4, 7)[0]
    scores[:2, 3] = 0.5  # a tie
    ranks = torch.stack([torch.tensor(stats.rankdata(scores[:, image])) for image in range(7)], 1)
    result = krippendorff_alpha(scores)
    assert result.mean == pytest.approx(brute_alpha(ranks))
    assert result.low < result.mean < result.high


def test_self_advantage_is_matched_less_unmatched() -> None:
    """Effects of maps (rows) and of metrics (columns) cancel; what is left is the planted 0.3."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.randn(3, 1, 40, generator=generator), torch.randn(1, 3, 40, generator=generator)
    scores = (rows + columns).double() + 0.3 * torch.eye(3, dtype=torch.float64)[:, :, None]
    result = self_advantage(scores)
    assert result.mean == pytest.approx(0.3) and result.low == pytest.approx(0.3)
    assert self_advantage(scores - 0.6 * torch.eye(3)[:, :, None]).mean == pytest.approx(-0.3)


def test_disagreement_by_hand() -> None:
    """Three maps: of their pairs, one is ordered otherwise on image 0, all on image 1; image 2 ties in one metric."""
    first = torch.tensor([[1.0, 1, 1], [2, 2, 1], [3, 3, 1]], dtype=torch.float64)
    second = torch.tensor([[1.0, 3, 1], [3, 2, 2], [2, 1, 3]], dtype=torch.float64)
    assert disagreement(first, second).mean == pytest.approx((1 / 3 + 1 + 0) / 3)


def test_a_shared_artifact_makes_the_difference_more_stable() -> None:
    """MIF and LIF under a setting share a term per method that their difference does not have."""
    generator = torch.Generator().manual_seed(2)
    quality = torch.arange(5, dtype=torch.float64)[:, None]
    artifact = 4 * torch.randn(6, 5, 1, generator=generator, dtype=torch.float64)
    noise = 0.1 * torch.randn(2, 6, 5, 30, generator=generator, dtype=torch.float64)
    mif, lif = quality + artifact + noise[0], quality - artifact + noise[1]
    tau, rho = more_stable(mif + lif, mif)
    assert tau.low > 0 and rho.low > 0
    expected = rank_agreement(mif + lif, names(6), names(5)).mean_tau.mean - rank_agreement(mif, names(6), names(5)).mean_tau.mean
    assert tau.mean == pytest.approx(expected)
    back, _ = more_stable(mif, mif + lif)
    assert (back.mean, back.low, back.high) == pytest.approx((-tau.mean, -tau.high, -tau.low))


def test_images_with_a_missing_value_are_left_out() -> None:
    scores = random_scores(3, 4, 9)
    some = scores.clone()
    some[1, 2, 4] = torch.nan
    result, expected = (
        rank_agreement(some, names(3), names(4)),
        rank_agreement(scores[:, :, [0, 1, 2, 3, 5, 6, 7, 8]], names(3), names(4)),
    )
    assert torch.equal(result.tau, expected.tau) and torch.equal(result.low, expected.low)
    assert (result.mean_tau.images, result.mean_tau.left_out) == (8, 1)
    assert torch.equal(some[0], scores[0])


@pytest.mark.parametrize("images", [0, 1])
def test_too_few_images_have_no_interval(images: int) -> None:
    result = rank_agreement(random_scores(2, 3, images), names(2), names(3))
    assert math.isnan(result.mean_tau.low) and math.isnan(result.decided_flips) and math.isnan(result.alpha[0].mean)
    assert math.isnan(result.flips.mean) == (images == 0)
    assert result.low.isnan().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: rank_agreement(random_scores(2, 1, 3), names(2), names(1)),
            "rank_agreement: expected methods 2 names, at least",
        ),
        (
            lambda: rank_agreement(random_scores(1, 2, 3), names(1), names(2)),
            "rank_agreement: expected settings 2 names, at least",
        ),
        (lambda: rank_agreement(random_scores(2, 3, 3), names(2), names(2)), "rank_agreement: expected methods 3 names"),
        (lambda: rank_agreement(random_scores(2, 3, 3)[0], names(2), names(3)), r"expected scores of shape \(S, M, N\)"),
        (lambda: rank_agreement(random_scores(2, 3, 3).long(), names(2), names(3)), "expected scores of dtype"),
        (lambda: self_advantage(random_scores(2, 3, 3)), r"expected scores of shape \(B, B, N\) = \(2, 2, 3\)"),
        (lambda: self_advantage(random_scores(1, 1, 3)), "expected scores of at least two infills, got 1"),
        (lambda: disagreement(torch.zeros(1, 3), torch.zeros(1, 3)), "expected first of at least two maps, got 1"),
        (lambda: disagreement(torch.zeros(2, 3), torch.zeros(2, 4)), "expected second of shape"),
        (lambda: krippendorff_alpha(torch.zeros(1, 3)), "expected scores of at least two methods, got 1"),
        (lambda: more_stable(random_scores(2, 3, 3), random_scores(2, 3, 4)), "expected second of shape"),
    ],
)
def test_refusals(call, message) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()
