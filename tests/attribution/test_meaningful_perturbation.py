"""Meaningful perturbation: a plain loop, limits of its weights, polarity of both modes, the starting disc, presets."""

from __future__ import annotations

import pytest
import torch

from saliency_ext.attribution import MeaningfulPerturbation
from saliency_ext.infill import Blur, Constant
from saliency_ext.ops import Resizing, philox_normal, philox_uniform
from saliency_ext.rng_streams import MASK_JITTER, MASK_NOISE
from tests.attribution.gradient_nets import Watched, make_images
from tests.attribution.mask_cases import PATCHES, SHAPE, meaningful, patch_model

CELLS = 6 * 5  # of two pixels


def probability(inputs, target):
    return patch_model(inputs).softmax(1)[:, target]


@pytest.mark.parametrize("mode", ["deletion", "preservation"])
def test_equals_a_plain_loop(mode):
    """torch's own Adam and autograd, with the same shifts and noise."""
    image, ids, sign = make_images(1, SHAPE, dtype=torch.float64), torch.tensor([4]), -1 if mode == "deletion" else 1
    method = meaningful(mode=mode, steps=66, jitter=3, noise=0.1, blur=0.7, area=0.3, variation=0.6, seed=2)
    axes = Resizing.bilinear(SHAPE[1:], 2, sigma=0.7, dtype=torch.float64)
    padded = torch.nn.functional.pad(image, (1, 2, 1, 2), mode="reflect")
    m = torch.ones(6, 5, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([m], lr=0.1)
    for step in range(66):
        words = philox_uniform((2, 64, 1), ids, seed=2, stream=MASK_JITTER + step // 64)[0, :, step % 64, 0]
        top, left = (words * 4).long().tolist()
        noise = 0.1 * philox_normal(SHAPE, ids, seed=2, stream=MASK_NOISE + step).double()
        mask = axes.down.T @ m @ axes.across
        shown = mask * padded[..., top : top + SHAPE[1], left : left + SHAPE[2]] + noise
        pad = torch.nn.functional.pad
        squares = pad(m.diff(dim=1), (0, 1)).square() + pad(m.diff(dim=0), (0, 0, 0, 1)).square()
        smooth = torch.where(squares > 0, squares.clamp(min=1e-300) ** 1.5, 0).sum()
        total = -sign * probability(shown, 0)[0] + (sign * 0.3 * m.sum() + 0.6 * smooth) / CELLS
        adam.zero_grad()
        total.backward()
        adam.step()
        with torch.no_grad():
            m.clamp_(0, 1)
    mask = (axes.down.T @ m @ axes.across).detach()
    result = method.masks(image, 0, sample_ids=ids)
    torch.testing.assert_close(result.saliency[0], 1 - mask if mode == "deletion" else mask, rtol=1e-7, atol=1e-7)
    constant = 0.3 if mode == "deletion" else 0.0
    assert result.last_loss.item() == pytest.approx(total.item() + constant, rel=1e-9)


@pytest.mark.parametrize("mode", ["deletion", "preservation"])
def test_the_map_is_high_where_the_target_is(mode):
    images = torch.ones(1, *SHAPE)
    saliency = meaningful(mode=mode, steps=120, area=0.4, variation=0.01)(images, 1)[0]
    inside = torch.zeros(SHAPE[1:], dtype=torch.bool)
    inside[PATCHES[1]] = True
    assert saliency[inside].mean() > 2 * saliency[~inside].mean()


def test_limits_of_the_area_weight():
    images = make_images(2, SHAPE).abs()
    assert (meaningful(area=1e4)(images, 0) < 1e-6).all(), "nothing is deleted"
    free = meaningful(area=0.0, variation=0.0, steps=200)
    start, end = probability(images, 0), probability(images * (1 - free(images, 0))[:, None], 0)
    assert (end <= start).all() and (end <= probability(0 * images, 0) + 0.02).all(), "down to the infill's score or below"


def test_disc_start_deletes_the_middle():
    """A model that reads the middle: a small disc is enough; the cells outside it are whole."""

    def middle(inputs):
        return torch.stack([3 * inputs[..., 15:17, 15:17].mean((1, 2, 3)), 0 * inputs[:, 0, 0, 0]], 1)

    images, disc = torch.ones(1, 1, 32, 32), MeaningfulPerturbation.preset
    method = disc("fong2017", middle, Constant(0.0), steps=1, rate=1e-9, scale=4, blur=0.0, jitter=0)
    saliency = method(images, 0)[0]
    assert saliency[16, 16] > 0.8 and saliency[0, 0] < 0.01
    larger = disc("fong2017", lambda x: middle(x) + middle(x[..., :12].repeat(1, 1, 1, 3)), Constant(0.0), steps=1, rate=1e-9)
    assert larger(images, 0).mean() > saliency.mean()


def test_costs_a_forward_per_step():
    watched = Watched(patch_model)
    meaningful(watched, steps=9)(make_images(3, SHAPE), 0)
    assert watched.batches == [3] * 9


def test_presets():
    authors = MeaningfulPerturbation.preset("fong2017", patch_model)
    assert (authors.steps, authors.area, authors.rule.variation, authors.reduction) == (300, 1e-4, 1e-2, "sum")
    assert (authors.rule.kind, authors.rule.beta, authors.blur, authors.jitter, authors.start) == (
        "isotropic",
        3.0,
        5.0,
        4,
        "disc",
    )
    assert authors.infill == Blur(10.0) and authors.rule.rate == 0.1
    port = MeaningfulPerturbation.preset("jacobgil", patch_model, steps=5)
    assert (port.steps, port.area, port.rule.variation, port.reduction) == (5, 0.01, 0.2, "mean")
    assert (port.rule.kind, port.noise, port.jitter, port.start) == ("anisotropic", 0.2, 0, "ones")


def test_errors():
    for options, text in (
        ({"mode": "both"}, "MeaningfulPerturbation: expected mode to be one of 'deletion', 'preservation', got 'both'"),
        ({"area": -0.1}, "expected area >= 0 and finite, got -0.1"),
        ({"scale": 0}, r"expected scale in \[1, 2147483647\], got 0"),
        ({"jitter": -1}, r"expected jitter in \[0, 32768\], got -1"),
        ({"beta": 0.0}, "expected beta > 0 and finite, got 0.0"),
        ({"start": "disc", "mode": "preservation"}, "expected start 'ones' with mode='preservation', got 'disc'"),
    ):
        with pytest.raises(ValueError, match=text):
            meaningful(**options)
    with pytest.raises(TypeError, match="MeaningfulPerturbation: expected infill to be an Infill, got float"):
        MeaningfulPerturbation(patch_model, 0.0)
    with pytest.raises(ValueError, match="expected jitter below the sides 12 and 10 of the image, got 10"):
        meaningful(jitter=10)(make_images(1, SHAPE), 0)
    with pytest.raises(ValueError, match=r"expected target in \[0, 3\), got 3"):
        meaningful(start="disc")(make_images(1, SHAPE), 3)
