"""Pictures in every mode that Pillow knows, and resizing to the pixel: read rightly, or refused by name."""

import struct

import numpy as np
import pytest
import torch
from PIL import Image

from saliency_ext.commands import _preprocessing
from saliency_ext.commands._command_result import CommandError
from saliency_ext.commands._preprocessing import channels, read_inputs, read_picture, seen
from saliency_ext.integrations._loaded_model import Processor, measured
from saliency_ext.models import PreprocessSpec

SPEC = PreprocessSpec((0.5, 0.4, 0.3), (0.2, 0.25, 0.5), (8, 6), shorter=10)
RAMP = np.tile(np.linspace(0, 255, 64), (64, 1))


def plain(size, shorter=None, **options):
    return PreprocessSpec((0.0,), (1.0,), size, shorter=shorter, **options)


def whole(path, **options):
    """A picture of 64 x 64 as it is."""
    return read_picture(path, plain((64, 64), 64, **options))


def saved(path, picture, **options):
    picture.save(path, **options)
    return path


# ---- modes

COLOURS = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
READ = {  # mode -> ending of a format that keeps it
    "1": "png", "L": "png", "P": "png", "RGB": "png", "RGBX": "tif", "CMYK": "tif", "YCbCr": "tif"
}  # fmt: skip


@pytest.mark.parametrize(("mode", "ending"), READ.items())
def test_modes_of_eight_bits_become_what_pillow_makes_of_them(tmp_path, mode, ending):
    own = COLOURS.convert(mode)
    path = saved(tmp_path / f"x.{ending}", own)
    assert torch.equal(whole(path), torch.from_numpy(np.array(own.convert("RGB"))))


@pytest.mark.parametrize("mode", sorted(set(Image.MODES) - set(READ)))
def test_every_other_mode_is_read_to_its_full_range_or_refused_by_name(tmp_path, mode, monkeypatch):
    """Formats that keep a mode are few: the picture is put in place of the one that Pillow opened."""
    path = saved(tmp_path / "x.png", COLOURS)
    ramp = Image.fromarray(RAMP.round().astype(np.uint8))
    if mode in ("I", "F") or mode.startswith("I;16"):
        made = Image.fromarray((RAMP * 257).round().astype({"I": np.int32, "F": np.float32}.get(mode, np.uint16)))
    else:
        made = ramp.convert("LA" if mode in ("LA", "La", "PA") else "RGBA" if mode in ("RGBA", "RGBa") else "RGB")
        made = made if mode == "PA" else made.convert(mode)
    opened = Image.open(path)
    monkeypatch.setattr(opened, "load", lambda: None)
    monkeypatch.setattr(_preprocessing, "_pillow", lambda: (_Opening(opened), _Turning(made)))
    try:
        result = _preprocessing._upright(path)
    except ValueError as error:
        assert f"mode {mode}" in str(error) and str(error).startswith("read_picture: expected picture")
        assert mode in ("F", "LAB")
    else:
        assert result.mode == "RGB" and len(np.unique(np.asarray(result))) >= 60, "no clipping at 255"


class _Opening:
    def __init__(self, opened):
        self._opened = opened

    def open(self, path):
        return self._opened

    def __getattr__(self, name):
        return getattr(Image, name)


class _Turning:
    def __init__(self, made):
        self._made = made

    def exif_transpose(self, picture):
        return self._made


@pytest.mark.parametrize(("ending", "options"), [("png", {}), ("tif", {}), ("tif", {"compression": "tiff_lzw"}), ("pgm", {})])
def test_sixteen_bits_keep_their_range(tmp_path, ending, options):
    deep = Image.fromarray((RAMP * 257).round().astype(np.uint16))
    result = whole(saved(tmp_path / f"x.{ending}", deep, **options))
    assert torch.equal(result, torch.from_numpy(RAMP.round()).byte()[..., None].expand(64, 64, 3))


