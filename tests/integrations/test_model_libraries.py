"""What models of transformers, timm and torchvision say of their inputs: by stand-ins, and in transformers itself."""

import enum
import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from saliency_ext.attribution import GradCAM
from saliency_ext.evaluation import evaluate
from saliency_ext.infill import Constant
from saliency_ext.integrations import timm, torchvision, transformers
from saliency_ext.metrics import Deletion
from saliency_ext.models import Classifier, target_layer

HALF = (0.5,) * 3
TALL = {"height": 88, "width": 8}
EDGE = {"shortest_edge": 90}


@pytest.mark.parametrize(
    ("content", "size", "shorter", "mean", "std", "limits"),
    [
        ({"size": TALL, "image_mean": [0.1] * 3, "image_std": [0.2] * 3}, (88, 8), None, 0.1, 0.2, (0, 1)),
        ({"size": {"shortest_edge": 99}, "crop_size": TALL, "do_center_crop": True}, (88, 8), 99, 0.5, 0.5, (0, 1)),
        ({"size": {"shortest_edge": 99}, "crop_size": 88, "do_center_crop": False}, (99, 99), 99, 0.5, 0.5, (0, 1)),
        ({"size": 40}, (40, 40), None, 0.5, 0.5, (0, 1)),
        ({"size": {"shortest_edge": 40}}, (40, 40), 40, 0.5, 0.5, (0, 1)),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, (224, 224), 256, 0.5, 0.5, (0, 1)),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, (384, 384), None, 0.5, 0.5, (0, 1)),
        ({"size": 224, "crop_pct": 0.9, "do_resize_and_center_crop": True}, (224, 224), 248, 0.5, 0.5, (0, 1)),
        ({"size": 384, "crop_pct": 0.9, "do_resize_and_center_crop": True}, (384, 384), 426, 0.5, 0.5, (0, 1)),
        ({"size": 384, "crop_pct": 0.9}, (384, 384), None, 0.5, 0.5, (0, 1)),
        ({"size": TALL, "crop_pct": 0.9}, (88, 8), None, 0.5, 0.5, (0, 1)),
        ({"size": [88, 8], "crop_pct": 0.9}, (88, 8), None, 0.5, 0.5, (0, 1)),
        ({"size": EDGE, "crop_size": TALL, "do_center_crop": True, "crop_pct": 0.9}, (88, 8), 100, 0.5, 0.5, (0, 1)),
        ({"size": 40, "crop_pct": None}, (40, 40), None, 0.5, 0.5, (0, 1)),
        ({"size": 40, "do_normalize": False}, (40, 40), None, 0.0, 1.0, (0, 1)),
        ({"size": 40, "do_rescale": False}, (40, 40), None, 0.5, 0.5, (0, 255)),
        ({"size": 40, "rescale_factor": 1 / 127.5, "rescale_offset": True}, (40, 40), None, 0.5, 0.5, (-1, 1)),
        ({"size": 40, "image_std": [0.4] * 3, "include_top": True}, (40, 40), None, 0.5, 0.16, (0, 1)),
        ({}, (96, 96), None, 0.5, 0.5, (0, 1)),
    ],
)  # fmt: skip
def test_settings_of_an_image_processor(tmp_path, content, size, shorter, mean, std, limits):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    model = SimpleNamespace(config=SimpleNamespace(image_size=96))
    found = transformers.folder_spec(tmp_path, model)
    assert (found.size, found.shorter, found.range) == (size, shorter, limits)
    assert found.mean == (mean,) * 3 and found.std == pytest.approx((std,) * 3) and found.source == "preprocessor_config.json"
    assert transformers.preprocess_spec(SimpleNamespace(to_dict=lambda: content), image_size=(96, 96)).size == size


def test_without_settings_they_are_assumed(tmp_path):
    found = transformers.folder_spec(tmp_path)
    assert (found.size, found.mean, found.std, found.source) == ((224, 224), HALF, HALF, "assumed")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        '{"size": {"longest": 3}}',
        '{"size": "big"}',
        '{"size": 8, "image_mean": [null]}',
        '{"size": 8, "crop_pct": 0}',
    ],
)
def test_broken_settings_are_refused(tmp_path, text):
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(ValueError, match=r"transformers.load: expected .*preprocessor_config\.json to be the settings"):
        transformers.folder_spec(tmp_path)


