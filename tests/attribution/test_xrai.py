"""XRAI: regions have the mean of their pixels, in the order a plain loop would take them."""

import math

import pytest
import skimage.morphology
import torch
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

from saliency_ext.attribution import Gradient
from saliency_ext.attribution._region_growing import dilated_segments, grow_regions
from saliency_ext.attribution.integrated_gradients import IntegratedGradients
from saliency_ext.attribution.xrai import XRAI
from saliency_ext.infill.image_extreme import ImageExtreme
from saliency_ext.segmentation import felzenszwalb, given, segment_counts
from tests.attribution.games import tensors

SMALL = {"scales": (20.0, 60.0), "min_size": 6, "dilation": 1.5, "min_gain": 4, "scale_aware": False}


def pictures(n=3, side=24, seed=0):
    return torch.nn.functional.interpolate(tensors(n, 3, 5, 5, seed=seed), size=(side, side + 2), mode="bilinear") * 4


def brightness(inputs, classes):
    return inputs.sum(1) * (classes + 1)[:, None, None]


def model(images):
    return images.flatten(2).mean(2)


def naive(attribution, masks, min_gain):
    """The greedy loop, pixel by pixel."""
    covered, result, order = torch.zeros_like(masks[0]), torch.zeros_like(attribution), []
    while True:
        best, best_mean = None, -math.inf
        for number, mask in enumerate(masks):
            new = mask & ~covered
            if int(new.sum()) >= min_gain and attribution[new].mean() > best_mean + 1e-12:
                best, best_mean = number, attribution[new].mean()
        if best is None:
            break
        result[masks[best] & ~covered] = best_mean
        covered |= masks[best]
        order.append(best)
    if not covered.all():
        result[~covered] = attribution[~covered].mean()
    return result, order


@settings(max_examples=40, deadline=None)
@examples(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 6), st.floats(0.05, 0.6))
def test_growing_is_the_naive_loop(seed, count, min_gain, share):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(count, 6, 7, generator=generator) < share
    attribution = torch.rand(6, 7, generator=generator, dtype=torch.float64) - 0.5
    result, order = grow_regions(attribution, masks, min_gain)
    expected, wanted = naive(attribution, masks, min_gain)
    assert order == wanted
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(result.sum(), attribution.sum(), rtol=0, atol=1e-12)


def test_disjoint_segments_are_taken_in_order_of_their_means():
    labels = given((torch.rand(1, 8, 9, generator=torch.Generator().manual_seed(0)) * 7).long())[0]
    masks, attribution = dilated_segments(labels, 0.0), tensors(8, 9)
    result, order = grow_regions(attribution, masks, 1)
    means = torch.stack([attribution[mask].mean() for mask in masks])
    assert order == means.argsort(descending=True).tolist()
    torch.testing.assert_close(result, means[labels])


def test_small_gains_are_passed_over_and_the_rest_has_its_own_mean():
    attribution = torch.tensor([[9.0, 5.0, 5.0, 1.0, 3.0, -4.0]], dtype=torch.float64)
    masks = torch.tensor([[[1, 0, 0, 0, 0, 0]], [[1, 1, 1, 0, 0, 0]], [[0, 0, 1, 1, 0, 0]]]) > 0
    result, order = grow_regions(attribution, masks, 2)
    assert order == [1] and result.tolist() == [[19 / 3, 19 / 3, 19 / 3, 0, 0, 0]]
    result, order = grow_regions(attribution, masks, 1)
    assert order == [0, 1, 2] and result.tolist() == [[9, 5, 5, 1, -0.5, -0.5]]
    result, order = grow_regions(attribution, masks, 7)
    assert order == [] and (result - 19 / 6).abs().max() < 1e-15


def test_the_first_of_equal_means_is_taken():
    masks = torch.tensor([[[0, 1, 1]], [[1, 1, 0]]]) > 0
    assert grow_regions(torch.ones(1, 3, dtype=torch.float64), masks, 1)[1] == [0, 1]


@pytest.mark.parametrize("radius", [0, 1, 2, 5])
def test_dilation_is_by_a_disc(radius):
    labels = felzenszwalb(pictures(1), scale=20.0, min_size=6)[0]
    masks = dilated_segments(labels, float(radius))
    disc = skimage.morphology.disk(radius)
    for number, mask in enumerate(masks):
        expected = skimage.morphology.dilation((labels == number).numpy(), disc)
        assert torch.equal(mask, torch.from_numpy(expected))
    assert torch.equal(dilated_segments(torch.zeros(2, 3, dtype=torch.int64), 9.0), torch.ones(1, 2, 3) > 0)


def test_the_map_sums_to_the_pixel_attribution_and_consists_of_regions():
    images = pictures()
    saliency = XRAI(model, pixel_attribution=brightness, **SMALL)(images, torch.tensor([0, 1, 2]))
    pixels = brightness(images, torch.tensor([0, 1, 2]))
    torch.testing.assert_close(saliency.sum((1, 2)), pixels.sum((1, 2)))
    regions = [len(image.unique()) for image in saliency]
    assert min(regions) > 2 and max(regions) < 80
    assert saliency[0].max() <= pixels[0].max() and saliency[0].min() >= pixels[0].min()


