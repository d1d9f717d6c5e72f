"""KernelSHAP: exact where all coalitions are asked, constrained where they are drawn, alone as in a batch."""

import math
from dataclasses import dataclass

import pytest
import torch

from saliency_ext.attribution._segment_method import Group
from saliency_ext.attribution.kernel_shap import KernelSHAP, all_coalitions, kernel_weights
from saliency_ext.infill import BaseInfill, UniformNoise
from tests.attribution.games import (
    MIXED,
    NOTHING,
    game_model,
    images_with_labels,
    painted_labels,
    pixels,
    players,
    shapley,
    smooth_model,
    tensors,
)


def values_of(table, **options):
    count = (len(table) - 1).bit_length()
    targets = torch.arange(table.shape[1])[None]
    return KernelSHAP(game_model(table), NOTHING, pixels, score="logit", **options)(players(count), targets)[0, :, 0].T


@pytest.mark.parametrize("count", range(1, 8))
def test_enumerated_is_the_mean_over_all_orders(count):
    table = tensors(2**count, 3, seed=count)
    torch.testing.assert_close(values_of(table), shapley(table), rtol=0, atol=1e-9)


@pytest.mark.parametrize("options", [{}, {"exact_up_to": 1, "samples": 200}, {"exact_up_to": 1, "samples": 4}])
def test_values_sum_to_the_rise_of_the_score(options):
    table = tensors(2**6, 3)
    torch.testing.assert_close(values_of(table, **options).sum(0), table[-1] - table[0], rtol=0, atol=1e-14)


def test_axioms():
    numbers = torch.arange(2**6)
    bit = [numbers >> j & 1 for j in range(6)]
    table = (bit[0] * bit[1] * bit[2] + bit[0] * bit[1] * bit[3] + 2 * bit[4] - bit[2] * bit[3] * bit[4]).double()[:, None]
    values = values_of(table)[:, 0]
    assert abs(values[5]) < 1e-12  # dummy: in no term
    assert abs(values[0] - values[1]) < 1e-12 and abs(values[2] - values[3]) < 1e-12  # symmetry
    expected = torch.tensor([2 / 3, 2 / 3, 0, 0, 2 - 1 / 3, 0], dtype=torch.float64)  # a product is shared out equally
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-12)
    one, two = tensors(2**6, 1, seed=1), tensors(2**6, 1, seed=2)
    torch.testing.assert_close(values_of(2 * one - 3 * two), 2 * values_of(one) - 3 * values_of(two), rtol=0, atol=1e-12)
    # Constants are not shared out.
    torch.testing.assert_close(values_of(one + 5), values_of(one), rtol=0, atol=1e-12)


def test_kernel_by_hand():
    assert kernel_weights(4).tolist() == [3 / (4 * 3), 3 / (6 * 4), 3 / (4 * 3)]
    assert kernel_weights(2).tolist() == [0.5]
    assert all_coalitions(3).int().tolist() == [[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1]]
    assert all_coalitions(1).shape == (0, 1)


def test_drawn_subsets_are_uniform_of_the_right_sizes_and_come_with_their_complements():
    count, images = 6, players(6, 40)
    method = KernelSHAP(lambda x: x, NOTHING, pixels, samples=1000, exact_up_to=1)
    drawn = method._drawn(Group(images, torch.zeros(40, 1).long(), torch.arange(40), pixels(images), count))
    assert drawn.shape == (40, 1000, 6)
    kept = drawn.sum(2)
    assert int(kept.min()) == 1 and int(kept.max()) == 5
    assert torch.equal(drawn[:, ::2], ~drawn[:, 1::2])
    expected = torch.tensor([1 / (k * (count - k)) for k in range(1, count)], dtype=torch.float64)
    expected /= expected.sum()
    shares = torch.stack([(kept == k).double().mean() for k in range(1, count)])
    assert (shares - expected).abs().max() < 4 * math.sqrt(0.25 / 20_000)
    for k in (1, 3):  # pairs of segments in subsets of one size
        subsets = drawn[kept == k].double()
        together = subsets.T @ subsets / len(subsets)
        wanted = torch.full((6, 6), k * (k - 1) / 30.0, dtype=torch.float64).fill_diagonal_(k / 6)
        assert (together - wanted).abs().max() < 0.02


