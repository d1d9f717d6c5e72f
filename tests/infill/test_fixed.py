"""Infills without chance: what the pixels are."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from saliency_ext import reference
from saliency_ext.infill import Blur, Constant, DatasetMean, ImageMean, RiseBlur
from saliency_ext.ops import gaussian_blur
from tests.backends import close, same_bits
from tests.infill.cases import ids, images


def rejects(error: type[Exception], text: str, make: Any, *arguments: Any, **options: Any) -> None:
    with pytest.raises(error) as raised:
        make(*arguments, **options)
    assert str(raised.value) == text


# ---- one colour


@pytest.mark.parametrize(
    "value", [[0.5, -1.0, 2.0], (0.5, -1, 2), torch.tensor([0.5, -1.0, 2.0])], ids=["list", "tuple", "tensor"]
)
def test_constant_per_channel(value: Any) -> None:
    filled = Constant(value).fill(images(), ids())
    assert filled.shape == (1, 3, 1, 1) and filled.flatten().tolist() == [0.5, -1.0, 2.0]
    assert Constant(value).parameters == {"value": (0.5, -1.0, 2.0)}
    assert Constant(value).key == Constant((0.5, -1.0, 2.0)).key


@pytest.mark.parametrize("value", [1, 1.0, torch.tensor(1.0), [1.0, 1.0, 1.0]])
def test_constant_for_all_channels(value: Any) -> None:
    same_bits(Constant(value).fill(images(), ids()).expand(4, 3, 9, 7).contiguous(), torch.ones(4, 3, 9, 7))
    assert Constant(value).key == Constant(1.0).key  # the same pixels


def test_constant_keys() -> None:
    assert Constant(-0.0).key == Constant(0.0).key == DatasetMean().key
    assert math.copysign(1, Constant(-0.0).parameters["value"]) == 1  # type: ignore[arg-type]
    assert len({Constant(value).key for value in (0.0, 0.5, (0.5, 0.0), (0.0, 0.5))}) == 4


def test_constant_keeps_no_hold_of_the_tensor() -> None:
    value = torch.tensor([1.0, 2.0, 3.0])
    infill = Constant(value)
    value.zero_()
    assert infill.fill(images(), ids()).flatten().tolist() == [1.0, 2.0, 3.0]


def test_constant_errors() -> None:
    numbers = "Constant: expected value to be a number, or one per channel, got "
    rejects(TypeError, numbers + "NoneType", Constant, None)
    rejects(TypeError, numbers + "bool", Constant, True)
    rejects(TypeError, numbers + "str", Constant, "red")
    rejects(TypeError, numbers + "list", Constant, [[1.0]])
    rejects(ValueError, "Constant: expected value finite, got nan", Constant, math.nan)
    rejects(ValueError, "Constant: expected value finite, got inf", Constant, [0.0, math.inf])
    rejects(ValueError, "Constant: expected value to hold one number per channel, got none", Constant, [])
    image = "Constant: expected value of shape () or (C,), got (1, 3); an image of infill: use OtherImage"
    rejects(ValueError, image, Constant, torch.zeros(1, 3))
    channels = "Constant: expected value to hold C = 3 numbers, one per channel of the inputs, got {}; "
    channels += "one plain number stands for all channels"
    rejects(ValueError, channels.format(2), Constant((1.0, 2.0)).fill, images(), ids())
    rejects(ValueError, channels.format(1), Constant((1.0,)).fill, images(), ids())


def test_dataset_mean_is_zero() -> None:
    assert DatasetMean().parameters == {}
    same_bits(DatasetMean().fill(images(), ids()), torch.zeros(1, 1, 1, 1))


# ---- each image's mean


def test_image_mean_by_hand() -> None:
    inputs = torch.tensor([[[[1.0, 2.0, 6.0]], [[0.0, 0.0, -3.0]]], [[[4.0, 4.0, 4.0]], [[1.0, 0.0, 1.0]]]])
    filled = ImageMean().fill(inputs, ids(2))
    same_bits(filled, torch.tensor([[3.0, -1.0], [4.0, 2 / 3]]).view(2, 2, 1, 1))


@pytest.mark.parametrize("pixels", [1, 2, 3, 7, 8, 9, 50_176])
def test_image_mean_of_any_size(pixels: int) -> None:
    inputs = images(2, (2, 1, pixels))
    close(ImageMean().fill(inputs, ids(2)), inputs.double().mean((2, 3), keepdim=True).float(), dtype=torch.float32)
    flat = torch.full((1, 3, 1, pixels), 0.1)
    same_bits(ImageMean().fill(flat, ids(1)), flat[..., :1])  # a constant image is its mean


def test_image_mean_of_a_bad_image_is_bad() -> None:
    inputs = images()
    inputs[1, 2, 0, 0] = math.nan
    assert ImageMean().fill(inputs, ids()).isnan().nonzero().tolist() == [[1, 2, 0, 0]]


# ---- blur


@pytest.mark.parametrize("border", ["reflect", "zero", "replicate", "renormalise"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_blur_is_the_reference_blur(border: str, dtype: torch.dtype) -> None:
    inputs = images(dtype=dtype)
    close(Blur(2.5, border).fill(inputs, ids()), reference.gaussian_blur(inputs, 2.5, border))
    close(Blur(2.5, border=border).fill(inputs, ids()), gaussian_blur(inputs, 2.5, border=border))


def test_blur_keys() -> None:
    assert Blur(2).key == Blur(2.0).key == Blur(2.0, "reflect").key
    assert Blur(0, "zero").key == Blur(0.0).key  # the image itself
    assert len({Blur(2).key, Blur(3).key, Blur(2, "zero").key, Blur(0).key}) == 4
    assert Blur(2).parameters == {"sigma": 2.0, "border": "reflect"}
    same_bits(Blur(0).fill(images(), ids()), images())


def test_blur_does_not_mix_images() -> None:
    inputs = images()
    inputs[1, 0, 4, 4] = math.nan
    assert Blur(1.0).fill(inputs, ids()).isnan().flatten(1).any(1).tolist() == [False, True, False, False]


def test_blur_errors() -> None:
    rejects(TypeError, "Blur: expected sigma to be a number, got str", Blur, "2")
    rejects(TypeError, "Blur: expected sigma to be a number, got list", Blur, [2.0])
    rejects(ValueError, "Blur: expected sigma >= 0, got -1", Blur, -1)
    rejects(ValueError, "Blur: expected sigma finite, got nan", Blur, math.nan)
    choices = "Blur: expected border to be one of 'reflect', 'zero', 'replicate', 'renormalise', got 'wrap'"
    rejects(ValueError, choices, Blur, 1.0, "wrap")


# ---- the published RISE kernel


def rise_kernel() -> Tensor:
    """(11, 11) as the infill spreads a single pixel, in float64."""
    dot = torch.zeros(1, 1, 11, 11, dtype=torch.float64)
    dot[0, 0, 5, 5] = 1
    return RiseBlur().fill(dot, ids(1))[0, 0]


def test_rise_kernel_is_no_gaussian() -> None:
    kernel = rise_kernel()
    assert float(kernel[5, 5] / kernel[0, 0]) == pytest.approx(1.14, abs=0.005)
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-12)
    close(kernel, kernel.T)
    close(kernel, kernel.flip(0))


def test_rise_kernel_by_hand() -> None:
    """Mirroring 11 pixels with the border pixel repeated folds the offsets i + 11 m onto i."""
    weights = {offset: math.exp(-0.5 * (offset / 5) ** 2) for offset in range(-20, 21)}
    line = [sum(w for offset, w in weights.items() if (offset - i) % 11 == 0) / sum(weights.values()) for i in range(-5, 6)]
    expected = torch.tensor(line, dtype=torch.float64)
    close(rise_kernel(), expected[:, None] * expected)


@pytest.mark.parametrize("size", [(24, 31), (11, 11), (3, 40), (1, 1)], ids=str)
def test_rise_blur_is_the_published_one(size: tuple[int, int]) -> None:
    """The published construction: a Dirac through scipy's filter (its default mode), float32, conv2d across channels."""
    ndimage = pytest.importorskip("scipy.ndimage")
    dirac = torch.zeros(11, 11, dtype=torch.float64)
    dirac[5, 5] = 1
    blurred = torch.from_numpy(ndimage.gaussian_filter(dirac.numpy(), 5))
    close(rise_kernel(), blurred)
    same_bits(rise_kernel().float(), blurred.float())
    kernel = torch.zeros(3, 3, 11, 11)
    kernel[range(3), range(3)] = blurred.float()
    inputs = images(2, (3, *size))
    close(RiseBlur().fill(inputs, ids(2)), torch.nn.functional.conv2d(inputs, kernel, padding=5))


def test_rise_blur_darkens_borders() -> None:
    filled = RiseBlur().fill(torch.ones(1, 1, 30, 30), ids(1))[0, 0]
    assert [round(float(value), 2) for value in (filled[15, 15], filled[0, 15], filled[0, 0])] == [1.0, 0.55, 0.3]
    assert RiseBlur().parameters == {} and RiseBlur().key == RiseBlur().key
