"""SmoothGrad, its square and VarGrad: closed forms on quadratics, keyed noise, streaming that neither cancels nor grows."""

from __future__ import annotations

import math

import pytest
import torch

from saliency_ext.attribution.gradient import Gradient
from saliency_ext.attribution.smooth_grad import SmoothGrad, SmoothGradSquared, VarGrad
from saliency_ext.ops import philox_normal
from saliency_ext.rng_streams import INPUT_NOISE as NOISE_STREAM
from tests.attribution.gradient_nets import SHAPE, Watched, left_as_it_was, make_images, relu_net, smooth_net

ALL = (SmoothGrad, SmoothGradSquared, VarGrad)
GREY = (1, 8, 6)


class Quadratic:
    """logit k = sum of (k + 1) (slope x + curve x^2): the gradient is (k + 1) (slope + 2 curve x)."""

    def __init__(self, slope=0.0, curve=1.0):
        self.slope, self.curve = slope, curve

    def __call__(self, inputs):
        each = (self.slope * inputs + self.curve * inputs**2).sum((1, 2, 3))
        return torch.stack([each, 2 * each, 3 * each], 1)


def noise_of(ids, samples, shape, seed=0):
    """(samples, N, C, H, W)"""
    return torch.stack([philox_normal(shape, ids, seed=seed, stream=NOISE_STREAM + k) for k in range(samples)])


def ranges(images):
    return images.flatten(1).amax(1).sub(images.flatten(1).amin(1)).view(-1, 1, 1, 1)


