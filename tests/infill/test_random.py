"""Infills with a draw: what the pixels are, and how they are distributed."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from saliency_ext import reference
from saliency_ext.infill import GaussianNoise, OtherImage, Shuffle, UniformNoise
from saliency_ext.ops import philox_normal, philox_uniform
from tests.backends import close, same_bits
from tests.infill.cases import ids, images, reference_images
from tests.infill.test_fixed import rejects

MANY = torch.arange(4000)


# ---- noise


def test_uniform_noise_by_hand() -> None:
    # Counter 0, key 0 of Philox 4x32-10 is 6627e8d5 e169c58d bc57ac4c 9b00dbd8 [Salmon 2011]: 4 pixels of sample 0, draw 0.
    words = [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    filled = UniformNoise(-1, 3, seed=0).fill(torch.zeros(1, 1, 2, 2, dtype=torch.float64), torch.tensor([0]))
    assert filled.flatten().tolist() == [(word >> 8) / 2**24 * 4 - 1 for word in words]


def test_uniform_noise_per_channel() -> None:
    low, high = torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([1.0, 4.0, 2.5])
    filled = UniformNoise(low, high, seed=1).fill(images(shape=(3, 40, 40)), ids())
    assert torch.equal(filled.amin((0, 2, 3)) < low + 0.01, torch.ones(3, dtype=torch.bool))
    for values, bottom, top in zip(filled.unbind(1), low, high, strict=True):
        assert bottom <= values.min() and values.max() <= top
        assert abs(float((values - bottom).mean() / (top - bottom)) - 0.5) < 0.02
    expected = philox_uniform((3, 40, 40), ids(), seed=1, stream=2)
    drawn = UniformNoise(0, 1, seed=1).fill(images(shape=(3, 40, 40)), ids(), draw=2)
    same_bits(drawn, expected)


def test_uniform_noise_stays_below_its_upper_end() -> None:
    """In float32, 1e6 + u rounds up to 1e6 + 1 often, and the sum of -2.1 and 4.7 may pass 2.6."""
    for low, high in ((1e6, 1e6 + 1), (-2.1, 2.6)):
        filled = UniformNoise(low, high, seed=0).fill(torch.zeros(1, 1, 200, 200), ids(1))
        assert filled.max() <= torch.tensor(high) and filled.min() >= torch.tensor(low)


def test_gaussian_noise() -> None:
    mean, std = (0.5, -1.0, 0.0), (1.0, 2.0, 0.1)
    infill = GaussianNoise(mean, std, seed=1)
    filled = infill.fill(images(shape=(3, 40, 40)), ids(), draw=2)
    scale, shift = torch.tensor(std).view(1, 3, 1, 1), torch.tensor(mean).view(1, 3, 1, 1)
    close(filled, philox_normal((3, 40, 40), ids(), seed=1, stream=2) * scale + shift)
    assert torch.allclose(filled.std((0, 2, 3)), scale.flatten(), rtol=0.03)
    assert torch.allclose((filled.mean((0, 2, 3)) - shift.flatten()) / scale.flatten(), torch.zeros(3), atol=0.05)
    assert infill.parameters == {"mean": mean, "std": std, "seed": 1, "draws": 1}


def test_noise_keys() -> None:
    assert UniformNoise(0, 1, 0).key == UniformNoise([0.0, 0.0], (1.0, 1.0), 0).key
    assert GaussianNoise(0, 1, 0).key == GaussianNoise(0.0, torch.ones(3), 0).key
    uniform = {UniformNoise(low, high, 0).key for low, high in ((0, 1), (0, 2), (-1, 1), ((-1, 0), 1))}
    gaussian = {GaussianNoise(mean, std, 0).key for mean, std in ((0, 1), (0, 2), (1, 1), (0, (1, 2)))}
    assert len(uniform | gaussian) == 8


def test_noise_errors() -> None:
    one_colour = "; for one colour use Constant"
    wrong = "UniformNoise: expected low < high in each channel, got "
    rejects(ValueError, wrong + "1.0 and 1.0" + one_colour, UniformNoise, 1, 1, 0)
    rejects(ValueError, wrong + "2.0 and 1.0" + one_colour, UniformNoise, (0, 2), 1, 0)
    rejects(ValueError, wrong + "0.0 and -1.0" + one_colour, UniformNoise, 0, (1, -1), 0)
    numbers = "UniformNoise: expected low and high to hold as many numbers, got 2 and 3"
    rejects(ValueError, numbers, UniformNoise, (0, 0), (1, 1, 1), 0)
    rejects(TypeError, "UniformNoise: expected low to be a number, or one per channel, got NoneType", UniformNoise, None, 1, 0)
    rejects(ValueError, "UniformNoise: expected high finite, got inf", UniformNoise, 0, math.inf, 0)
    rejects(ValueError, "GaussianNoise: expected std > 0, got 0.0" + one_colour, GaussianNoise, 0, 0, 0)
    rejects(ValueError, "GaussianNoise: expected std > 0, got -1.0" + one_colour, GaussianNoise, 0, (1, -1), 0)
    rejects(ValueError, "GaussianNoise: expected mean finite, got nan", GaussianNoise, math.nan, 1, 0)
    channels = "{}: expected {} to hold C = 3 numbers, one per channel of the inputs, got 2; "
    channels += "one plain number stands for all channels"
    for infill, argument in ((UniformNoise(0, (1, 2), 0), "high"), (GaussianNoise(0, (1, 2), 0), "std")):
        rejects(ValueError, channels.format(type(infill).__name__, argument), infill.fill, images(), ids())


# ---- another image


def chosen(infill: OtherImage, sample_ids: Tensor, draw: int = 0) -> Tensor:
    """Which image of a bank that holds its own numbers."""
    return infill.fill(torch.zeros(len(sample_ids), 1, 1, 1), sample_ids, draw).flatten().long()


def numbered(count: int) -> Tensor:
    return torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1)


def test_other_image_by_hand() -> None:
    words = reference.philox_words(ids(), 1, 1, 2, seed=7, stream=3).view(-1, 2) >> 8
    expected = [(upper * 2**24 + lower) % 1000 for upper, lower in words.tolist()]
    assert chosen(OtherImage(numbered(1000), seed=7), ids(), draw=3).tolist() == expected


@pytest.mark.parametrize("count", [1, 2, 7])
def test_other_image_is_uniform(count: int) -> None:
    seen = chosen(OtherImage(numbered(count), seed=1), MANY).bincount(minlength=count).double()
    expected = len(MANY) / count
    assert len(seen) == count
    assert float(((seen - expected) ** 2 / expected).sum()) < 16.8  # 1 % point for 6 degrees of freedom; the draw is fixed


def test_other_image_is_an_image_of_the_bank() -> None:
    images_of_reference = reference_images()
    filled = OtherImage(images_of_reference, seed=1).fill(images(), ids())
    for image in filled:
        assert sum(torch.equal(image, other) for other in images_of_reference) == 1
    same_bits(filled[0], filled[3])  # the same sample id


def test_other_image_keys_follow_the_content() -> None:
    base = OtherImage(reference_images(), 0)
    assert base.key == OtherImage(reference_images().double(), 0).key
    assert base.key == OtherImage(reference_images().contiguous(memory_format=torch.channels_last), 0).key
    assert base.key != OtherImage(reference_images().double() + 1e-12, 0).key
    assert base == OtherImage(reference_images(), 0) and base != OtherImage(reference_images(5), 0)
    changed = reference_images()
    changed[3, 1, 4, 4] += 1e-3
    reshaped = reference_images().view(6, 3, 7, 9)
    others = [OtherImage(other, 0) for other in (changed, reference_images().flip(0), reference_images(5), reshaped)]
    assert len({base.key, *(other.key for other in others)}) == 5
    assert OtherImage(numbered(1) * -0.0, 0).key == OtherImage(numbered(1), 1).key  # one image: no choice
    assert base.parameters == {"reference_images": base.digest, "images": 6, "seed": 0, "draws": 1}
    assert base.digest in repr(base) and len(repr(base)) < 120


def test_other_image_keeps_a_copy() -> None:
    mutable = reference_images()
    infill = OtherImage(mutable, 0)
    before = infill.fill(images(), ids())
    mutable.zero_()
    same_bits(infill.fill(images(), ids()), before)


def test_other_image_errors() -> None:
    rejects(
        TypeError,
        "OtherImage: expected reference_images to be a torch.Tensor, got list; convert it with torch.as_tensor",
        OtherImage,
        [],
        0,
    )
    dtype = "OtherImage: expected reference_images of dtype float32 or float64, got uint8; convert with .float()"
    rejects(TypeError, dtype, OtherImage, reference_images().byte(), 0)
    ndim = "OtherImage: expected reference_images of shape (B, C, H, W), got (3, 9, 7); add the batch dimension with [None]"
    rejects(ValueError, ndim, OtherImage, reference_images()[0], 0)
    rejects(
        ValueError,
        "OtherImage: expected reference_images to hold at least one image, got none",
        OtherImage,
        reference_images()[:0],
        0,
    )
    bad = reference_images()
    bad[2, 0, 0, 0], bad[4, 1, 1, 1] = math.nan, -math.inf
    text = "OtherImage: expected reference_images without NaN or infinity, got some in image(s) [2, 4]; leave these images out"
    rejects(ValueError, text, OtherImage, bad, 0)
    shape = "OtherImage: expected inputs of shape (N, C, H, W) of the reference images = (4, 3, 9, 7), got (4, 3, 9, 8)"
    rejects(ValueError, shape, OtherImage(reference_images(), 0).fill, images(shape=(3, 9, 8)), ids())


# ---- shuffled pixels


def test_shuffle_by_hand() -> None:
    noise = reference.philox_uniform(torch.tensor([9]), 1, 2, 3, seed=4, stream=1).flatten().tolist()
    places = [sorted(noise, reverse=True).index(value) for value in noise]
    line = torch.arange(6.0).view(1, 1, 2, 3)
    assert Shuffle(seed=4).fill(line, torch.tensor([9]), draw=1).flatten().tolist() == places


def test_shuffle_moves_whole_pixels() -> None:
    inputs = images()
    filled = Shuffle(seed=1).fill(inputs, ids())
    for before, after in zip(inputs.flatten(2), filled.flatten(2), strict=True):
        assert sorted(map(tuple, before.T.tolist())) == sorted(map(tuple, after.T.tolist()))
        assert not torch.equal(before, after)


def test_shuffle_is_uniform() -> None:
    """Each of the 24 orders of four pixels, equally often."""
    lines = torch.arange(4.0).expand(len(MANY), 1, 1, 4)
    orders = Shuffle(seed=2).fill(lines, MANY).flatten(1).long()
    codes = (orders * torch.tensor([64, 16, 4, 1])).sum(1)
    counts = codes.unique(return_counts=True)[1].double()
    expected = len(MANY) / 24
    assert len(counts) == 24
    assert float(((counts - expected) ** 2 / expected).sum()) < 41.6  # 1 % point for 23 degrees of freedom; the draw is fixed


def test_shuffle_errors() -> None:
    arguments: dict[str, Any] = {"seed": 2**63}
    rejects(ValueError, f"Shuffle: expected seed in [0, {2**63 - 1}], got {2**63}", Shuffle, **arguments)