@pytest.mark.parametrize(("number", "name"), [(0, "nearest"), (1, "lanczos"), (2, "bilinear"), (3, "bicubic"), (4, "bilinear")])
def test_pillow_numbers_of_interpolations(number, name):
    assert transformers.preprocess_spec({"size": 8, "resample": number}).interpolation == name


def test_timm():
    config = {
        "input_size": (3, 90, 96),
        "mean": (0.4, 0.5, 0.6),
        "std": (0.2, 0.2, 0.3),
        "crop_pct": 0.95,
        "interpolation": "bilinear",
    }
    found = timm.preprocess_spec(config)
    assert (found.size, found.shorter, found.mean, found.std) == ((90, 96), 94, (0.4, 0.5, 0.6), (0.2, 0.2, 0.3))
    assert found.interpolation == "bilinear" and found.range == (0.0, 1.0)
    model = SimpleNamespace(pretrained_cfg=config | {"crop_mode": "squash", "label_names": ["a", "b"]})
    assert timm.preprocess_spec(model).shorter is None and timm.class_names(model) == ("a", "b")
    assert timm.class_names(SimpleNamespace()) is None
    for crop in ({}, {"crop_pct": None}):
        assert timm.preprocess_spec({"input_size": (3, 224, 288), "mean": HALF, "std": HALF} | crop).shorter == 256


def test_torchvision():
    mode = enum.Enum("InterpolationMode", {"BICUBIC": "bicubic"}).BICUBIC
    transforms = SimpleNamespace(crop_size=[64], resize_size=[72], mean=[0.1] * 3, std=[0.2] * 3, interpolation=mode)
    weights = SimpleNamespace(transforms=lambda: transforms, meta={"categories": ["cat", "dog"]})
    found = torchvision.preprocess_spec(weights)
    assert (found.size, found.shorter, found.mean, found.interpolation) == ((64, 64), 72, (0.1,) * 3, "bicubic")
    assert torchvision.preprocess_spec(transforms) == found
    assert torchvision.class_names(weights) == ("cat", "dog") and torchvision.class_names(SimpleNamespace(meta={})) is None


@pytest.mark.parametrize("library", [transformers, timm, torchvision])
def test_what_says_nothing_is_refused(library):
    name = library.__name__.rpartition(".")[2]
    with pytest.raises(TypeError, match=rf"{name}.preprocess_spec: expected source to be .*, got int; or write a models.Prep"):
        library.preprocess_spec(3)


def test_numbers_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="timm.preprocess_spec: .* KeyError: 'mean'"):
        timm.preprocess_spec({"input_size": (3, 8, 8)})
    with pytest.raises(ValueError, match="torchvision.preprocess_spec: .* expected std > 0 and finite"):
        torchvision.preprocess_spec(SimpleNamespace(crop_size=[8], resize_size=[8], mean=HALF, std=[0.0] * 3))


@pytest.mark.parametrize(("library", "version"), [(timm, "0.6.13"), (torchvision, "0.9.0"), (transformers, "4.30.1")])
def test_a_partner_that_is_too_old(library, version, tmp_path, monkeypatch):
    name = library.__name__.rpartition(".")[2]
    (tmp_path / "config.json").write_text("{}")
    old = ModuleType(name)
    old.__version__ = version
    monkeypatch.setitem(sys.modules, name, old)
    with pytest.raises(ImportError) as error:
        library.load(str(tmp_path))
    wanted = ".".join(map(str, library._LEAST))
    assert str(error.value) == f"{name} >= {wanted} is needed, got {version}; pip install 'saliency_ext[{name}]'"


# ---- transformers itself, with random weights


def tiny(kind):
    library = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "num_labels": 3}
    vit = {"image_size": 32, "patch_size": 8}
    if kind == "vit":
        return library.ViTForImageClassification(library.ViTConfig(**vit, **sizes))
    if kind == "deit":
        return library.DeiTForImageClassificationWithTeacher(library.DeiTConfig(**vit, **sizes))
    if kind == "dinov2":
        config = library.Dinov2WithRegistersConfig(**vit, **sizes, num_register_tokens=4)
        return library.Dinov2WithRegistersForImageClassification(config)
    if kind == "swin":
        swin = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2, "patch_size": 4, "image_size": 32}
        return library.SwinForImageClassification(library.SwinConfig(**swin, num_labels=3))
    return library.ResNetForImageClassification(
        library.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3)
    )


