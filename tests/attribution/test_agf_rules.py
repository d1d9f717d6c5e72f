"""AGF's local rules, one by one: what is kept, what is dropped, and the guards."""

import math

import pytest
import torch
import torch.nn.functional as F

from saliency_ext.attribution.agf import _rules
from saliency_ext.attribution.agf._initial_relevance import competition, logit_gradient
from saliency_ext.attribution.agf._operations import Conv, Linear
from tests.attribution import agf_reference

DTYPES = {torch.float32: 1e-5, torch.float64: 1e-8}
CONVS = {
    "plain": ((6, 4, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    "stride": ((6, 4, 3, 3), (2, 2), (1, 1), (1, 1), 1),
    "grouped": ((6, 2, 3, 3), (1, 1), (0, 0), (1, 1), 2),
    "depthwise": ((4, 1, 3, 3), (2, 1), (1, 1), (1, 1), 4),
    "dilated": ((6, 4, 3, 3), (2, 1), (2, 2), (2, 2), 1),
    "oblong": ((6, 4, 1, 5), (1, 3), (0, 2), (1, 1), 1),
    "large": ((6, 4, 7, 5), (4, 3), (2, 1), (1, 1), 1),
    "pointwise": ((6, 4, 1, 1), (2, 2), (0, 0), (1, 1), 1),
}


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def conv_of(name, dtype=torch.float64):
    shape, *rest = CONVS[name]
    return Conv(random(*shape, seed=3, dtype=dtype), None, *rest)


def kept(out, rel, tolerance):
    """Relevance is neither made nor lost, judged against how much of it there is, in each sample."""
    total, before, scale = (t.double().flatten(1).sum(1) for t in (out, rel, out.abs()))
    assert (total - before).abs().le(tolerance * scale).all() and scale.gt(0).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CONVS)
def test_abs_rule_of_a_convolution_keeps_the_sum(name, dtype):
    conv, x = conv_of(name, dtype), random(3, 4, 13, 11, dtype=dtype)
    z = conv.apply(x.abs(), conv.weight.abs())
    rel = random(*z.shape, seed=1, dtype=dtype)
    out = _rules.abs_rule(x.abs(), z, rel, lambda s: conv.transpose(s, conv.weight.abs(), x))
    kept(out, rel, DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_other_rules_keep_the_sum(dtype):
    tolerance, x = DTYPES[dtype], random(3, 4, 12, 10, dtype=dtype)
    linear, flat = Linear(random(6, 480, dtype=dtype), None), x.flatten(1)
    rel = random(3, 6, seed=1, dtype=dtype)
    weight = linear.weight.abs()
    kept(
        _rules.abs_rule(flat.abs(), linear.apply(flat.abs(), weight), rel, lambda s: linear.transpose(s, weight, flat)),
        rel,
        tolerance,
    )
    for pool in (
        lambda x: F.max_pool2d(x, 3, 2, 1),
        lambda x: F.avg_pool2d(x, 2),
        lambda x: F.adaptive_avg_pool2d(x, (5, 3)),
        lambda x: F.adaptive_avg_pool2d(x, 16),  # larger than the map
        lambda x: x.mean([2, 3]),
    ):
        positive = x.abs() + 0.1
        rel = random(*pool(positive).shape, seed=2, dtype=dtype)
        kept(_rules.pool_rule(pool, positive, rel, None)[0], rel, tolerance)
    rel = random(*x.shape, seed=4, dtype=dtype)
    kept(_rules.relu_rule(torch.relu(x), rel * (x > 0)), rel * (x > 0), tolerance)
    other = random(*x.shape, seed=5, dtype=dtype)
    kept(torch.cat(_rules.add_rule(x, other, rel), 1), rel, tolerance)
    kept(_rules.split_rule(x, [rel, other]), rel + other, tolerance)


def test_what_meets_a_zero_is_dropped():
    x, rel = torch.tensor([[-1.0, 2.0, 0.0]]), torch.tensor([[5.0, 7.0, 11.0]])
    assert _rules.relu_rule(torch.relu(x), rel).tolist() == [[0, 7, 0]]
    assert _rules.split_rule(x, [rel, rel]).tolist() == [[10, 14, 0]]
    assert _rules.split_rule(x, [rel]).tolist() == rel.tolist()  # one reader: no split
    first, second = _rules.add_rule(x, torch.tensor([[1.0, 2.0, 3.0]]), rel)
    torch.testing.assert_close(first, torch.tensor([[0, 3.5, 0]]))
    torch.testing.assert_close(second, torch.tensor([[0, 3.5, 11]]))
    off = torch.zeros(1, 1, 2, 2)
    assert _rules.pool_rule(lambda t: F.max_pool2d(t, 2), off, torch.ones(1, 1, 1, 1), None)[0].abs().sum() == 0


def test_max_pool_gives_all_to_the_winner_and_the_mean_gives_shares():
    x, one = torch.tensor([[[[1.0, 3.0], [0.0, 4.0]]]]), torch.ones(1, 1, 1, 1)
    rel, g = _rules.pool_rule(lambda t: F.max_pool2d(t, 2), x, 8 * one, 5 * one)
    assert rel.flatten().tolist() == pytest.approx([0, 0, 0, 8]) and g.flatten().tolist() == [0, 0, 0, 5]
    rel, g = _rules.pool_rule(lambda t: F.avg_pool2d(t, 2), x, 8 * one, 4 * one)
    assert rel.flatten().tolist() == pytest.approx([1, 3, 0, 4]) and g.flatten().tolist() == [1, 1, 1, 1]


def test_safe_division():
    a, b = torch.tensor([1.0, 1.0, 1.0, 0.0, 3.0]), torch.tensor([0.0, 2.0, -1e-9, 5.0, -0.0])
    assert _rules.sdiv(a, b).tolist() == pytest.approx([0, 0.5, -5e8, 0, 0])
    assert _rules.sdiv(torch.ones(2, 3), torch.tensor([[2.0], [0.0]])).tolist() == [[0.5] * 3, [0] * 3]


def test_unit_maximum_and_its_guard():
    t = torch.tensor([[1.0, -4.0, 2.0], [-1.0, -4.0, -2.0], [0.0, -4.0, -2.0], [0.0, 0.0, 0.0]])
    expected = torch.tensor([[0.5, -2.0, 1.0], [-0.25, -1.0, -0.5], [0.0, -1.0, -0.5], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(_rules.unit_maximum(t), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_shift_adds_nothing_in_total(dtype):
    base, residual = random(3, 4, 5, 6, dtype=dtype), random(3, 4, 5, 6, seed=1, dtype=dtype)
    base[base.abs() < 0.5] = 0
    base[2] = 0
    support = base != 0
    residual = residual * support
    out = _rules.shift(base, residual)
    kept(out[:2], base[:2], DTYPES[dtype])
    assert out[~support].abs().sum() == 0 and out[2].abs().sum() == 0
    assert (out - base).abs().sum() > 1
    torch.testing.assert_close(_rules.shift(base, residual + 3 * support), out, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(_rules.shift(base[:1], residual[:1]), out[:1])


@pytest.mark.parametrize("name", CONVS)
def test_transposes_are_exact(name):
    """<W x, y> = <x, W^T y>, and the shape of x comes back also where the stride leaves rows over."""
    conv, x = conv_of(name), random(2, 4, 14, 12)
    y = random(*conv.apply(x, conv.weight).shape, seed=6)
    back = conv.transpose(y, conv.weight, x)
    assert back.shape == x.shape
    torch.testing.assert_close((conv.apply(x, conv.weight) * y).sum(), (x * back).sum())


@pytest.mark.parametrize("name", CONVS)
def test_zbox(name):
    """Positive relevance stays positive whatever the weights, its sum is kept, and the usual three-term form is the same."""
    conv, x = conv_of(name), random(3, 4, 13, 11)
    rel = random(*conv.apply(x, conv.weight).shape, seed=7)
    positive = _rules.zbox_rule(conv, x, rel.abs())
    assert positive.min() >= 0
    kept(positive, rel.abs(), 1e-8)
    signed = _rules.zbox_rule(conv, x, rel)
    kept(signed, rel, 1e-8)
    for i in range(3):
        torch.testing.assert_close(signed[i : i + 1], agf_reference.conv_first(conv, x[i : i + 1], rel[i : i + 1]))


def test_zbox_of_a_constant_image_is_zero():
    conv = conv_of("plain", torch.float32)
    out = _rules.zbox_rule(conv, torch.full((2, 4, 9, 9), 0.3), torch.ones(2, 6, 9, 9))
    assert out.abs().sum() == 0


def test_linear_rule_on_a_flattened_map():
    """By hand: two channels, three places. mean_c(X g) = 3, 0, -1 and 1/3 where B is not 0."""
    x, g = torch.tensor([[1.0, 1.0, 1.0, 2.0, 0.0, 0.0]]), torch.tensor([[2.0, 0.0, -2.0, 2.0, 9.0, 9.0]])
    base = torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0, 0.0]])
    m = torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.0, 0.0]])
    expected = base + m - 0.5 * (base != 0)
    torch.testing.assert_close(_rules.flattened_rule(base, x, g, torch.Size((1, 2, 1, 3))), expected)


