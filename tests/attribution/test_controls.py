"""Controls: hand examples, the call shape without a model, random maps that belong to their sample."""

from __future__ import annotations

import pytest
import torch

from saliency_ext.attribution.base import Method
from saliency_ext.attribution.controls import Centre, Edge, GreyLevel, RandomControl
from saliency_ext.infill import UniformNoise
from saliency_ext.perturbation.orders import RandomOrder
from tests.attribution.gradient_nets import make_images

ALL = (RandomControl, Centre, Edge, GreyLevel)
NAMES = {RandomControl: "random", Centre: "centre", Edge: "edge", GreyLevel: "grey_level"}


# ---- hand examples


def test_centre_by_hand():
    """3 x 3: distances 0, 1 and the corner's sqrt 2. 2 x 4: middle at (0.5, 1.5), corner at sqrt(0.25 + 2.25)."""
    side = 1 - 1 / 2**0.5
    three = Centre()(torch.zeros(1, 2, 3, 3), 0)[0]
    torch.testing.assert_close(three, torch.tensor([[0, side, 0], [side, 1, side], [0, side, 0]]))
    near = 1 - (0.5 / 2.5) ** 0.5
    row = torch.tensor([0.0, near, near, 0.0])
    torch.testing.assert_close(Centre()(torch.zeros(1, 2, 2, 4), 0)[0], torch.stack([row, row]))
    assert Centre()(torch.zeros(1, 2, 1, 1), 0).item() == 1


def test_edge_by_hand():
    """Rows rise by 3, columns by 4: slope 5 everywhere, also at the borders; the channels' mean counts, both signs alike."""
    rows, columns = torch.arange(4.0)[:, None], torch.arange(5.0)[None]
    ramp = (3 * rows + 4 * columns)[None, None]
    expected = torch.full((1, 4, 5), 5.0)
    torch.testing.assert_close(Edge()(ramp, 0), expected)
    torch.testing.assert_close(Edge()(-ramp, 0), expected)
    torch.testing.assert_close(Edge()(torch.cat([2 * ramp, 0 * ramp], 1), 0), expected)
    assert not Edge()(torch.cat([ramp, -ramp], 1), 0).any()
    line = torch.tensor([[[[0.0, 0.0, 6.0, 6.0]]]])  # one-sided at the ends: 0; (6 - 0) / 2 on both sides of the step
    assert Edge()(line, 0).tolist() == [[[0, 3, 3, 0]]] and Edge()(line.mT, 0).tolist() == [[[0], [3], [3], [0]]]
    assert Edge()(torch.ones(2, 3, 1, 1), 0).tolist() == [[[0]], [[0]]]


def test_grey_level_is_the_mean_over_channels():
    images = torch.tensor([[[[3.0, -6.0]], [[0.0, 0.0]], [[3.0, 0.0]]]])
    assert GreyLevel()(images, 0).tolist() == [[[2, -2]]]


def test_random_is_uniform_and_keyed():
    images, ids = make_images(64, (3, 16, 12)), torch.arange(64) * 2**30
    saliency = RandomControl(seed=5)(images, 0, sample_ids=ids)
    assert saliency.min() >= 0 and saliency.max() < 1
    count = saliency.numel()
    assert saliency.mean().item() == pytest.approx(0.5, abs=4 * (1 / 12 / count) ** 0.5)
    assert saliency.var().item() == pytest.approx(1 / 12, rel=0.02)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(RandomControl(seed=5)(-images[order], 3, sample_ids=ids[order]), saliency[order])
    assert not torch.equal(saliency[0], saliency[1])
    assert not torch.equal(RandomControl(seed=6)(images, 0, sample_ids=ids), saliency)
    assert torch.equal(RandomControl()(images, 0), RandomControl(0)(images, 0, sample_ids=torch.arange(64)))