def test_without_noise_it_is_the_gradient_its_square_and_zero():
    model, images = smooth_net(shape=GREY), make_images(shape=GREY)
    gradient = Gradient(model)(images, 1)
    torch.testing.assert_close(SmoothGrad(model, samples=7, spread=0)(images, 1), gradient, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(SmoothGradSquared(model, samples=7, spread=0.0)(images, 1), gradient**2, rtol=1e-5, atol=1e-7)
    assert VarGrad(model, samples=7, spread=0.0)(images, 1).abs().max() < 1e-12


def test_an_image_of_one_colour_has_no_noise():
    model = smooth_net()
    images = torch.full((1, *SHAPE), 0.4)
    torch.testing.assert_close(SmoothGrad(model, samples=3)(images, 1), Gradient(model)(images, 1), rtol=1e-5, atol=1e-7)


def test_quadratic_by_its_closed_form():
    """Gradients 2 (k + 1) (x + sigma z): mean, mean square and variance of these, with sigma = spread (max - min) per image."""
    images, ids = make_images(3, GREY) * torch.tensor([1.0, 10.0, 0.1]).view(3, 1, 1, 1), torch.tensor([4, 2**40, 0])
    noise = noise_of(ids, 6, GREY, seed=9)
    gradients = (6 * (images + 0.2 * ranges(images) * noise))[:, :, 0]
    expected = {SmoothGrad: gradients.mean(0), SmoothGradSquared: (gradients**2).mean(0), VarGrad: gradients.var(0, correction=0)}
    for kind, values in expected.items():
        saliency = kind(Quadratic(), samples=6, spread=0.2, seed=9, channels="sum")(images, 2, sample_ids=ids)
        torch.testing.assert_close(saliency, values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", ["sum", "max_abs"])
def test_equals_a_loop_over_noisy_copies(channels):
    """Channels are reduced after the statistic."""
    model, images, ids = smooth_net(), make_images(3), torch.arange(3)
    copies = images + 0.15 * ranges(images) * noise_of(ids, 5, SHAPE)
    gradients = torch.stack([torch.autograd.functional.jacobian(lambda x: model(x)[:, 2].sum(), copy) for copy in copies])
    reduce = (lambda x: x.sum(1)) if channels == "sum" else (lambda x: x.abs().amax(1))
    expected = (gradients.mean(0), (gradients**2).mean(0), gradients.var(0, correction=0))
    for kind, values in zip(ALL, expected, strict=True):
        saliency = kind(model, samples=5, channels=channels)(images, 2)
        torch.testing.assert_close(saliency, reduce(values), rtol=1e-4, atol=1e-6)


def test_mean_square_is_square_of_mean_plus_variance():
    model, images = smooth_net(shape=GREY), make_images(shape=GREY)
    mean, squared, variance = (kind(model, samples=20, seed=2)(images, 1) for kind in ALL)
    torch.testing.assert_close(squared, mean**2 + variance, rtol=1e-4, atol=1e-7)
    assert variance.min() > 0


def test_variance_does_not_cancel():
    """Gradients 10^4 + 0.02 z: the difference of mean square and squared mean has no right digit in float32 (10^8 * 6e-8 = 6)."""
    images = torch.zeros(1, *GREY)
    images[0, 0, 0, 0] = 1.0
    noise = noise_of(torch.arange(1), 50, GREY).double()
    exact = VarGrad(Quadratic(1e4, 0.1))(images.double(), 0)
    assert exact.mean() == pytest.approx(float((0.03 * noise).var(0, correction=0).mean()), rel=1e-4)
    single = VarGrad(Quadratic(1e4, 0.1))(images, 0)
    naive = SmoothGradSquared(Quadratic(1e4, 0.1))(images, 0) - SmoothGrad(Quadratic(1e4, 0.1), channels="sum")(images, 0) ** 2
    # One rounding of a gradient near 10^4 is 10^-3 / 2, of a deviation of 0.03: some per cent of the variance.
    torch.testing.assert_close(single.double(), exact, rtol=0.1, atol=0)
    assert (naive - exact).abs().max() > 10 * exact.max()


def test_constant_and_linear_models():
    images = make_images()

    def constant(inputs):
        return inputs.flatten(1)[:, :3] * 0

    for kind in ALL:
        assert not kind(constant, samples=3)(images, 1).any()
    assert torch.equal(SmoothGrad(Quadratic(2.0, 0.0), samples=9, channels="sum")(images, 0), torch.full((4, 8, 6), 6.0))
    assert not VarGrad(Quadratic(2.0, 0.0), samples=9)(images, 0).any()


def test_noise_belongs_to_seed_and_sample_not_to_the_batch():
    images, ids, model = make_images(5), torch.tensor([7, 1, 3, 8, 2]), smooth_net()
    classes = torch.tensor([[0, 4], [1, 1], [2, 3], [3, 0], [4, 2]])
    order = [3, 0, 4]
    for kind in ALL:
        together = kind(model, samples=6)(images, classes, sample_ids=ids)
        for batch in (1, 4, 200):
            for t in range(2):
                some = kind(model, samples=6, max_batch=batch)(images[order], classes[order, t], sample_ids=ids[order])
                torch.testing.assert_close(some, together[order, t], rtol=1e-4, atol=1e-6)
        assert torch.equal(kind(model, samples=6)(images, classes, sample_ids=ids), together)
        assert not torch.allclose(kind(model, samples=6, seed=1)(images, classes, sample_ids=ids), together)
        assert not torch.allclose(kind(model, samples=6)(images, classes), together)
    same = SmoothGrad(model, samples=6)(images[:1].expand(2, *SHAPE), 0)
    assert not torch.allclose(same[0], same[1])  # two samples of one image draw apart


def test_seeds_agree_the_better_the_more_samples():
    net, images = relu_net(), make_images(4)

    def agreement(samples):
        pair = [SmoothGrad(net, samples=samples, spread=0.3, seed=seed)(images, 1).flatten(1) for seed in (0, 1)]
        ranks = [saliency.argsort(1).argsort(1).double() for saliency in pair]
        return torch.stack([torch.corrcoef(torch.stack(both))[0, 1] for both in zip(*ranks, strict=True)]).mean()

    few, some, many = agreement(2), agreement(16), agreement(128)
    assert few < some < many and many > 0.95


def test_samples_fill_the_batch_targets_share_it_and_memory_stays():
    classes, peaks = torch.tensor([[0, 1, 2]]), {}
    for kind in ALL:
        for samples in (8, 80):
            watched = Watched(smooth_net(), memory=samples == 8 or kind is VarGrad)
            kind(watched, samples=samples, max_batch=8)(make_images(2), classes.expand(2, 3))
            assert watched.batches == [8] * (samples // 4)
            peaks[kind, samples] = watched.peak
    assert peaks[VarGrad, 80] - peaks[VarGrad, 8] < 4 * math.prod(SHAPE)


def test_nothing_is_changed_and_surroundings_do_not_matter():
    model, images = relu_net(), make_images()
    for kind in ALL:
        method = kind(model, samples=5)
        with left_as_it_was(model, images):
            expected = method(images, 1)
        with torch.no_grad():
            assert torch.equal(method(images, 1), expected)
        with torch.inference_mode():
            assert torch.equal(method(images.clone(), 1), expected)
        with (
            left_as_it_was(model, images),
            pytest.raises(ValueError, match=rf"{kind.__name__}: expected target in \[0, 5\), got 7"),
        ):
            method(images, 7)
        for other in (images.to(memory_format=torch.channels_last), images.repeat_interleave(2, 3)[..., ::2]):
            torch.testing.assert_close(method(other, 1), expected, rtol=1e-4, atol=1e-7)
        assert method(make_images(0), torch.zeros(0, 2, dtype=torch.int64)).shape == (0, 2, 8, 6)
        assert method(images.double()[:0], 1).dtype == torch.float64


def test_errors():
    model = smooth_net()
    with pytest.raises(ValueError, match=r"SmoothGrad: expected samples in \[1, 4194304\], got 0"):
        SmoothGrad(model, samples=0)
    with pytest.raises(TypeError, match="VarGrad: expected samples to be an int, got float"):
        VarGrad(model, samples=5.0)
    with pytest.raises(ValueError, match="SmoothGradSquared: expected spread >= 0 and finite, got -0.1"):
        SmoothGradSquared(model, spread=-0.1)
    with pytest.raises(ValueError, match="expected spread >= 0 and finite, got nan"):
        SmoothGrad(model, spread=float("nan"))
    with pytest.raises(TypeError, match="expected spread to be a number, got str"):
        SmoothGrad(model, spread="0.1")
    with pytest.raises(ValueError, match=r"expected seed in \[0, .*\], got -1"):
        SmoothGrad(model, seed=-1)
