"""Kendall's tau of two rankings, and its interval over images."""

import math

import pytest
import scipy.stats
import torch

from saliency_ext.stats.kendall import kendall_tau, tau_interval


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_by_hand():
    # pairs (0,1) (0,2) (1,2): a says + + +, b says + + -; (1 + 1 - 1) / 3
    assert kendall_tau(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([9.0, 4.0, 5.0])).item() == pytest.approx(1 / 3)
    # a ties 1 and 2: 2 untied pairs of 3, both alike; 2 / sqrt(2 * 3)
    assert kendall_tau(torch.tensor([3.0, 1.0, 1.0]), torch.tensor([9.0, 5.0, 4.0])).item() == pytest.approx(2 / 6**0.5)
    assert math.isnan(kendall_tau(torch.ones(3), torch.arange(3.0)).item())


def test_like_scipy():
    for seed in range(5):
        a, b = normal(2, 9, seed=seed).mul(2).round().unbind()
        assert kendall_tau(a, b).item() == pytest.approx(scipy.stats.kendalltau(a, b).statistic)


def test_the_order_of_the_means_counts_and_the_interval_is_over_images():
    noise = normal(60, 5, seed=1)
    far = torch.arange(5.0) * 10
    same = tau_interval(far + noise, far + normal(60, 5, seed=2))
    assert (same.tau, same.low, same.high, same.methods, same.images) == (1.0, 1.0, 1.0, 5, 60)
    turned = tau_interval(far + noise, -far + noise)
    assert (turned.tau, turned.low, turned.high) == (-1.0, -1.0, -1.0)
    near = tau_interval(noise, normal(60, 5, seed=3))
    assert near.low <= near.tau <= near.high and near.high - near.low > 0.5, "means that noise orders are not told apart"
    assert tau_interval(noise, noise).low == 1.0, "the same images in both rankings"


def test_images_without_a_value_are_left_out():
    values = normal(9, 3)
    holed = values.clone()
    holed[2, 1], holed[4, 0] = math.nan, math.inf
    kept = [0, 1, 3, 5, 6, 7, 8]
    assert tau_interval(values, holed).images == 7 and tau_interval(holed, values) == tau_interval(values[kept], values[kept])


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (5, 1), (5, 0)])
def test_too_little_is_undefined(shape):
    result = tau_interval(normal(*shape), normal(*shape))
    assert math.isnan(result.tau) and math.isnan(result.low) and (result.images, result.methods) == shape


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"tau_interval: expected second of the shape of first, \(4, 3\), got \(4, 2\)"):
        tau_interval(normal(4, 3), normal(4, 2))
    with pytest.raises(ValueError, match=r"expected first of shape \(n, M\)"):
        tau_interval(normal(4), normal(4))
