"""The rank-2 factorisation and the full rule of a convolution, against numpy and against the published form."""

import numpy as np
import pytest
import torch
from torch import nn

from saliency_ext.attribution.agf._convolution import Terms, agnostic_response, full_rule, residual
from saliency_ext.attribution.agf._factorization import difference, factor
from saliency_ext.attribution.agf._operations import Conv
from saliency_ext.attribution.agf._rules import abs_rule, sdiv
from tests.attribution import agf_reference

ALL_OFF = Terms(no_fx=True, no_m=True, no_fdx=True, no_a=True)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def solved(values, guide):
    """Q of one sample (C, HW) by numpy: rows neg, pos."""
    soft = 1 / (1 + np.exp(-10 * values / values.max()))
    rep = np.stack([soft[:, mask].mean(1) if mask.any() else np.zeros(len(soft)) for mask in (guide < 0, guide > 0)], 1)
    return np.maximum(np.linalg.solve(rep.T @ rep + np.eye(2), rep.T @ soft), 0)


def test_agrees_with_a_solve():
    values, guide = random(3, 6, 4, 5), random(3, 1, 4, 5, seed=1)
    guide[guide.abs() < 0.3] = 0  # belongs to neither side
    result = factor(values, guide)
    assert result.shape == (3, 1, 4, 5)
    for i in range(3):
        q = solved(values[i].flatten(1).numpy(), guide[i].flatten().numpy())
        np.testing.assert_allclose(result[i].flatten().numpy(), q[1] - q[0], rtol=1e-6, atol=1e-9)


def test_only_the_sign_of_the_guide_and_the_shape_of_the_values_matter():
    values, guide = random(2, 6, 4, 5), random(2, 1, 4, 5, seed=1)
    result = factor(values, guide)
    torch.testing.assert_close(factor(7 * values, guide.sign()), result)
    torch.testing.assert_close(factor(values, -guide), -result)


def test_one_sided_guides():
    values = random(2, 6, 4, 5)
    positive = factor(values, torch.ones(2, 1, 4, 5, dtype=torch.float64))
    assert positive.min() >= 0 and positive.max() > 0
    for i in range(2):
        q = solved(values[i].flatten(1).numpy(), np.ones(20))
        assert np.abs(q[0]).max() == 0
        np.testing.assert_allclose(positive[i].flatten().numpy(), q[1], rtol=1e-6)
    assert factor(values, torch.zeros(2, 1, 4, 5, dtype=torch.float64)).abs().max() == 0


def test_values_without_a_positive_one_keep_their_order():
    """Dividing by the (negative) maximum would turn them over: the guard divides by the largest magnitude."""
    values = -random(1, 6, 4, 5).abs() - 0.1
    guide = random(1, 1, 4, 5, seed=1)
    soft = torch.sigmoid(10 * values / values.abs().max()).flatten(2)
    torch.testing.assert_close(factor(values, guide).flatten(1), difference(soft, guide)[:, 0], rtol=1e-6, atol=1e-9)
    assert factor(torch.zeros(1, 6, 4, 5), torch.ones(1, 1, 4, 5)).isfinite().all()


def layer(groups=1, stride=1):
    torch.manual_seed(0)
    module = nn.Conv2d(4, 6, 3, stride=stride, padding=1, groups=groups).double()
    return module, Conv(module.weight.detach(), module.bias.detach(), module.stride, module.padding, module.dilation, groups)


def streams(module, seed=1):
    x = random(2, 4, 7, 8).relu()
    y = module(x).detach()
    rel, g_out = random(*y.shape, seed=seed), random(*y.shape, seed=seed + 1)
    rel[rel.abs() < 0.4] = 0  # so that the masked gradient is another one
    return x, rel, g_out


def parts(conv, x, rel, g_out):
    absolute = conv.weight.abs()
    base = abs_rule(x.abs(), conv.apply(x.abs(), absolute), rel, lambda s: conv.transpose(s, absolute, x))
    return base, conv.transpose(g_out, conv.weight, x), absolute


SWITCHES = ["no_fx", "no_m", "no_reg", "no_fdx", "no_a", "gradcam", None]


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (2, 2)])
def test_full_rule_is_the_published_one(switch, groups, stride):
    module, conv = layer(groups, stride)
    x, rel, g_out = streams(module)
    base, g, absolute = parts(conv, x, rel, g_out)
    chosen = {} if switch is None else {switch: True}
    result = full_rule(conv, x, base, rel, g, g_out, absolute, Terms(**chosen))
    for i in range(2):
        one = slice(i, i + 1)
        expected = agf_reference.conv_full(module, x[one], rel[one], g_out[one], **chosen)
        torch.testing.assert_close(result[one], expected.detach(), rtol=1e-5, atol=1e-6)
    if switch is not None:
        assert (result - full_rule(conv, x, base, rel, g, g_out, absolute, Terms())).abs().max() > 1e-3


def test_the_full_rule_keeps_the_sum_of_the_flat_one():
    module, conv = layer()
    x, rel, g_out = streams(module)
    base, g, absolute = parts(conv, x, rel, g_out)
    out = full_rule(conv, x, base, rel, g, g_out, absolute, Terms())
    torch.testing.assert_close(out.sum((1, 2, 3)), base.sum((1, 2, 3)))
    assert out[base == 0].abs().sum() == 0


@pytest.mark.parametrize("no_reg", [False, True])
def test_all_terms_off_is_the_flat_rule(no_reg):
    module, conv = layer()
    x, rel, g_out = streams(module)
    base, g, absolute = parts(conv, x, rel, g_out)
    terms = Terms(no_fx=True, no_m=True, no_fdx=True, no_a=True, no_reg=no_reg)
    assert torch.equal(full_rule(conv, x, base, rel, g, g_out, absolute, terms), base)
    assert residual(conv, x, base, rel, g, g_out, absolute, terms).abs().max() == 0
    assert ALL_OFF.is_empty and not ALL_OFF.uses_gradient


def test_the_agnostic_term_does_not_see_the_input():
    """U alone, for two inputs and the same relevance; its denominator is that of an input of ones."""
    module, conv = layer(groups=2)
    x, rel, g_out = streams(module)
    only_u = Terms(no_fx=True, no_m=True, no_fdx=True)
    absolute, dense = conv.weight.abs(), torch.ones_like(x)
    result = [residual(conv, value, dense, rel, None, g_out, absolute, only_u) for value in (x, 3 * random(*x.shape, seed=9))]
    assert torch.equal(*result)
    ones = conv.apply(dense, absolute)
    torch.testing.assert_close(agnostic_response(conv, x, absolute).expand_as(ones), ones)
    torch.testing.assert_close(result[0], conv.transpose(sdiv(rel, ones), absolute, x))


def test_the_masked_gradient_is_reused_only_where_it_is_the_same(monkeypatch):
    module, conv = layer()
    x, rel, g_out = streams(module)
    base, g, absolute = parts(conv, x, rel, g_out)
    only_g = Terms(no_fx=True, no_m=True, no_a=True)
    calls, transpose = [], Conv.transpose
    monkeypatch.setattr(Conv, "transpose", lambda self, *args: calls.append(1) or transpose(self, *args))
    masked = residual(conv, x, base, rel, g, g_out, absolute, only_g)
    assert len(calls) == 1
    g_out = g_out * (rel != 0)
    again = residual(conv, x, base, rel, transpose(conv, g_out, conv.weight, x), g_out, absolute, only_g)
    assert len(calls) == 1
    torch.testing.assert_close(again, masked)
