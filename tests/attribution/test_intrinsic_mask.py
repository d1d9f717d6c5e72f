"""Intrinsic masks: the published loss and rules by hand, where the mask ends up, label sets, planes, presets."""

from __future__ import annotations

import math

import pytest
import torch

from saliency_ext.attribution import IntrinsicMask
from saliency_ext.infill import OtherImage
from saliency_ext.ops import philox_uniform
from saliency_ext.rng_streams import MASK_INFILL
from tests.attribution.gradient_nets import make_images
from tests.attribution.mask_cases import PATCHES, SHAPE, intrinsic, make_reference_images, patch_model
from tests.backends import generator

SIZE = SHAPE[1] * SHAPE[2]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", ["prob_ce", "nll", "abs"])
def test_equals_a_plain_loop(loss, reduction):
    """torch's own Adam, interpolation and autograd, with the same draws."""
    image, reference_images, ids = make_images(1, SHAPE, dtype=torch.float64), make_reference_images().double(), torch.tensor([9])
    method = IntrinsicMask(
        patch_model, reference_images, steps=70, infills=3, area=0.4, variation=5.0, loss=loss, reduction=reduction, seed=3
    )
    labels = [patch_model(image).softmax(1)[0, 1]]
    w = torch.zeros(1, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([w], lr=0.05)
    for step in range(70):
        words = philox_uniform((2, 64, 3), ids, seed=3, stream=MASK_INFILL + step // 64)[0, :, step % 64].double()
        drawn = reference_images[((words[0] * 2**24).long() * 2**24 + (words[1] * 2**24).long()) % 5]
        mask = torch.nn.functional.interpolate(w.sigmoid(), size=SHAPE[1:], mode="bilinear")
        g = patch_model(mask * image + (1 - mask) * drawn).softmax(1).mean(0)
        model = {"prob_ce": -g.log_softmax(0)[1], "nll": -g[1].log(), "abs": (g[1] - labels[0]).abs()}[loss]
        smooth = mask.diff(dim=3).square().sum() + mask.diff(dim=2).square().sum()
        total = model + (0.4 * mask.sum() + 5.0 * smooth) / (SIZE if reduction == "mean" else 1)
        adam.zero_grad()
        total.backward()
        adam.step()
    expected = torch.nn.functional.interpolate(w.detach().sigmoid(), size=SHAPE[1:], mode="bilinear")[:, 0]
    result = method.masks(image, 1, sample_ids=ids)
    torch.testing.assert_close(result.saliency, expected, rtol=1e-9, atol=1e-9)
    assert result.last_loss.item() == pytest.approx(total.item(), rel=1e-9)


def test_span_of_the_published_loss_is_one():
    """-log_softmax of probabilities: from log(e + K - 1) - 1 where g = 1 to log(e + K - 1) where g = 0."""
    k, reference_images = 3, make_reference_images()
    for own, expected in ((1.0, math.log(math.e + k - 1) - 1), (0.0, math.log(math.e + k - 1))):
        logits = torch.tensor([own, 0.5 - own / 2, 1 - own])
        sure = 60 * (logits / logits.max()).round() + 0 * logits
        method = IntrinsicMask(
            lambda x, sure=sure: x.sum((1, 2, 3))[:, None] * 0 + sure, reference_images, steps=1, area=0.0, variation=0.0
        )
        assert method.masks(make_images(1, SHAPE), 0).first_loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("target", [0, 1, 2])
def test_finds_the_patch_of_the_target(target):
    """Bright patches on a bank of zeros: the mask is where the target's patch is."""
    images, reference_images = torch.ones(1, *SHAPE), torch.zeros(1, *SHAPE)
    saliency = IntrinsicMask(patch_model, reference_images, steps=200, infills=1, scale=2, area=0.5, variation=1.0)(
        images, target
    )[0]
    inside = torch.zeros(SHAPE[1:], dtype=torch.bool)
    inside[PATCHES[target]] = True
    assert saliency[inside].mean() > 3 * saliency[~inside].mean()
    assert inside.flatten()[saliency.argmax()]


def test_variation_and_area_pull_their_way():
    images, rng = make_images(2, SHAPE), generator()
    noisy = torch.randn(3, *SHAPE, generator=rng)

    def model(inputs):
        return torch.einsum("nchw,kchw->nk", inputs, noisy) / 4

    def mask(**options):
        return intrinsic(model, scale=1, steps=80, **options)(images, 0)

    def rough(saliency):
        return saliency.diff(dim=1).square().sum() + saliency.diff(dim=2).square().sum()

    assert rough(mask(variation=100.0)) < 0.3 * rough(mask(variation=0.0))
    assert rough(intrinsic(model, scale=4, steps=80, variation=0.0)(images, 0)) < 0.3 * rough(mask(variation=0.0))
    assert mask(area=3.0).mean() < mask(area=0.0).mean()


def test_label_set_is_a_model_of_its_own():
    images = make_images(2, SHAPE)
    whole = intrinsic(lambda x: patch_model(x)[:, [2, 0]])(images, 0)
    assert torch.equal(intrinsic(labels=(2, 0))(images, 2), whole)
    with pytest.raises(ValueError, match=r"expected target to be among the labels \(2, 0\), got \[1\]"):
        intrinsic(labels=(2, 0))(images, torch.tensor([2, 1]))
    with pytest.raises(ValueError, match=r"expected labels in \[0, 3\), got 7"):
        intrinsic(labels=(7, 0))(images, 0)


def test_planes_share_the_pixel():
    result = intrinsic(planes=3, steps=60).masks(make_images(2, SHAPE), 0)
    assert result.areas.shape == (2, 3)
    torch.testing.assert_close(result.areas.sum(1), result.saliency.double().mean((1, 2)), rtol=1e-5, atol=1e-6)
    assert result.saliency.max() < 1


def test_scales_that_do_not_divide_the_side():
    for scale, cells in ((5, (3, 2)), (7, (2, 2)), (100, (1, 1))):
        saliency = intrinsic(scale=scale, steps=5)(make_images(1, SHAPE), 0)[0]
        assert torch.linalg.matrix_rank(saliency.double(), tol=1e-4) <= min(cells)
    assert intrinsic(scale=100, steps=5)(make_images(1, SHAPE), 0)[0].unique().numel() == 1


def test_presets():
    method = IntrinsicMask.preset("gupta2022", patch_model, make_reference_images(), steps=7)
    assert (method.steps, method.infills, method.area, method.variation, method.reduction) == (7, 10, 2e-5, 0.01, "sum")
    assert (method.scale, method.rate, method.loss) == (4, 0.05, "prob_ce")
    plain = IntrinsicMask.preset("gupta2022_unsmoothed", patch_model, make_reference_images())
    assert (plain.steps, plain.scale, plain.variation) == (2000, 1, 0.0)


@pytest.mark.parametrize("loss", ["prob_ce", "nll", "abs"])
def test_a_model_that_writes_on_its_inputs(loss):
    images = make_images(2, SHAPE)
    kept = images.clone()

    def writes(inputs):
        logits = patch_model(inputs.clone())
        inputs.detach().mul_(2)
        return logits

    expected = intrinsic(loss=loss, steps=5)(images, 0)
    assert torch.equal(intrinsic(writes, loss=loss, steps=5)(images, 0), expected)
    assert torch.equal(images, kept)


def test_errors():
    for options, text in (
        ({"steps": 0}, r"IntrinsicMask: expected steps in \[1, 67108864\], got 0"),
        ({"scale": 0}, r"expected scale in \[1, 2147483647\], got 0"),
        ({"infills": 0}, r"expected infills in \[1, 65536\], got 0"),
        ({"area": -1.0}, "expected area >= 0 and finite, got -1.0"),
        ({"variation": float("nan")}, "expected variation >= 0 and finite, got nan"),
        ({"loss": "ce"}, "expected loss to be one of 'prob_ce', 'nll', 'abs', got 'ce'"),
        ({"reduction": "max"}, "expected reduction to be one of 'mean', 'sum', got 'max'"),
        ({"labels": (1, 1)}, r"expected labels to be distinct classes, at least one, got \(1, 1\)"),
        ({"planes": 0}, r"expected planes in \[1, 1024\], got 0"),
        ({"seed": -1}, r"expected seed in \[0, .*\], got -1"),
    ):
        with pytest.raises(ValueError, match=text):
            intrinsic(**options)
    with pytest.raises(ValueError, match="expected reference_images to hold at least one image, got none"):
        IntrinsicMask(patch_model, make_reference_images(0))
    with pytest.raises(ValueError, match=r"expected reference_images of the inputs' shape \(M, 3, 12, 10\), got \(5, 3, 12, 9\)"):
        IntrinsicMask(patch_model, make_reference_images()[..., :9])(make_images(1, SHAPE), 0)
    with pytest.raises(ValueError, match="IntrinsicMask.preset: expected name to be one of"):
        IntrinsicMask.preset("paper", patch_model, make_reference_images())


def test_an_infill_of_the_same_seed_draws_apart():
    ids = torch.arange(2)
    first = OtherImage(make_reference_images(), seed=0).fill(make_images(2, SHAPE), ids)
    assert not torch.equal(first, OtherImage(make_reference_images(), seed=0).fill(make_images(2, SHAPE), ids, MASK_INFILL))