def test_it_is_segments_dilation_and_growth():
    images = pictures(1)
    levels = [felzenszwalb(images, scale, 0.8, 6)[0] for scale in (10.0, 30.0)]  # half: images on [0, 1], not [-1, 1]
    assert segment_counts(levels[0][None]) > segment_counts(levels[1][None])
    masks = torch.cat([dilated_segments(level, 1.5) for level in levels])
    expected, _ = naive(brightness(images, torch.tensor([0]))[0], masks, 4)
    torch.testing.assert_close(XRAI(model, pixel_attribution=brightness, **SMALL)(images, 0)[0], expected)


def test_sizes_follow_the_image():
    images = torch.nn.functional.interpolate(tensors(1, 3, 7, 7), size=(112, 112), mode="bilinear")
    half = {"scales": (25.0, 300.0), "sigma": 0.4, "min_size": 38, "dilation": 2.5, "min_gain": 12, "scale_aware": False}
    published = XRAI(model, pixel_attribution=brightness, scales=(50.0, 600.0))
    assert torch.equal(published(images, 0), XRAI(model, pixel_attribution=brightness, **half)(images, 0))
    full = torch.nn.functional.interpolate(images, size=(224, 224), mode="bilinear")
    plain = XRAI(model, pixel_attribution=brightness, scales=(600.0,), scale_aware=False)
    assert torch.equal(XRAI(model, pixel_attribution=brightness, scales=(600.0,))(full, 0), plain(full, 0))


def test_default_pixels_are_integrated_gradients_from_black_and_white():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 14 * 16, 3)
    ).double()
    net, images = net.eval(), pictures(2, 16)
    ends = IntegratedGradients(net, (ImageExtreme("min"), ImageExtreme("max")), channels="max")
    for target in (1, torch.tensor([[0, 2], [1, 1]])):
        torch.testing.assert_close(XRAI(net, **SMALL)(images, target), XRAI(net, pixel_attribution=ends, **SMALL)(images, target))
    other = XRAI(net, pixel_attribution=Gradient(net), **SMALL)(images, 1)
    assert not torch.allclose(other, XRAI(net, **SMALL)(images, 1))


def test_a_batch_is_the_single_images_and_several_targets_the_single_ones():
    images, targets = pictures(), torch.tensor([[0, 2], [1, 0], [2, 1]])
    method = XRAI(model, pixel_attribution=brightness, **SMALL)
    together, kept = method(images, targets), images.clone()
    assert together.shape == (3, 2, 24, 26) and together.dtype == torch.float64
    for n in range(3):
        for t in range(2):
            assert torch.equal(method(images[n : n + 1], targets[n : n + 1, t])[0], together[n, t])
    assert torch.equal(method(images.contiguous(memory_format=torch.channels_last), targets), together)
    with torch.inference_mode():
        assert torch.equal(method(images.clone(), targets), together)
    assert torch.equal(images, kept)


def test_flat_images_tiny_images_and_empty_batches():
    method = XRAI(model, pixel_attribution=brightness)
    flat = method(torch.ones(1, 3, 32, 32), 0)
    assert (flat - 3).abs().max() < 1e-5
    assert method(torch.ones(1, 3, 1, 1), 0).tolist() == [[[3.0]]]
    assert method(torch.zeros(0, 3, 8, 8), 0).shape == (0, 8, 8)
    constant = XRAI(model, pixel_attribution=lambda x, classes: torch.zeros_like(x[:, 0]), **SMALL)(pictures(), 0)
    assert constant.abs().max() == 0


def test_an_attribution_that_is_not_finite_stays_alone():
    images = pictures()
    expected = XRAI(model, pixel_attribution=brightness, **SMALL)(images, 0)
    broken = images.clone()
    broken[0, 0, 3, 4] = torch.nan
    result = XRAI(model, pixel_attribution=brightness, **SMALL)(broken, 0)
    assert result[0].isnan().all() and len(images) > 1 and torch.equal(result[1:], expected[1:])
    whole = XRAI(model, pixel_attribution=lambda x, classes: torch.ones_like(x[:, 0]), **SMALL)(broken, 0)
    assert whole[0].isnan().all() and whole[1:].isfinite().all(), "segments of an image that cannot be seen say nothing"


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="XRAI: expected scales to hold at least one, got none"):
        XRAI(model, pixel_attribution=brightness, scales=())
    with pytest.raises(ValueError, match="XRAI: expected scales >= 0 and finite, got -1"):
        XRAI(model, pixel_attribution=brightness, scales=(-1.0,))
    with pytest.raises(ValueError, match=r"XRAI: expected min_gain in \[1, 2147483647\], got 0"):
        XRAI(model, pixel_attribution=brightness, min_gain=0)
    with pytest.raises(ValueError, match="XRAI: expected dilation >= 0 and finite, got nan"):
        XRAI(model, pixel_attribution=brightness, dilation=math.nan)
    with pytest.raises(ValueError, match="expected its maps of shape"):
        XRAI(model, pixel_attribution=lambda x, classes: x[:, 0, 0])(pictures(), 0)
    with pytest.raises(TypeError, match="expected thing to be a method, got int"):
        XRAI(model, pixel_attribution=3)
