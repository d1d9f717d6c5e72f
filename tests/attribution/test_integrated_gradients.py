"""Integrated gradients: closed forms, completeness, rules of integration, shared forwards, captum's numbers."""

from __future__ import annotations

import math

import pytest
import torch

from saliency_ext.attribution.integrated_gradients import IntegratedGradients, path_nodes
from saliency_ext.infill import Blur, Constant, DatasetMean, GaussianNoise, ImageMean, OtherImage
from tests.attribution.gradient_nets import SHAPE, Watched, left_as_it_was, make_images, relu_net, smooth_net

RULES = ("gauss_legendre", "trapezoid", "right_riemann", "midpoint")


class Cubes:
    """logit k = sum of weights[k] x^3: separable, so that the attribution is weights (x^3 - b^3), pixel by pixel."""

    def __init__(self, dtype=torch.float32):
        self.weights = torch.linspace(-1, 2, 2 * math.prod(SHAPE), dtype=dtype).view(2, *SHAPE)

    def __call__(self, inputs):
        return torch.einsum("nchw,kchw->nk", inputs**3, self.weights)


def linear_model(weights):
    return lambda inputs: torch.einsum("nchw,kchw->nk", inputs, weights)


# ---- rules


def test_nodes_by_hand():
    assert path_nodes("right_riemann", 2) == ((0.5, 0.5), (1.0, 0.5))
    assert path_nodes("midpoint", 2) == ((0.25, 0.5), (0.75, 0.5))
    assert path_nodes("trapezoid", 3) == ((0.0, 0.25), (0.5, 0.5), (1.0, 0.25))
    assert path_nodes("gauss_legendre", 1) == ((0.5, 1.0),)
    (low, half), (high, other) = path_nodes("gauss_legendre", 2)  # 1/2 -+ 1 / (2 sqrt 3)
    assert (low, high) == pytest.approx((0.5 - 0.5 / 3**0.5, 0.5 + 0.5 / 3**0.5)) and half == other == 0.5


@pytest.mark.parametrize(
    ("rule", "exact_up_to"), [("gauss_legendre", 9), ("trapezoid", 1), ("right_riemann", 0), ("midpoint", 1)], ids=str
)
def test_rules_integrate_powers_up_to_their_degree(rule, exact_up_to):
    nodes = path_nodes(rule, 5)
    assert len(nodes) == 5 and [alpha for alpha, _ in nodes] == sorted(alpha for alpha, _ in nodes)
    for power in range(exact_up_to + 2):
        error = sum(weight * alpha**power for alpha, weight in nodes) - 1 / (power + 1)
        assert (abs(error) < 1e-14) == (power <= exact_up_to), (power, error)


# ---- closed forms


@pytest.mark.parametrize("rule", RULES)
def test_linear_model_is_weights_times_difference(rule):
    weights, images = Cubes().weights, make_images()
    for baseline in (Constant((0.2, -0.5, 1.0)), ImageMean(), Blur(1.0), DatasetMean()):
        difference = images - baseline.fill(images, torch.arange(4))
        saliency, gap = IntegratedGradients(linear_model(weights), baseline, steps=3, rule=rule).with_gap(images, 1)
        torch.testing.assert_close(saliency, (weights[1] * difference).sum(1), rtol=1e-5, atol=1e-6)
        assert gap.shape == (4,) and gap.abs().max() < 1e-4


def test_cubes_are_exact_with_two_gauss_nodes():
    model, images = Cubes(torch.float64), make_images(dtype=torch.float64)
    terms = model.weights[1] * (images**3 - 0.5**3)
    for channels, expected in (("sum", terms.sum(1)), ("abs_sum", terms.abs().sum(1)), ("max", terms.amax(1))):
        saliency = IntegratedGradients(model, Constant(0.5), steps=2, channels=channels)(images, 1)
        torch.testing.assert_close(saliency, expected, rtol=1e-12, atol=1e-12)


def test_gap_of_each_rule_by_hand():
    """f = x^2 from 0 to 1: the mean over nodes of 2 alpha, minus 1, is 1/n on the right, 0 for the others."""

    def model(inputs):
        return inputs.square().flatten(1)

    for rule in RULES:
        saliency, gap = IntegratedGradients(model, Constant(0.0), steps=4, rule=rule).with_gap(torch.ones(1, 1, 1, 1), 0)
        expected = 0.25 if rule == "right_riemann" else 0.0
        assert gap.item() == pytest.approx(expected, abs=1e-6) and saliency.item() == pytest.approx(1 + expected)


def test_one_step_on_the_right_is_difference_times_gradient():
    model, images = smooth_net(), make_images()
    saliency = IntegratedGradients(model, Constant(0.0), steps=1, rule="right_riemann")(images, 2)
    gradient = torch.autograd.functional.jacobian(lambda x: model(x)[:, 2].sum(), images)
    torch.testing.assert_close(saliency, (images * gradient).sum(1))