def test_twelve_bits_are_not_taken_for_sixteen(tmp_path):
    """A TIFF by hand: two values of 12 bits in three bytes."""
    values = (RAMP / 255 * 4095).round().astype(np.uint16).reshape(-1, 2)
    first, second = values[:, 0], values[:, 1]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1).astype(np.uint8).tobytes()
    tags = {256: 64, 257: 64, 258: 12, 259: 1, 262: 1, 273: 8 + 2 + 12 * 9 + 4, 277: 1, 278: 64, 279: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    path = tmp_path / "x.tif"
    path.write_bytes(struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + packed)
    assert (whole(path).int() - torch.from_numpy(RAMP.round()).int()[..., None]).abs().max() <= 1


def test_a_format_that_does_not_say_the_range_is_refused(tmp_path):
    for name, pixels in (("f.tif", RAMP.astype(np.float32) / 255), ("i.tif", (RAMP * 1e6).astype(np.int32))):
        path = saved(tmp_path / name, Image.fromarray(pixels))
        with pytest.raises(
            ValueError, match="read_picture: expected picture of 8 or 16 bits per channel, .*, got mode [FI]; its"
        ):
            whole(path)
    white = saved(tmp_path / "w.tif", Image.fromarray((RAMP * 257).astype(np.uint16)), tiffinfo={262: 0})
    with pytest.raises(ValueError, match="in which 0 is black, got a TIFF of 16 bits in which 0 is white"):
        whole(white)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_an_opaque_alpha_channel_is_dropped_and_another_refused(tmp_path, mode):
    opaque = COLOURS.convert("RGBA")
    clear = opaque.copy()
    clear.putpixel((5, 5), (1, 2, 3, 254))
    options = {"transparency": 0} if mode == "P" else {}
    if mode != "P":
        read = whole(saved(tmp_path / "opaque.png", opaque.convert(mode)))
        assert torch.equal(read, torch.from_numpy(np.array(opaque.convert(mode).convert("RGB"))))
    path = saved(tmp_path / "clear.png", COLOURS.convert("P") if mode == "P" else clear.convert(mode), **options)
    with pytest.raises(ValueError, match=f"expected picture opaque, got mode {mode} with alpha down to .* of 255; flatten it"):
        whole(path)


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tif"])
def test_further_frames_are_refused_and_one_is_read(tmp_path, ending):
    frames = [COLOURS.convert("P"), COLOURS.rotate(90).convert("P")]
    path = tmp_path / f"x.{ending}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="expected picture of one frame, got 2 frames; save the one that is meant"):
        whole(path)
    frames[0].save(path)
    assert whole(path).shape == (64, 64, 3)


def test_a_photograph_with_a_preview_is_the_photograph(tmp_path):
    path = tmp_path / "x.jpg"
    COLOURS.save(path, format="MPO", save_all=True, append_images=[COLOURS.rotate(90)])
    COLOURS.save(tmp_path / "alone.jpg")
    assert torch.equal(whole(path), whole(tmp_path / "alone.jpg"))


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_every_orientation_stands_upright(tmp_path, turn, ending):
    """Stored as a camera that was turned stores it."""
    method = Image.Transpose
    undo = [None, method.FLIP_LEFT_RIGHT, method.ROTATE_180, method.FLIP_TOP_BOTTOM, method.TRANSPOSE, method.ROTATE_90,
            method.TRANSVERSE, method.ROTATE_270][turn - 1]  # fmt: skip
    stored = COLOURS if undo is None else COLOURS.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = turn
    result = whole(saved(tmp_path / f"x.{ending}", stored, exif=exif))
    assert torch.equal(result, torch.from_numpy(np.array(COLOURS)))


def test_a_model_of_one_channel_reads_grey(tmp_path):
    path = saved(tmp_path / "x.png", COLOURS)
    spec = PreprocessSpec((0.5,), (0.25,), (64, 64), channels="L")
    grey = torch.from_numpy(np.array(COLOURS.convert("L")))
    assert torch.equal(read_picture(path, spec)[..., 0], grey)
    inputs = read_inputs(path, spec)
    torch.testing.assert_close(inputs, (grey[None] / 255 - 0.5) / 0.25)
    assert torch.equal(seen(inputs, spec), grey[..., None].expand(64, 64, 3))


# ---- resizing

# Windows that torchvision's Resize and CenterCrop make of `gradient`: width, height, shorter, size, then 12 grey values.
TORCHVISION = [
    (500, 375, 8, (3, 4), "bilinear", [83, 93, 103, 113, 102, 112, 122, 132, 121, 131, 141, 151]),
    (400, 512, 9, (3, 4), "bilinear", [90, 101, 112, 124, 104, 115, 126, 138, 118, 129, 140, 152]),
    (640, 427, 11, (4, 3), "bicubic", [103, 109, 116, 117, 123, 130, 131, 137, 144, 145, 151, 158]),
    (536, 400, 10, (3, 3), "bicubic", [111, 118, 126, 127, 134, 142, 142, 149, 157]),
    (33, 100, 10, (3, 4), "lanczos", [106, 116, 126, 136, 112, 122, 132, 142, 117, 127, 137, 147]),
    (100, 33, 11, (4, 3), "lanczos", [107, 111, 114, 121, 125, 128, 135, 139, 142, 149, 153, 156]),
    (57, 91, 10, (3, 4), "nearest", [99, 109, 120, 130, 109, 119, 130, 140, 119, 129, 140, 150]),
    (20, 17, 31, (4, 3), "bilinear", [110, 113, 116, 115, 118, 121, 120, 123, 126, 126, 129, 132]),
    (
        29,
        67,
        8,
        (3, 12),
        "bicubic",
        [
            0,
            0,
            76,
            88,
            101,
            113,
            126,
            138,
            151,
            163,
            0,
            0,
            0,
            0,
            84,
            96,
            109,
            121,
            134,
            146,
            159,
            171,
            0,
            0,
            0,
            0,
            93,
            105,
            118,
            130,
            143,
            155,
            168,
            180,
            0,
            0,
        ],
    ),
    (7, 90, 3, (4, 3), "bilinear", [82, 112, 143, 86, 116, 147, 90, 120, 151, 94, 124, 155]),
]


def gradient(width, height):
    """A slope to the right and a steeper one down: no two places alike."""
    rows, columns = np.mgrid[:height, :width]
    return Image.fromarray((100 * columns // width + 155 * rows // height).astype(np.uint8))


@pytest.mark.parametrize(("width", "height", "shorter", "size", "name", "values"), TORCHVISION)
def test_windows_are_those_of_torchvision(tmp_path, width, height, shorter, size, name, values):
    path = saved(tmp_path / "x.png", gradient(width, height).convert("RGB"))
    result = read_picture(path, plain(size, shorter, interpolation=name))[..., 0].flatten().tolist()
    assert result == pytest.approx(values, abs=1), "a level for another Pillow"


def test_windows_are_those_of_torchvision_itself(tmp_path):
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is not installed")
    rng = np.random.default_rng(0)
    for _ in range(60):
        width, height = (int(side) for side in rng.integers(5, 400, 2))
        size = tuple(int(side) for side in rng.integers(8, 100, 2))
        shorter = int(rng.integers(min(size), 120))
        path = saved(tmp_path / "x.png", gradient(width, height).convert("RGB"))
        mode = transforms.InterpolationMode.BICUBIC
        expected = transforms.CenterCrop(size)(transforms.Resize(shorter, mode)(Image.open(path)))
        assert np.array_equal(read_picture(path, plain(size, shorter)).numpy(), np.array(expected)), (
            width,
            height,
            size,
            shorter,
        )


def test_of_an_enormous_picture_only_the_window_is_computed(tmp_path, monkeypatch):
    """The window alone differs by a level at most from that of the whole, and a narrow picture costs what it becomes."""
    photograph = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)).resize((310, 200))
    path = saved(tmp_path / "x.png", photograph)
    for size, shorter in (((40, 40), 50), ((64, 40), 50)):  # cropped, and padded
        full = read_picture(path, plain(size, shorter)).int()
        with monkeypatch.context() as patched:
            patched.setattr(_preprocessing, "LARGEST", 100)
            assert (read_picture(path, plain(size, shorter)).int() - full).abs().max() <= 1
    narrow = saved(tmp_path / "narrow.png", Image.new("RGB", (1, 65000), (10, 20, 30)))
    requested = []
    resize = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda self, size, *a, **k: requested.append(size) or resize(self, size, *a, **k))
    assert (read_picture(narrow, plain((224, 224), 256)) == torch.tensor([10, 20, 30])).all()
    assert requested == [(224, 224)]


