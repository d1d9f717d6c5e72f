"""The images of a run: files found, prepared and named; scenes with their truth."""

import pytest
import torch
from PIL import Image

from saliency_ext.commands._command_result import CommandError
from saliency_ext.commands._data import class_number, load_data, picture_files
from saliency_ext.commands._models import CommandModel
from saliency_ext.commands._preprocessing import read_picture
from saliency_ext.models import PreprocessSpec
from saliency_ext.testbed.scene_config import SceneConfig
from saliency_ext.testbed.scenes import CLASSES, ENTITY_OF_CLASS, make_scenes
from saliency_ext.testbed.truth import box_masks

PREPARED = PreprocessSpec((0.5, 0.4, 0.3), (0.2, 0.25, 0.5), (8, 6), shorter=10)


def model(spec="python:x:y", labels=None, prepared=PREPARED):
    return CommandModel(spec, torch.nn.Flatten(), prepared, labels)


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
    with pytest.raises(CommandError, match="no images in .*; searched for files ending in .png"):
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
    scenes = make_scenes("test", 6, seed=3, scene_config=SceneConfig(objects=2))
    own, other = box_masks(scenes.boxes[:, 0]), box_masks(scenes.boxes[:, 1])
    for index, entities in enumerate(scenes.entities):
        second = ENTITY_OF_CLASS[data.samples[index]["label"]] == entities[1]
        about, beside = (other, own) if second else (own, other)
        assert torch.equal(data.samples[index]["truth"], about[index]), "the truth is the box of the target digit"
        assert torch.equal(data.others[index], beside[index])
    assert data.names[1] == f"scene 1: {CLASSES[sample['label']]}"
    with pytest.raises(CommandError, match="bring their own labels, got 'predicted'"):
        load_data(None, model("testbed"), limit=6, target="predicted", seed=3)


def plain(size, shorter=None, **options):
    return PreprocessSpec((0.0,) * 3, (1.0,) * 3, size, shorter=shorter, **options)


def test_the_middle_is_cropped_and_the_aspect_kept(tmp_path):
    wide = Image.new("RGB", (40, 10))
    wide.paste((0, 255, 0), (15, 0, 25, 10))
    wide.save(tmp_path / "wide.png")
    window = read_picture(tmp_path / "wide.png", plain((10, 10), 10))
    assert window.shape == (10, 10, 3) and (window == torch.tensor([0, 255, 0], dtype=torch.uint8)).all()
    squeezed = read_picture(tmp_path / "wide.png", plain((10, 10)))
    assert squeezed[0, 0, 1] == 0 and squeezed[0, 5, 1] > 200
    tall = read_picture(tmp_path / "wide.png", plain((30, 10), 10))
    assert tall.shape == (30, 10, 3), "a window that is taller than the picture is filled, too"


@pytest.mark.parametrize(("name", "middle"), [("nearest", {0, 255}), ("bilinear", {64, 191}), ("bicubic", {53, 202})])
def test_the_interpolation_is_the_one_that_is_stated(tmp_path, name, middle):
    two = Image.new("RGB", (2, 1))
    two.putpixel((1, 0), (255, 255, 255))
    two.save(tmp_path / "two.png")
    result = read_picture(tmp_path / "two.png", plain((1, 4), interpolation=name))[0, :, 0]
    # a quarter of a pixel from one centre: cubic weights 1.5 x^3 - 2.5 x^2 + 1 of 0.75 and 0.25, 0.227 / 1.094 = 53 / 255
    assert {int(result[1]), int(result[2])} == middle