# ---- completeness


@pytest.mark.parametrize("score", ["logit", "probability", "log_probability"])
def test_complete_at_fifty_nodes(score):
    model, images, classes = smooth_net(), make_images(), torch.tensor([[0, 3], [1, 1], [4, 2], [2, 0]])
    method = IntegratedGradients(model, Constant(0.3), score=score)
    saliency, gap = method.with_gap(images, classes)
    read = {"logit": lambda x: x, "probability": lambda x: x.softmax(1), "log_probability": lambda x: x.log_softmax(1)}[score]
    with torch.no_grad():
        ends = [read(model(x)).gather(1, classes) for x in (images, torch.full_like(images, 0.3))]
    rise = ends[0] - ends[1]
    assert rise.abs().mean() > 0.05 and gap.shape == (4, 2)
    assert gap.abs().max() < 1e-5  # asked for: 1e-3
    torch.testing.assert_close(saliency.sum((2, 3)), rise, rtol=0, atol=1e-5)
    # With the ends there are more images in a forward: the network's own rounding.
    torch.testing.assert_close(saliency, method(images, classes), rtol=1e-5, atol=1e-6)


def test_gap_is_the_missing_part_whatever_the_channels():
    model, images = smooth_net(), make_images()
    with torch.no_grad():
        rise = (model(images) - model(torch.zeros_like(images)))[:, 1]
    saliency, gap = IntegratedGradients(model, DatasetMean(), steps=2, rule="right_riemann").with_gap(images, 1)
    assert gap.abs().min() > 1e-3
    torch.testing.assert_close(gap, saliency.sum((1, 2)) - rise, rtol=1e-4, atol=1e-5)
    other = IntegratedGradients(model, DatasetMean(), steps=2, rule="right_riemann", channels="max_abs").with_gap(images, 1)[1]
    torch.testing.assert_close(other, gap)


def test_gap_asks_no_gradient_at_the_ends():
    """The slope of a root is infinite at 0: the ends give scores, not gradients."""

    def model(inputs):
        return inputs.sqrt().flatten(1)

    saliency, gap = IntegratedGradients(model, Constant(0.0), steps=200).with_gap(torch.full((1, 1, 1, 1), 4.0), 0)
    assert saliency.item() == pytest.approx(2, rel=5e-3) and gap.item() == pytest.approx(saliency.item() - 2, abs=1e-6)


# ---- baselines


