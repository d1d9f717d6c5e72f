"""Expected gradients: the definition in a loop, completeness within its standard error, keyed draws."""

from __future__ import annotations

import math

import pytest
import torch

from saliency_ext.attribution.expected_gradients import ExpectedGradients
from saliency_ext.attribution.integrated_gradients import IntegratedGradients
from saliency_ext.infill import OtherImage
from saliency_ext.ops import philox_uniform
from saliency_ext.rng_streams import REFERENCE as REFERENCE_STREAM
from tests.attribution.gradient_nets import SHAPE, Watched, left_as_it_was, make_images, relu_net, smooth_net
from tests.backends import generator


def make_reference_images(images: int = 6) -> torch.Tensor:
    return torch.randn(images, *SHAPE, generator=generator("rows"))


@pytest.mark.parametrize("channels", ["sum", "abs_sum"])
def test_equals_a_loop_over_pairs(channels):
    model, images, ids, reference_images = smooth_net(), make_images(2), torch.tensor([3, 2**40]), make_reference_images()
    expected = torch.zeros_like(images)
    for k in range(7):
        words = philox_uniform((1, 1, 3), ids, seed=5, stream=REFERENCE_STREAM + k)
        for n in range(2):
            upper, lower, alpha = words[n].flatten().double().tolist()
            drawn = reference_images[(int(upper * 2**24) * 2**24 + int(lower * 2**24)) % 6]
            point = drawn + alpha * (images[n] - drawn)
            gradient = torch.autograd.functional.jacobian(lambda x: model(x[None])[0, 1], point)
            expected[n] += (images[n] - drawn) * gradient / 7
    saliency = ExpectedGradients(model, reference_images, samples=7, seed=5, channels=channels)(images, 1, sample_ids=ids)
    expected = expected.sum(1) if channels == "sum" else expected.abs().sum(1)
    torch.testing.assert_close(saliency, expected, rtol=1e-4, atol=1e-6)


