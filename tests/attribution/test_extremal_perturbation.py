"""Extremal perturbation: a plain loop with a sort, the area that is reached, modes and rewards, the pyramid, presets."""

from __future__ import annotations

import pytest
import torch

from saliency_ext import reference
from saliency_ext.attribution import ExtremalPerturbation
from saliency_ext.attribution._blur_pyramid import BlurPyramid
from saliency_ext.ops import gaussian_blur
from tests.attribution.gradient_nets import Watched, make_images
from tests.attribution.mask_cases import PATCHES, SHAPE, extremal, patch_model


def pyramid(image, mask, largest, levels):
    """Level by level, pixel by pixel: between the two levels around M (L - 1)."""
    stack = torch.stack([gaussian_blur(image, largest * (1 - k / (levels - 1)))[0] for k in range(levels)])
    at = mask * (levels - 1)
    return sum((1 - (at - k).abs()).clamp(min=0) * stack[k] for k in range(levels))[None]


@pytest.mark.parametrize("mode", ["preserve", "delete", "dual"])
def test_equals_a_plain_loop(mode):
    """Five steps with torch's SGD, autograd, and a sort for the area. Later steps are chaotic."""
    image, area = make_images(1, SHAPE, dtype=torch.float64), 0.3
    method = extremal(areas=(area,), mode=mode, reward="contrastive", steps=6)
    p = torch.full((1, 1, 6, 5), 1.0, dtype=torch.float64, requires_grad=True)
    sgd = torch.optim.SGD([p], lr=0.01, momentum=0.9, dampening=0.9)
    for step in range(6):
        made = reference.smooth_maximum(p, SHAPE[1:], 2, 2.0)
        mask = made[0, 0, 2:-2, 2:-2]

        def reward(shown, step=step):
            logits = patch_model(pyramid(image, shown, 3.0, 4).flip(-1) if step % 2 else pyramid(image, shown, 3.0, 4))[0]
            return logits[1] - logits[[0, 2]].max()

        gain = (0 if mode == "delete" else reward(mask)) - (0 if mode == "preserve" else reward(1 - mask))
        ordered = made.flatten().sort().values
        wanted = (torch.arange(len(ordered)) >= int(len(ordered) * (1 - area))).double()
        total = -gain + 300 * 1.0035**step * (ordered - wanted).square().mean()
        last = mask.detach().clone()
        sgd.zero_grad()
        total.backward()
        sgd.step()
        with torch.no_grad():
            p.clamp_(0, 1)
    result = method.masks(image, 1)
    torch.testing.assert_close(result.saliency[0], last, rtol=1e-6, atol=1e-6)
    assert result.last_loss.item() == pytest.approx(total.item(), rel=1e-6)


def test_area_is_reached():
    areas = (0.1, 0.3, 0.5)
    result = extremal(areas=areas, steps=300).masks(make_images(2, SHAPE), 0)
    assert result.areas.shape == (2, 3)
    assert ((result.areas - torch.tensor(areas, dtype=torch.float64)).abs() < 0.03).all(), result.areas


def test_areas_do_not_matter_to_each_other():
    images = make_images(1, SHAPE)
    both, apart = extremal(areas=(0.2, 0.4))(images, 0), [extremal(areas=(a,))(images, 0) for a in (0.2, 0.4)]
    torch.testing.assert_close(both, (apart[0] + apart[1]) / 2, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mode", ["preserve", "delete", "dual"])
@pytest.mark.parametrize("operator", ["blur", "fade"])
def test_the_part_is_where_the_target_is(mode, operator):
    """Noise, which a blur removes, in one patch; the score is its energy."""
    images = torch.zeros(1, *SHAPE)
    images[..., 4:8, 5:9] = 2.0 - 4.0 * (torch.arange(16).view(4, 4) + torch.arange(4)[:, None]).remainder(2)

    def energy(inputs):
        return torch.stack([4 * inputs[..., 4:8, 5:9].square().mean((1, 2, 3)), 0 * inputs[:, 0, 0, 0]], 1)

    saliency = extremal(energy, areas=(0.15,), mode=mode, operator=operator, steps=150, mirror=False)(images, 0)[0]
    inside = torch.zeros(SHAPE[1:], dtype=torch.bool)
    inside[PATCHES[1]] = True
    assert saliency[inside].mean() > 2 * saliency[~inside].mean()


def test_pyramid():
    images = make_images(2, SHAPE, dtype=torch.float64)
    perturb, ones = BlurPyramid(images, 3.0, 4), torch.ones(2, 1, *SHAPE[1:], dtype=torch.float64)
    torch.testing.assert_close(perturb(ones)[0], images)
    torch.testing.assert_close(perturb(0 * ones)[0], gaussian_blur(images, 3.0))
    torch.testing.assert_close(perturb(ones / 3)[0], gaussian_blur(images, 2.0))
    masks = torch.rand(2, 3, *SHAPE[1:], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shown, slopes = perturb(masks)
    step = 1e-6
    torch.testing.assert_close((perturb(masks + step)[0] - shown) / step, slopes, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(shown[4:5], pyramid(images[1:], masks[1, 1], 3.0, 4))


def test_map_may_be_smoothed():
    images = make_images(1, SHAPE)
    plain, smooth = extremal()(images, 0), extremal(smooth=0.1)(images, 0)
    torch.testing.assert_close(smooth, gaussian_blur(plain[None], 1.0)[0])


def test_costs():
    for mode, forwards in (("preserve", 1), ("dual", 2)):
        watched = Watched(patch_model)
        extremal(watched, mode=mode, areas=(0.2, 0.4), steps=5)(make_images(3, SHAPE), 0)
        assert watched.batches == [6] * 5 * forwards


def test_presets():
    authors = ExtremalPerturbation.preset("torchray", patch_model, areas=(0.5,))
    assert (authors.steps, authors.rate, authors.momentum, authors.weight, authors.growth) == (800, 0.01, 0.9, 300.0, 1.0035)
    assert (authors.grid, authors.sigma, authors.largest_blur, authors.levels, authors.areas) == (7, 21.0, 20.0, 8, (0.5,))
    assert ExtremalPerturbation.preset("small", patch_model).grid == 2


def test_errors():
    for options, text in (
        ({"areas": (0.0,)}, r"ExtremalPerturbation: expected areas to be shares in \(0, 1\), at least one, got \(0.0,\)"),
        ({"areas": (-0.1, 0.5)}, "expected areas to be shares"),
        ({"areas": (1.0,)}, "expected areas to be shares"),
        ({"areas": ()}, "expected areas to be shares"),
        ({"mode": "keep"}, "expected mode to be one of 'preserve', 'delete', 'dual', got 'keep'"),
        ({"reward": "loss"}, "expected reward to be one of 'logit', 'contrastive', got 'loss'"),
        ({"sigma": 0.0}, "expected sigma > 0 and finite, got 0.0"),
        ({"levels": 1}, r"expected levels in \[2, 1024\], got 1"),
        ({"momentum": 1.0}, r"expected momentum in \[0, 1\), got 1.0"),
        ({"grid": 0}, r"expected grid in \[1, 32768\], got 0"),
    ):
        with pytest.raises(ValueError, match=text):
            extremal(**options)
    with pytest.raises(TypeError, match="expected areas to be a sequence of numbers, got 0.1"):
        extremal(areas=0.1)