# ---- processors of libraries


def test_a_processor_is_called_and_bounded(tmp_path):
    requested = []

    def squeezed(picture):
        requested.append(picture.size)
        return torch.from_numpy(np.array(picture.resize((12, 10)))).movedim(-1, 0).flip(0) / 127.5 - 1

    spec = measured(Processor(squeezed), "mine")
    assert (spec.size, spec.channels, spec.source) == ((10, 12), "BGR", "mine")
    path = saved(tmp_path / "x.png", COLOURS)
    expected = torch.from_numpy(np.array(COLOURS.resize((12, 10))))
    assert torch.equal(read_inputs(path, spec), squeezed(COLOURS)) and torch.equal(read_picture(path, spec), expected)
    torch.testing.assert_close(spec.inputs(expected), squeezed(COLOURS), rtol=1e-5, atol=1e-5)
    assert torch.equal(seen(squeezed(COLOURS), spec), expected), "upright and in RGB for a report"
    requested.clear()
    narrow = saved(tmp_path / "narrow.png", Image.new("RGB", (1, 200000)))
    with pytest.raises(ValueError, match="read_inputs: expected picture of at most .* pixels .*, got 1 x 200000; crop it"):
        read_inputs(narrow, spec)
    assert not requested, "refused before"


# ---- numbers


def test_numbers_per_channel():
    assert channels(None, "--mean") is None and channels("0.5", "--mean") == (0.5,) and channels("1,2,3", "--std") == (1, 2, 3)
    for text, name in (
        ("a", "--mean"),
        ("1,2", "--mean"),
        ("0", "--std"),
        ("", "--std"),
        ("nan", "--mean"),
        ("1,inf,1", "--std"),
    ):
        with pytest.raises(CommandError, match=f"{name}: expected one finite number or three"):
            channels(text, name)