def test_draws_are_uniform_over_the_bank_and_the_way():
    """logit = x^2 in one pixel, image 1, bank 0: each term is 2 alpha. Bank 0, 1, .., 5 and a linear model: each is 5 - x_k."""
    count = 4000
    ones, zero = torch.ones(count, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    alpha = ExpectedGradients(lambda x: x.square().flatten(1), zero, samples=1)(ones, 0).flatten() / 2
    assert alpha.min() >= 0 and alpha.max() < 1 and alpha.unique().numel() > count - 10
    assert alpha.mean().item() == pytest.approx(0.5, abs=4 * (1 / 12 / count) ** 0.5)
    assert alpha.var().item() == pytest.approx(1 / 12, rel=0.05)
    reference_images = torch.arange(6.0).view(6, 1, 1, 1)
    chosen = 5 - ExpectedGradients(lambda x: x.flatten(1), reference_images, samples=1)(5 * ones, 0).flatten()
    counts = torch.bincount(chosen.round().long(), minlength=6)
    assert ((counts - count / 6).abs() < 4 * (count * 5 / 36) ** 0.5).all()
    correlation = torch.corrcoef(torch.stack([alpha, chosen]))[0, 1]
    assert abs(correlation) < 4 / count**0.5


def test_complete_in_expectation():
    """256 independent estimates of one image: their mean is f(x) - mean f(bank), within 4 standard errors, which are small."""
    model, reference_images, image = smooth_net(), make_reference_images(), make_images(1)
    sums = ExpectedGradients(model, reference_images, samples=20)(image.expand(256, *SHAPE), 3).sum((1, 2)).double()
    with torch.no_grad():
        rise = (model(image)[0, 3] - model(reference_images)[:, 3].mean()).item()
    error = sums.std().item() / 256**0.5
    assert abs(rise) > 20 * error and abs(sums.mean().item() - rise) < 4 * error


def test_error_falls_as_the_root_of_samples():
    model, reference_images, image = smooth_net(), make_reference_images(), make_images(1).expand(64, *SHAPE)
    few, many = (ExpectedGradients(model, reference_images, samples=n)(image, 3).sum((1, 2)).std() for n in (4, 64))
    assert few / many == pytest.approx(4, rel=0.4)


def test_bank_of_one_image_is_integrated_gradients_in_expectation():
    model, reference_images, image = smooth_net(), make_reference_images(1), make_images(1)
    expected = IntegratedGradients(model, OtherImage(reference_images, seed=0))(image, 0)[0]
    maps = ExpectedGradients(model, reference_images, samples=20)(image.expand(128, *SHAPE), 0)
    error = maps.std(0) / 128**0.5
    assert ((maps.mean(0) - expected).abs() < 5 * error + 1e-6).all()


def test_linear_model_needs_no_way():
    """Only the choice from the bank is left: with a bank of one image the map is weights (x - b), exactly."""
    weights = torch.randn(2, *SHAPE, generator=generator())

    def model(inputs):
        return torch.einsum("nchw,kchw->nk", inputs, weights)

    images, reference_images = make_images(), make_reference_images(1)
    saliency = ExpectedGradients(model, reference_images, samples=5)(images, 1)
    torch.testing.assert_close(saliency, (weights[1] * (images - reference_images)).sum(1), rtol=1e-5, atol=1e-5)


def test_draws_belong_to_seed_and_sample_not_to_the_batch():
    images, ids, model, reference_images = make_images(5), torch.tensor([7, 1, 3, 8, 2]), smooth_net(), make_reference_images()
    classes, order = torch.tensor([[0, 4], [1, 1], [2, 3], [3, 0], [4, 2]]), [3, 0, 4]
    together = ExpectedGradients(model, reference_images, samples=6)(images, classes, sample_ids=ids)
    for batch in (1, 4, 200):
        method = ExpectedGradients(model, reference_images, samples=6, max_batch=batch)
        for t in range(2):
            some = method(images[order], classes[order, t], sample_ids=ids[order])
            torch.testing.assert_close(some, together[order, t], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(
        ExpectedGradients(model, reference_images, samples=6, seed=1)(images, classes, sample_ids=ids), together
    )
    first = OtherImage(reference_images, seed=0).fill(images, ids)  # a metric's infill of the same seed draws apart
    assert not torch.equal(first, OtherImage(reference_images, seed=0).fill(images, ids, REFERENCE_STREAM))


def test_samples_fill_the_batch_targets_share_it_and_memory_stays():
    classes, peaks = torch.tensor([[0, 1, 2], [3, 4, 0]]), []
    for samples in (8, 80):
        watched = Watched(smooth_net(), memory=True)
        ExpectedGradients(watched, make_reference_images(), samples=samples, max_batch=8)(make_images(2), classes)
        assert watched.batches == [8] * (samples // 4)
        peaks.append(watched.peak)
    assert peaks[1] - peaks[0] < 8 * math.prod(SHAPE)


def test_nothing_is_changed_and_surroundings_do_not_matter():
    model, images, reference_images = relu_net(), make_images(), make_reference_images()
    method = ExpectedGradients(model, reference_images, samples=5)
    with left_as_it_was(model, images, reference_images):
        expected = method(images, 1)
    with torch.no_grad():
        assert torch.equal(method(images, 1), expected)
    with torch.inference_mode():
        assert torch.equal(method(images.clone(), 1), expected)
    for other in (images.to(memory_format=torch.channels_last), images.repeat_interleave(2, 3)[..., ::2]):
        torch.testing.assert_close(method(other, 1), expected, rtol=1e-4, atol=1e-7)
    assert method(make_images(0), torch.zeros(0, 2, dtype=torch.int64)).shape == (0, 2, 8, 6)


def test_errors():
    model, reference_images = smooth_net(), make_reference_images()
    with pytest.raises(ValueError, match=r"ExpectedGradients: expected samples in \[1, 4194304\], got 0"):
        ExpectedGradients(model, reference_images, samples=0)
    with pytest.raises(ValueError, match="expected reference_images to hold at least one image, got none"):
        ExpectedGradients(model, reference_images[:0])
    with pytest.raises(TypeError, match="expected reference_images of dtype float32 or float64, got uint8"):
        ExpectedGradients(model, reference_images.to(torch.uint8))
    with pytest.raises(ValueError, match=r"expected seed in \[0, .*\], got -1"):
        ExpectedGradients(model, reference_images, seed=-1)
    with pytest.raises(ValueError, match=r"expected inputs of shape \(N, C, H, W\) of the reference images"):
        ExpectedGradients(model, reference_images[..., :3])(make_images(), 0)
