"""The images of a run: files found, prepared and named; scenes with their truth."""

import pytest
import torch
from PIL import Image

from saliency_ext.commands.data import class_number, load_data, picture_files
from saliency_ext.commands.models import LoadedModel
from saliency_ext.commands.outcome import CommandError
from saliency_ext.commands.preprocessing import Preprocessing, channels
from saliency_ext.testbed.recipe import Recipe
from saliency_ext.testbed.scenes import CLASSES, ENTITY_OF_CLASS, make_scenes
from saliency_ext.testbed.truth import box_masks

PREPARED = Preprocessing((8, 6), 10, (0.5, 0.4, 0.3), (0.2, 0.25, 0.5), "a test")


def model(spec="python:x:y", labels=None, prepared=PREPARED):
    return LoadedModel(spec, torch.nn.Flatten(), prepared, labels)


def picture(path, colour=(255, 0, 0), size=(20, 16), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(options.pop("mode", "RGB"), size, colour).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    for name in ("b/2.png", "b/1.JPG", "a/3.jpeg", "a/.hidden.png", ".git/4.png"):
        picture(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    (tmp_path / "b" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n garbage")
    return tmp_path


def test_files_below_sorted_hidden_ones_left_out(folder):
    assert [str(path.relative_to(folder)) for path in picture_files(folder)] == ["a/3.jpeg", "b/1.JPG", "b/2.png", "b/broken.png"]


def test_samples_of_a_folder(folder):
    data = load_data(str(folder), model(), limit=None, target=None, seed=0)
    assert data.names == ["a/3.jpeg", "b/1.JPG", "b/2.png", "b/broken.png"] and data.target == "predicted"
    assert not data.has_truth and data.others is None and data.identity is None and "4 of 4 pictures" in data.about
    image = data.samples[2]["image"]
    assert image.shape == (3, 8, 6) and image.dtype == torch.float32
    assert image[:, 0, 0].tolist() == pytest.approx([(1 - 0.5) / 0.2, -0.4 / 0.25, -0.3 / 0.5])
    with pytest.raises((OSError, SyntaxError), match="Truncated|cannot identify|broken"):
        data.samples[3]


def test_a_limit_takes_evenly(folder):
    names = load_data(str(folder), model(), limit=2, target=None, seed=0).names
    assert names == ["a/3.jpeg", "b/broken.png"]
    assert len(load_data(str(folder), model(), limit=9, target=None, seed=0).names) == 4


def test_targets(folder):
    def data(target, labels=None):
        return load_data(str(folder), model(labels=labels), limit=None, target=target, seed=0)

    assert data("7").target == 7 and "label" not in data("7").samples[0]
    named = data("folder", labels=("zebra", "B", "a, the letter"))
    assert named.target == "given" and [named.samples[i]["label"] for i in range(3)] == [2, 1, 1]
    with pytest.raises(CommandError, match="the folder 'a' names none of the 2 classes of the model"):
        data("folder", labels=("x", "b"))
    with pytest.raises(CommandError, match="none of the numbers, as the model does not name its classes"):
        data("folder")
    with pytest.raises(CommandError, match="expected 'predicted', 'folder' or the number of a class, got 'cat'"):
        data("cat")


def test_class_names():
    labels = ("tabby, tabby cat", "tiger_shark", "7up")
    assert [class_number(name, labels) for name in ("Tabby Cat", "tiger shark", "tiger-shark", "2")] == [0, 1, 1, 2]


def test_folders_that_will_not_do(tmp_path):
    with pytest.raises(CommandError, match="no images in .*; looked for files ending in .png"):
        load_data(str(tmp_path), model(), limit=None, target=None, seed=0)
    with pytest.raises(CommandError, match="expected a folder of images, got '/no/such'"):
        load_data("/no/such", model(), limit=None, target=None, seed=0)
    with pytest.raises(CommandError, match="expected a folder of images for a model of your own, got none"):
        load_data(None, model(), limit=None, target=None, seed=0)
    with pytest.raises(CommandError, match="the scenes of the testbed are for --model testbed"):
        load_data("testbed", model(), limit=None, target=None, seed=0)


def test_scenes():
    data = load_data(None, model("testbed"), limit=6, target=None, seed=3)
    assert len(data.samples) == 6 and data.target == "given" and data.has_truth and "seed 3" in data.identity
    sample = data.samples[1]
    assert sample["image"].shape == (3, 64, 64) and sample["truth"].any() and not (sample["truth"] & data.others[1]).all()
    assert data.others.any(2).any(1).all(), "every scene has another object"
    scenes = make_scenes("test", 6, seed=3, recipe=Recipe(objects=2))
    own, other = box_masks(scenes.boxes[:, 0]), box_masks(scenes.boxes[:, 1])
    for index, entities in enumerate(scenes.entities):
        second = ENTITY_OF_CLASS[data.samples[index]["label"]] == entities[1]
        about, beside = (other, own) if second else (own, other)
        assert torch.equal(data.samples[index]["truth"], about[index]), "the truth is the box of the digit asked about"
        assert torch.equal(data.others[index], beside[index])
    assert data.names[1] == f"scene 1: {CLASSES[sample['label']]}"
    with pytest.raises(CommandError, match="bring their own labels, got 'predicted'"):
        load_data(None, model("testbed"), limit=6, target="predicted", seed=3)


def test_the_middle_is_cropped_and_the_aspect_kept(tmp_path):
    wide = Image.new("RGB", (40, 10))
    wide.paste((0, 255, 0), (15, 0, 25, 10))
    wide.save(tmp_path / "wide.png")
    window = Preprocessing((10, 10), 10, (0.0,) * 3, (1.0,) * 3, "").picture(tmp_path / "wide.png")
    assert window.shape == (10, 10, 3) and (window == torch.tensor([0, 255, 0], dtype=torch.uint8)).all()
    squeezed = Preprocessing((10, 10), None, (0.0,) * 3, (1.0,) * 3, "").picture(tmp_path / "wide.png")
    assert squeezed[0, 0, 1] == 0 and squeezed[0, 5, 1] > 200
    tall = Preprocessing((30, 10), 10, (0.0,) * 3, (1.0,) * 3, "").picture(tmp_path / "wide.png")
    assert tall.shape == (30, 10, 3), "a window that is taller than the picture is filled, too"


@pytest.mark.parametrize(("mode", "colour"), [("L", 128), ("RGBA", (10, 20, 30, 40)), ("P", 3), ("CMYK", (1, 2, 3, 4)), ("1", 1)])
def test_every_kind_of_picture_becomes_rgb(tmp_path, mode, colour):
    suffix = "tiff" if mode == "CMYK" else "png"
    path = picture(tmp_path / f"x.{suffix}", colour, mode=mode)
    assert PREPARED.picture(path).shape == (8, 6, 3)


def test_a_turned_photograph_stands_upright(tmp_path):
    image = Image.new("RGB", (20, 20))
    image.paste((255, 255, 255), (0, 0, 20, 5))  # bright above, as stored
    exif = Image.Exif()
    exif[0x0112] = 3  # to be turned by 180 degrees
    image.save(tmp_path / "turned.png", exif=exif)
    shown = Preprocessing((20, 20), None, (0.0,) * 3, (1.0,) * 3, "").picture(tmp_path / "turned.png")
    assert shown[0].sum() == 0 and shown[-1].float().mean() == 255


def test_shown_is_the_way_back():
    pixels = torch.randint(0, 256, (8, 6, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert torch.equal(PREPARED.shown(PREPARED.inputs(pixels)), pixels)
    assert PREPARED.colour(0.5) == pytest.approx((0.0, 0.4, 0.4))
    assert "shorter side 10, middle 8 x 6; mean 0.5, 0.4, 0.3" in str(PREPARED)


def test_numbers_per_channel():
    assert (
        channels(None, "--mean") is None and channels("0.5", "--mean") == (0.5,) * 3 and channels("1,2,3", "--std") == (1, 2, 3)
    )
    for text, name in (("a", "--mean"), ("1,2", "--mean"), ("0", "--std"), ("", "--std")):
        with pytest.raises(CommandError, match=f"{name}: expected one number or three"):
            channels(text, name)