def test_drawn_values_converge():
    table = tensors(2**8, 1, seed=3)
    exact = values_of(table)
    errors = {}
    for samples in (60, 600, 6000):
        runs = [values_of(table, exact_up_to=1, samples=samples, seed=seed) - exact for seed in range(4)]
        errors[samples] = float(torch.stack(runs).square().mean().sqrt())
    assert errors[600] < 0.6 * errors[60] and errors[6000] < 0.6 * errors[600] and errors[6000] < 0.01
    terms = tensors(8, 1, seed=4)
    additive = all_subsets(8) @ terms
    torch.testing.assert_close(values_of(additive, exact_up_to=1, samples=40), terms, rtol=0, atol=1e-12)


def all_subsets(count):
    return (torch.arange(2**count)[:, None] >> torch.arange(count) & 1).double()


def test_too_few_samples_give_the_values_of_least_norm_around_the_equal_share():
    terms = tensors(12, 1, seed=5)
    values = values_of(all_subsets(12) @ terms, exact_up_to=1, samples=4)
    rise = terms.sum()
    assert abs(values.sum() - rise) < 1e-14
    assert (values - rise / 12).norm() < (terms - rise / 12).norm()


@pytest.mark.parametrize("options", [{}, {"exact_up_to": 2, "samples": 20}])
@pytest.mark.parametrize("max_batch", [1, 5, 64])
def test_a_batch_of_different_segmentations_is_the_single_images(options, max_batch):
    images, ids = images_with_labels(MIXED), torch.tensor([5, 2, 9, 4, 7])
    method = KernelSHAP(smooth_model, UniformNoise(-1.0, 1.0, seed=0), painted_labels, max_batch=max_batch, **options)
    together = method(images, torch.tensor([0, 1, 2, 0, 1]), sample_ids=ids)
    for n, target in enumerate([0, 1, 2, 0, 1]):
        alone = method(images[n : n + 1], target, sample_ids=ids[n : n + 1])
        assert torch.equal(alone[0], together[n]), n
    assert together[2].abs().max() == 0 and together[3][0, 2] == 0  # no segment
    assert together[0][0, 0] == together[0][0, 1] != together[0][0, 2]


def test_one_segment_gets_the_rise_and_uncovered_pixels_are_never_removed():
    images = images_with_labels(torch.tensor([[[0, 0, -1]]]))
    seen = []

    def model(x):
        seen.append(x[:2, 1].clone())
        return x[:, 1].sum((1, 2))[:, None]

    saliency = KernelSHAP(model, NOTHING, painted_labels, score="logit")(images, 0)
    rise = images[0, 1, 0, :2].sum()
    torch.testing.assert_close(saliency, torch.stack([rise, rise, rise * 0])[None, None])
    assert all(bool((part[:, 0, 2] == images[0, 1, 0, 2]).all()) for part in seen)


def test_targets_share_the_forwards():
    table, targets = tensors(2**5, 4), torch.tensor([[3, 0, 1]])
    model = game_model(table)
    method = KernelSHAP(model, NOTHING, pixels, score="probability", max_batch=8)
    several = method(players(5), targets)
    calls, model.calls = model.calls, 0
    for t in range(3):
        torch.testing.assert_close(method(players(5), targets[:, t]), several[:, t])
    assert calls == 4 and model.calls == 12  # 2^5 coalitions in forwards of 8
    torch.testing.assert_close(several[0, :, 0].T, shapley(table.softmax(1))[:, [3, 0, 1]])


@dataclass(frozen=True)
class Levels(BaseInfill):
    """A stochastic infill of known draws: levels[draw]."""

    levels: tuple[float, ...]

    @property
    def name(self):
        return "levels"

    @property
    def draws(self):
        return len(self.levels)

    def _fill(self, inputs, sample_ids, draw):
        return inputs.new_full((1, 1, 1, 1), self.levels[draw])


