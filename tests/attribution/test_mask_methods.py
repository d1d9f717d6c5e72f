"""What the methods that optimise a mask have in common: independence, keyed draws, statuses, manners, flat memory."""

from __future__ import annotations

import pytest
import torch

from tests.attribution.gradient_nets import Watched, left_as_it_was, make_images, relu_net
from tests.attribution.mask_cases import METHODS, SHAPE, make_reference_images, patch_model
from tests.backends import same_bits

every = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)


@every
def test_batch_mates_do_not_matter(make):
    """Bit-equal: alone, in another order, with other targets beside, in slices of another size."""
    images, ids, classes = make_images(4, SHAPE), torch.tensor([7, 2**40, 3, 8]), torch.tensor([[0, 1], [2, 0], [1, 1], [0, 2]])
    together = make(max_batch=64)(images, classes, sample_ids=ids)
    assert together.shape == (4, 2, *SHAPE[1:])
    order = [2, 0, 3]
    for size in (1, 5, 64):
        same_bits(make(max_batch=size)(images[order], classes[order, 1], sample_ids=ids[order]), together[order, 1])


@every
def test_equal_seeds_give_equal_masks(make):
    images = make_images(2, SHAPE)
    same_bits(make()(images, 0), make()(images, 0))
    if make is not METHODS["extremal"]:  # which draws nothing
        assert not torch.equal(make(seed=1)(images, 0), make()(images, 0))
        assert not torch.equal(make()(images, 0, sample_ids=torch.tensor([5, 6])), make()(images, 0))


@every
def test_loss_falls_and_masks_are_shares(make):
    result = make(steps=120).masks(make_images(3, SHAPE).abs(), torch.tensor([[0, 1]] * 3))
    assert result.names == [["ok", "ok"]] * 3
    assert (result.last_loss < result.first_loss).all()
    assert result.saliency.min() >= 0 and result.saliency.max() <= 1
    assert result.first_loss.shape == (3, 2) and result.areas.shape == (3, 2, 1)


@every
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_that_image_only(make, bad):
    def model(inputs):
        with_status = inputs.amax((1, 2, 3)) > 50
        return patch_model(inputs) * torch.where(with_status, bad, 1.0)[:, None]

    images = make_images(3, SHAPE)
    expected = make()(images[[0, 2]], 0, sample_ids=torch.tensor([0, 2]))
    images[1] = 100.0
    result = make(model).masks(images, 0)
    assert result.names == ["ok", "nonfinite", "ok"]
    assert result.saliency[1].isnan().all()
    same_bits(result.saliency[[0, 2]], expected)


@every
def test_a_gradient_that_is_not_finite(make):
    """sqrt at 0: a finite loss with an infinite slope; times 0 it is NaN."""
    result = make(lambda x: (x * 0).sum((1, 2, 3))[:, None].sqrt().expand(-1, 3)).masks(make_images(2, SHAPE), 0)
    assert result.names == ["nonfinite", "nonfinite"]


@every
@pytest.mark.parametrize("kind", ["times zero", "parameters only"])
def test_a_gradient_of_zero_is_a_status(make, kind):
    weight = torch.ones(3, requires_grad=True)
    models = {"times zero": lambda x: 0 * patch_model(x), "parameters only": lambda x: weight.expand(len(x), 3) * 1}
    result = make(models[kind]).masks(make_images(2, SHAPE), 1)
    assert result.names == ["zero_gradient", "zero_gradient"]
    assert result.saliency.isfinite().all() and weight.grad is None


@every
def test_a_forward_that_detaches_is_refused(make):
    with pytest.raises(RuntimeError, match="the logits do not depend differentiably on the inputs; the forward detaches them"):
        make(lambda x: patch_model(x).detach())(make_images(1, SHAPE), 0)


@every
def test_classes_outside_the_model_are_refused(make):
    with pytest.raises(ValueError, match=r"expected target in \[0, 3\), got 3 at index 1"):
        make()(make_images(2, SHAPE), torch.tensor([0, 3]))


@every
def test_nothing_is_changed_and_surroundings_do_not_matter(make):
    model, images = relu_net(), make_images(2, (3, 8, 6))
    reference_images = make_reference_images(3, (3, 8, 6))
    options = {"steps": 5}
    method = make(model, **options)
    if hasattr(method, "references"):
        method = type(method)(model, reference_images, steps=5)
    with left_as_it_was(model, images, reference_images):
        expected = method(images, 1)
    with torch.no_grad():
        same_bits(method(images, 1), expected)
    with torch.inference_mode():
        same_bits(method(images.clone(), 1), expected)
    for other in (images.to(memory_format=torch.channels_last), images.repeat_interleave(2, 3)[..., ::2]):
        same_bits(method(other, 1), expected)
    assert method(images[:0], torch.zeros(0, 2, dtype=torch.int64)).shape == (0, 2, 8, 6)
    assert method.masks(images[:0], 0).names == []


@every
def test_memory_is_flat_in_steps(make):
    peaks = []
    for steps in (2, 10):
        watched = Watched(patch_model, memory=True)
        make(watched, steps=steps)(make_images(2, SHAPE), torch.tensor([[0, 1], [1, 2]]))
        peaks.append(watched.peak)
    assert peaks[1] - peaks[0] < 500


@every
def test_float64(make):
    images = make_images(2, SHAPE, dtype=torch.float64)
    saliency = make(steps=3)(images, 0)
    assert saliency.dtype == torch.float64
    if make is not METHODS["extremal"]:  # it starts with equal pixels, and rounding decides their ranks
        torch.testing.assert_close(make(steps=3)(images.float(), 0), saliency.float(), rtol=1e-3, atol=1e-4)