def test_start_by_hand():
    """y = (2, 1, 0), target 0: sigma = 2, kernel (1, e^-1/8, e^-1/2), doubled, in a softmax."""
    y = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64)
    terms = [math.exp(2 * k) for k in (1, math.exp(-1 / 8), math.exp(-1 / 2))]
    share = competition(y, torch.tensor([0]))
    assert share.item() == pytest.approx(terms[0] / sum(terms), abs=1e-12) == pytest.approx(0.44527, abs=1e-5)
    assert abs(competition(y + 1, torch.tensor([0])).item() - share.item()) > 0.03  # y_t multiplies the kernel
    lowest = competition(y - 3, torch.tensor([0]))
    assert lowest.item() < 1 / 3  # a negative logit makes the target the least of all


def test_start_gradient_is_a_finite_difference():
    y, classes = random(3, 5) * 2, torch.tensor([1, 4, 0])
    gradient, step = logit_gradient(y, classes), 1e-6
    for k in range(5):
        move = torch.zeros_like(y)
        move[:, k] = step
        numeric = (competition(y + move, classes) - competition(y - move, classes)) / (2 * step)
        torch.testing.assert_close(gradient[:, k], numeric, rtol=1e-6, atol=1e-9)


def test_start_with_equal_logits_is_even():
    y = torch.full((1, 4), 1.5)
    assert competition(y, torch.tensor([2])).item() == pytest.approx(0.25)
    assert logit_gradient(y, torch.tensor([2])).isfinite().all()
