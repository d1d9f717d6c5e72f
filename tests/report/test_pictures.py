"""Maps over images: what colour says what, on one scale; PNGs that can be read back."""

import base64
import io

import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from saliency_ext.report import Example
from saliency_ext.report._contact_sheet import contact_sheet
from saliency_ext.report._pictures import colour_bar, data_uri, legible, method_scales, overlay, peak, png, shrunk

GREY = torch.full((4, 5, 3), 110, dtype=torch.uint8)


def test_sign_and_size_have_colours():
    values = torch.zeros(4, 5)
    values[0, 0], values[0, 1], values[1, 0], values[1, 1] = 1.0, 0.3, -1.0, -0.3
    shown = overlay(GREY, values, 1.0).int()
    assert shown.dtype == torch.int32 and shown.shape == (4, 5, 3)
    red, blue = shown[..., 0] - shown[..., 2], shown[..., 2] - shown[..., 0]
    assert red[0, 0] > 100 and red[0, 1] > 20 and blue[1, 0] > 100 and blue[1, 1] > 20
    assert red[2, 2] == 0, "0 leaves the grey image"
    assert torch.equal(overlay(GREY, values * 7, 7.0).int(), shown), "only the size relative to the scale counts"


def test_the_image_shows_through():
    bright = GREY.clone()
    bright[2:, :, :] = 250
    shown = overlay(bright, torch.zeros(4, 5), 1.0).int()
    assert int(shown[3, 0, 0]) > int(shown[0, 0, 0]) + 50


def test_the_bar_is_the_scale():
    bar = colour_bar(257).int()
    assert bar[0, 0, 2] > bar[0, 0, 0] + 80 and bar[0, -1, 0] > bar[0, -1, 2] + 80
    assert bar[0, 128].unique().numel() == 1, "the middle is grey"


def test_one_scale_per_method_over_all_examples_without_outliers():
    picture = torch.zeros(40, 25, 3, dtype=torch.uint8)
    first, second = torch.full((40, 25), 0.5), torch.full((40, 25), -2.0)
    second[0, 0], second[1, 1] = 1000.0, float("nan")
    examples = [Example("", picture, {"m": first, "zero": first * 0}), Example("", picture, {"m": second})]
    assert method_scales(examples) == {"m": 2.0, "zero": 0.0}
    assert overlay(picture, first * 0, 0.0).unique().tolist() == [70], "an empty map is the image alone"
    lonely = torch.zeros(40, 25)
    lonely[3, 3] = 4.0
    assert method_scales([Example("", picture, {"m": lonely})]) == {"m": 4.0}, "a map of one pixel is seen"


def test_not_finite_values_are_drawn_as_zero():
    values = torch.tensor([[float("nan"), float("inf")], [0.0, -float("inf")]])
    shown = overlay(GREY[:2, :2], values, 1.0)
    assert torch.equal(shown[0, 0], shown[1, 0])


def test_png_is_what_was_drawn():
    picture = torch.randint(0, 256, (6, 7, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    read = Image.open(io.BytesIO(png(picture))).convert("RGB")
    assert read.tobytes() == picture.numpy().tobytes()
    uri = data_uri(picture)
    assert uri.startswith("data:image/png;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).size == (7, 6)


def test_large_pictures_shrink_with_their_maps_and_small_ones_stay():
    picture, values = torch.zeros(400, 800, 3, dtype=torch.uint8), torch.zeros(400, 800)
    values[:200], picture[:200] = 1.0, 200
    small, maps = shrunk(picture, {"m": values})
    assert small.shape == (96, 192, 3) and maps["m"].shape == (96, 192)
    assert maps["m"][0, 0] == 1.0 and maps["m"][-1, 0] == 0.0 and small[0, 0, 0] == 200
    same, own = shrunk(GREY, {"m": values[:4, :5]})
    assert same is GREY and torch.equal(own["m"], values[:4, :5])
    assert shrunk(picture, {}, largest=800)[0] is picture and shrunk(picture, {}, largest=799)[0].shape == (400, 799, 3)


def test_small_pictures_are_enlarged_by_whole_pixels():
    """To the first multiple of their longer side that is 192 or more."""
    for side, wanted in ((1, 192), (95, 285), (96, 192), (191, 382), (192, 192), (193, 193)):
        assert legible(torch.zeros(1, side, 3)).shape[1] == legible(torch.zeros(side, 1, 3)).shape[0] == wanted
    drawn = legible(torch.tensor([[1, 2]], dtype=torch.uint8)[..., None])
    assert drawn.shape == (96, 192, 1) and bool((drawn[:, :96] == 1).all()) and bool((drawn[:, 96:] == 2).all())


def test_peak():
    values = torch.zeros(10, 20)
    values[4, 15] = 1.0
    assert peak(values) == pytest.approx((0.45, 0.775))
    values[0, 0] = float("nan")
    assert peak(values) == pytest.approx((0.45, 0.775))


def test_contact_sheet_holds_every_map_enlarged():
    maps = {name: torch.rand(16, 16, generator=torch.Generator().manual_seed(1)) for name in ("a", "<b>", "c", "d")}
    picture = torch.full((16, 16, 3), 128, dtype=torch.uint8)
    sheet = Image.open(io.BytesIO(contact_sheet(Example("what", picture, maps))))
    assert sheet.size == (10 + 4 * 202, 2 * 30 + 10 + 2 * 222)  # two rows of four, each 192 pixels wide
    assert sheet.getpixel((100, 100)) == (128, 128, 128), "the image comes first, as it is"


def test_under_the_blue_end_of_the_sheets_bar_stands_against_it():
    picture = torch.full((16, 16, 3), 128, dtype=torch.uint8)
    sheet = Image.open(io.BytesIO(contact_sheet(Example("what", picture, {"a": torch.ones(16, 16)}))))
    bar = 257  # pixels wide, from 10 on
    left, right = (sheet.getpixel((x, sheet.height - 30)) for x in (11, 10 + bar - 2))
    assert left[2] > left[0] + 80 and right[0] > right[2] + 80, "blue on the left, red on the right"
    for start, text in ((10, "against it"), (10 + bar - 38, "for it")):
        box = (start, sheet.height - 18, start + 70, sheet.height)
        expected = Image.new("RGB", (70, 18), (255, 255, 255))
        ImageDraw.Draw(expected).text((0, 0), text, fill=(27, 31, 36), font=ImageFont.load_default(13))
        assert sheet.crop(box).tobytes() == expected.tobytes(), text