@pytest.mark.parametrize(
    ("kind", "grid"), [("vit", (4, 4, 1)), ("deit", (4, 4, 2)), ("dinov2", (4, 4, 5)), ("swin", (4, 4, 0)), ("resnet", (4, 4, 0))]
)
def test_classifiers_of_transformers(kind, grid):
    """Tokens become a map without a reshape function by hand, and every metric takes the model as it is."""
    model = tiny(kind).eval()
    forward = Classifier(model)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(forward(images), model(images).logits)
    found = target_layer(forward, images).grid
    assert (found.rows, found.columns, found.leading) == grid
    maps = GradCAM(forward)(images, torch.tensor([0, 2]))
    assert maps.shape == (2, 32, 32) and maps.isfinite().all()
    results = evaluate(forward, images, "predicted", {"cam": maps}, [Deletion(Constant(0.0))])
    assert results["cam", "deletion"].values.isfinite().all()


def test_a_larger_image_than_the_model_was_made_for():
    forward = Classifier(tiny("vit").eval(), options={"interpolate_pos_encoding": True})
    maps = GradCAM(forward)(torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(0)), 1)
    assert maps.shape == (1, 32, 64) and maps.isfinite().all()


def real_processor(kind, options):
    library = pytest.importorskip("transformers", reason="transformers is not installed")
    make = getattr(library, f"{kind}ImageProcessorPil", None)
    if make is None:
        pytest.skip("this transformers has no image processors without torchvision")
    return make(**options)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ViT", {"size": {"height": 24, "width": 24}}),
        ("ConvNext", {"size": {"shortest_edge": 28}}),
        ("ConvNext", {"size": {"shortest_edge": 384}}),
        ("PoolFormer", {"size": {"shortest_edge": 28}, "crop_size": {"height": 24, "width": 24}, "crop_pct": 0.7}),
        ("PoolFormer", {"size": {"height": 28, "width": 28}, "crop_size": {"height": 24, "width": 24}, "crop_pct": 0.7}),
        ("EfficientNet", {"size": {"height": 36, "width": 36}, "crop_size": {"height": 24, "width": 24}, "do_center_crop": True}),
        ("EfficientNet", {"size": {"height": 24, "width": 24}, "rescale_factor": 1 / 127.5, "rescale_offset": True}),
        ("ViT", {"size": {"height": 24, "width": 24}, "do_rescale": False, "image_mean": [127.0] * 3, "image_std": [60.0] * 3}),
    ],
)
def test_the_inputs_of_a_real_image_processor(tmp_path, kind, options):
    """A square picture, so that squeezing and keeping the aspect are one."""
    processor = real_processor(kind, options)
    from PIL import Image

    from saliency_ext.commands.preprocessing import read_picture

    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    spec = transformers.preprocess_spec(processor)
    found = spec.inputs(read_picture(tmp_path / "picture.png", spec))
    expected = torch.as_tensor(np.asarray(processor(Image.fromarray(pixels))["pixel_values"][0]))
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-4)
    processor.save_pretrained(tmp_path)
    assert torch.equal(transformers.folder_spec(tmp_path).inputs(read_picture(tmp_path / "picture.png", spec)), found)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PoolFormer", {"size": 224, "crop_pct": 0.9, "do_resize_and_center_crop": True}),
        ("ConvNext", {"size": 224, "crop_pct": 0.875}),
        ("ConvNext", {"size": 384, "crop_pct": 0.875}),
        ("ViT", {"size": {"height": 24, "width": 24}, "crop_pct": 0.9}),
    ],
)
def test_a_file_with_a_number_for_the_size_is_what_the_processor_makes_of_it(kind, options):
    processor = real_processor(kind, options)
    given = transformers.preprocess_spec(options)
    read = transformers.preprocess_spec(processor)
    assert (given.size, given.shorter) == (read.size, read.shorter)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert processor(pixels)["pixel_values"][0].shape[1:] == given.size