def test_draws_of_an_infill_are_averaged():
    images, levels = images_with_labels(MIXED[:1]), (-0.3, 0.1, 0.7)

    def explain(*chosen):
        return KernelSHAP(smooth_model, Levels(chosen), painted_labels)(images, 1)

    torch.testing.assert_close(explain(*levels), sum(explain(level) for level in levels) / 3)
    assert KernelSHAP(smooth_model, Levels(levels), pixels).game == "random baseline Shapley"
    assert KernelSHAP(smooth_model, NOTHING, pixels).game == "baseline Shapley"


def test_per_pixel_divides_by_the_area():
    images = images_with_labels(MIXED[[0, 3]])
    whole = KernelSHAP(smooth_model, NOTHING, painted_labels)(images, 1)
    shared = KernelSHAP(smooth_model, NOTHING, painted_labels, per_pixel=True)(images, 1)
    areas = torch.tensor([[[2, 2, 2], [2, 2, 2]], [[1, 3, 1], [1, 3, 3]]])
    torch.testing.assert_close(shared * areas, whole)
    scores = smooth_model(images).softmax(1)[:, 1] - smooth_model(removed(images)).softmax(1)[:, 1]
    torch.testing.assert_close(shared.sum((1, 2)), scores)


def removed(images):
    blank = images.clone()
    blank[:, 1][images[:, 0] >= 0] = 0
    return blank


def test_coalitions_are_keyed_by_seed_and_sample():
    table = tensors(2**11, 1)
    images, method = players(11, 3), KernelSHAP(game_model(table), NOTHING, pixels, samples=16, score="logit")
    maps = method(images, 0)
    assert not torch.equal(maps[0], maps[1])
    assert torch.equal(method(images, 0, sample_ids=torch.tensor([2, 0, 1])), maps[[2, 0, 1]])
    other = KernelSHAP(game_model(table), NOTHING, pixels, samples=16, score="logit", seed=1)
    assert not torch.equal(other(images, 0), maps)


def test_layouts_dtypes_modes_and_empty_batches():
    images = images_with_labels(MIXED)
    method = KernelSHAP(smooth_model, NOTHING, painted_labels)
    expected, kept = method(images, 0), images.clone()
    state = torch.get_rng_state()
    assert torch.equal(method(images.contiguous(memory_format=torch.channels_last), 0), expected)
    assert torch.equal(method(torch.stack([images, images], 4)[..., 0], 0), expected)
    with torch.inference_mode():
        assert torch.equal(method(images.clone(), 0), expected)
    assert torch.equal(method(images.clone().requires_grad_(), 0), expected)
    single = method(images.float(), 0)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(images, kept) and torch.equal(torch.get_rng_state(), state)
    assert method(images[:0], 0).shape == (0, 2, 3)
    assert method(images[:0], torch.zeros(0, 2, dtype=torch.int64)).shape == (0, 2, 2, 3)


def test_a_hundred_thousand_segments():
    images = torch.ones(1, 1, 320, 320, dtype=torch.float64)
    saliency = KernelSHAP(lambda x: x.sum((1, 2, 3))[:, None], NOTHING, pixels, samples=6, score="logit", max_batch=8)(images, 0)
    torch.testing.assert_close(saliency.sum(), torch.tensor(320.0**2, dtype=torch.float64))


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="KernelSHAP: expected samples even: each subset comes with its complement, got 7"):
        KernelSHAP(smooth_model, NOTHING, pixels, samples=7)
    with pytest.raises(ValueError, match=r"KernelSHAP: expected exact_up_to in \[1, 16\], got 17"):
        KernelSHAP(smooth_model, NOTHING, pixels, exact_up_to=17)
    with pytest.raises(TypeError, match="KernelSHAP: expected infill to be an Infill, got float"):
        KernelSHAP(smooth_model, 0.0, pixels)
    with pytest.raises(TypeError, match="KernelSHAP: expected segmenter to be callable, got Tensor; pass a function"):
        KernelSHAP(smooth_model, NOTHING, MIXED)
    with pytest.raises(ValueError, match="KernelSHAP: expected score to be one of 'probability'"):
        KernelSHAP(smooth_model, NOTHING, pixels, score="loss")
    with pytest.raises(ValueError, match="KernelSHAP: expected the segmenter's labels of shape"):
        KernelSHAP(smooth_model, NOTHING, lambda x: x[:, 0, 0].long())(images_with_labels(MIXED), 0)