def test_random_is_independent_of_infills_and_orders_of_the_same_seed():
    images, ids = torch.zeros(8, 1, 32, 32), torch.arange(8)
    saliency = RandomControl(seed=3)(images, 0).flatten()
    infill = UniformNoise(0.0, 1.0, seed=3).fill(images, ids).flatten()
    order = RandomOrder((32, 32), ids, seed=3).of(slice(0, 8)).flatten().float()
    for other in (infill, order):
        assert abs(torch.corrcoef(torch.stack([saliency, other]))[0, 1]) < 4 / saliency.numel() ** 0.5


# ---- the call shape


@pytest.mark.parametrize("kind", ALL)
def test_called_like_any_method_without_a_model(kind):
    images, control = make_images(3), kind()
    assert isinstance(control, Method)
    assert (control.info.name, control.info.family, control.info.signed) == (NAMES[kind], "control", False)
    one = control(images, 1)
    assert one.shape == (3, 8, 6) and one.dtype == torch.float32 and not one.requires_grad
    for target in ("predicted", "top-1", torch.tensor([4, 0, 1]), torch.tensor([[7], [0], [2]]), 10**6):
        assert torch.equal(control(images, target).view(3, 8, 6), one)
    for target in ("top-3", torch.tensor([[0, 1, 2]] * 3)):
        several = control(images, target)
        assert several.shape == (3, 3, 8, 6) and all(torch.equal(several[:, t], one) for t in range(3))
    assert torch.equal(control(images, "top-1"), one[:, None])
    assert control(images.double(), 0).dtype == torch.float64


@pytest.mark.parametrize("kind", ALL)
def test_images_are_kept_and_do_not_share(kind):
    images = make_images(3, (16, 8, 6))  # so many channels that their layout could change the order of a sum
    before, ids, state = images.clone(), torch.tensor([5, 1, 2]), torch.get_rng_state()
    saliency = kind()(images, torch.tensor([[0, 1]] * 3), sample_ids=ids)
    for other in (images.to(memory_format=torch.channels_last), images.repeat_interleave(2, 3)[..., ::2]):
        assert torch.equal(kind()(other, 0, sample_ids=ids), saliency[:, 0])
    assert torch.equal(kind()(images[1:2], 0, sample_ids=ids[1:2]), saliency[1:2, 0])
    kept = saliency.clone()
    saliency[0, 0] += 1
    assert torch.equal(saliency[0, 1], kept[0, 1]) and torch.equal(saliency[1:], kept[1:])
    assert torch.equal(images, before) and torch.equal(torch.get_rng_state(), state)
    with torch.inference_mode():
        assert torch.equal(kind()(images.clone(), 0, sample_ids=ids), kept[:, 0])


@pytest.mark.parametrize("kind", ALL)
def test_empty_batch_and_errors(kind):
    name, control = kind.__name__, kind()
    assert control(make_images(0), "top-2").shape == (0, 2, 8, 6) and control(make_images(0), 1).shape == (0, 8, 6)
    for target in (0, "predicted"):
        with pytest.raises(ValueError, match=rf"{name}: expected inputs of shape \(N, C, H, W\), got \(3, 8, 6\)"):
            control(make_images()[0], target)
        with pytest.raises(TypeError, match=f"{name}: expected inputs of dtype float32 or float64, got int64"):
            control(make_images().long(), target)
        with pytest.raises(TypeError, match=f"{name}: expected inputs to be a torch.Tensor, got list"):
            control([1], target)
    for target in ("top-0", "top-", "best"):
        with pytest.raises(ValueError, match=f"'top-k' with a number for k, got '{target}'"):
            control(make_images(), target)
    with pytest.raises(ValueError, match=f"{name}: expected target >= 0, got -1"):
        control(make_images(), -1)
    with pytest.raises(ValueError, match=rf"{name}: expected sample_ids of shape \(N,\) = \(4,\), got \(3,\)"):
        control(make_images(), 0, sample_ids=torch.arange(3))


def test_random_control_needs_a_seed_in_range():
    with pytest.raises(ValueError, match=r"RandomControl: expected seed in \[0, .*\], got -1"):
        RandomControl(-1)
    with pytest.raises(TypeError, match="RandomControl: expected seed to be an int, got float"):
        RandomControl(0.5)