def test_several_baselines_and_draws_are_averaged():
    images, ids = make_images(), torch.tensor([5, 9, 0, 2**40])
    noise, model = GaussianNoise(0.0, 1.0, seed=3, draws=3), smooth_net()
    reference_images = OtherImage(images[:1] * 0.5, seed=0)  # of one image: every draw is that image
    fills = [noise.fill(images, ids, draw) for draw in range(3)]
    apart = [IntegratedGradients(model, OtherImage(fill[n : n + 1], seed=0)) for fill in fills for n in range(4)]
    drawn = torch.stack([torch.cat([apart[4 * draw + n](images[n : n + 1], 1) for n in range(4)]) for draw in range(3)])
    expected = (drawn.mean(0) + IntegratedGradients(model, reference_images)(images, 1)) / 2
    saliency, gap = IntegratedGradients(model, [noise, reference_images]).with_gap(images, 1, sample_ids=ids)
    torch.testing.assert_close(saliency, expected, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        noisy = torch.stack([model(fill)[:, 1] for fill in fills]).mean(0)
        rise = model(images)[:, 1] - (noisy + model(images[:1] * 0.5)[:, 1]) / 2
    torch.testing.assert_close(saliency.sum((1, 2)) - gap, rise, rtol=1e-4, atol=1e-5)


def test_baseline_equal_to_the_image_gives_zero():
    assert not IntegratedGradients(smooth_net(), Blur(0.0))(make_images(), 0).any()


def test_maps_do_not_depend_on_the_batch():
    images, ids, model = make_images(5), torch.tensor([7, 1, 3, 8, 2]), smooth_net()
    classes = torch.tensor([[0, 4], [1, 1], [2, 3], [3, 0], [4, 2]])
    baselines = [GaussianNoise(0.0, 1.0, seed=3, draws=2), ImageMean()]
    together = IntegratedGradients(model, baselines, steps=7)(images, classes, sample_ids=ids)
    for batch in (1, 3, 8, 200):
        method, order = IntegratedGradients(model, baselines, steps=7, max_batch=batch), [3, 0, 4]
        for t in range(2):
            some = method(images[order], classes[order, t], sample_ids=ids[order])
            torch.testing.assert_close(some, together[order, t], rtol=1e-4, atol=1e-6)


# ---- cost


def test_steps_and_baselines_fill_the_batch_and_targets_share_it():
    classes = torch.tensor([[0, 1, 2]])
    for count, max_batch, expected in ((1, 64, [64, 36]), (3, 64, [63] * 4 + [48]), (5, 2, [2] * 250)):
        watched = Watched(smooth_net())
        method = IntegratedGradients(watched, [Constant(0.0), ImageMean()], max_batch=max_batch)
        method(make_images(count), classes.expand(count, 3))
        assert watched.batches == expected
    watched = Watched(smooth_net())
    IntegratedGradients(watched, DatasetMean(), steps=4).with_gap(make_images(2), 0)
    assert watched.batches == [12]  # 4 nodes and 2 ends of 2 images


def test_memory_does_not_grow_with_steps():
    peaks = []
    for steps in (8, 80):
        watched = Watched(smooth_net(), memory=True)
        IntegratedGradients(watched, DatasetMean(), steps=steps, max_batch=8)(make_images(2), 0)
        assert len(watched.batches) == steps // 4
        peaks.append(watched.peak)
    assert peaks[1] - peaks[0] < 4 * math.prod(SHAPE)  # the first forward has no earlier gradients beside it


# ---- manners


def test_nothing_is_changed_and_surroundings_do_not_matter():
    model, images = relu_net(), make_images()
    method = IntegratedGradients(model, GaussianNoise(0.0, 1.0, seed=1), steps=5)
    with left_as_it_was(model, images):
        expected, gap = method.with_gap(images, 1)
    with torch.no_grad():
        assert torch.equal(method(images, 1), expected)
    with torch.inference_mode():
        both = method.with_gap(images.clone(), 1)
    assert torch.equal(both[0], expected) and torch.equal(both[1], gap)
    with (
        left_as_it_was(model, images),
        pytest.raises(ValueError, match=r"IntegratedGradients: expected target in \[0, 5\), got 7"),
    ):
        method(images, 7)
    for other in (images.to(memory_format=torch.channels_last), images.repeat_interleave(2, 3)[..., ::2]):
        torch.testing.assert_close(method(other, 1), expected, rtol=1e-5, atol=1e-7)


def test_empty_batch():
    method = IntegratedGradients(smooth_net(), DatasetMean())
    saliency, gap = method.with_gap(make_images(0), torch.zeros(0, 2, dtype=torch.int64))
    assert saliency.shape == (0, 2, 8, 6) and gap.shape == (0, 2)
    assert method.with_gap(make_images(0), 1)[1].shape == (0,)


class Unfit:
    """An infill whose pixels are whatever it is told."""

    name, key, parameters, draws = "unfit", "unfit", {}, 1

    def __init__(self, pixels):
        self.pixels = pixels

    def fill(self, inputs, sample_ids, draw=0):
        return self.pixels


class Imputing(Unfit):
    def fill_removed(self, inputs, remove, sample_ids, draw=0):
        return inputs[None]


def test_errors():
    model, images = smooth_net(), make_images(2)
    with pytest.raises(TypeError, match="IntegratedGradients: expected baselines to be an Infill, got float, .*infill.Constant"):
        IntegratedGradients(model, 0.0)
    with pytest.raises(ValueError, match="expected baselines to hold at least one infill, got none"):
        IntegratedGradients(model, [])
    with pytest.raises(TypeError, match="expected baselines to need no mask, got Imputing"):
        IntegratedGradients(model, Imputing(images))
    with pytest.raises(ValueError, match="IntegratedGradients: expected rule to be one of 'gauss_legendre'"):
        IntegratedGradients(model, DatasetMean(), rule="left")
    with pytest.raises(ValueError, match=r"IntegratedGradients: expected steps in \[1, 2147483647\], got 0"):
        IntegratedGradients(model, DatasetMean(), steps=0)
    with pytest.raises(ValueError, match=r"expected steps in \[2, 2147483647\], got 1"):
        IntegratedGradients(model, DatasetMean(), steps=1, rule="trapezoid")
    with pytest.raises(ValueError, match=r"IntegratedGradients: expected infill broadcastable to inputs .*, got \(5,\)"):
        IntegratedGradients(model, Unfit(torch.zeros(5)))(images, 0)
    with pytest.raises(TypeError, match="expected infill of dtype float32, got float64"):
        IntegratedGradients(model, Unfit(torch.zeros(1, dtype=torch.float64)))(images, 0)
    with pytest.raises(TypeError, match="expected the infill of its baseline to be a torch.Tensor, got int"):
        IntegratedGradients(model, Unfit(0))(images, 0)


def test_a_baseline_that_needs_gradients_is_a_constant():
    pixels = torch.zeros(1, requires_grad=True)
    saliency = IntegratedGradients(smooth_net(), Unfit(pixels))(make_images(), 0)
    assert not saliency.requires_grad and pixels.grad is None
    assert torch.equal(saliency, IntegratedGradients(smooth_net(), DatasetMean())(make_images(), 0))
