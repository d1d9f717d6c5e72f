"""Inputs are those of the libraries' own processors, to the bit, over pictures of many aspects."""

import numpy as np
import pytest
import torch
from PIL import Image

from saliency_ext.commands._preprocessing import read_inputs, read_picture
from saliency_ext.integrations import timm, torchvision, transformers
from saliency_ext.integrations._loaded_model import at_side

SIDES = ((128, 64), (61, 97), (50, 40), (33, 33))


def check(tmp_path, spec, processor):
    """The same inputs, and the same again from the window in 8 bits."""
    rng = np.random.default_rng(0)
    for width, height in SIDES:
        picture = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)).resize((width, height))
        path = tmp_path / "picture.png"
        picture.save(path)
        expected = torch.as_tensor(np.asarray(processor(picture))).float()
        assert torch.equal(read_inputs(path, spec), expected), (width, height)
        levels = torch.tensor(spec.unit_std).view(-1, 1, 1) * 255
        assert ((spec.inputs(read_picture(path, spec)) - expected) * levels).abs().max() <= 0.51


EDGE, CROP = {"shortest_edge": 28}, {"height": 24, "width": 24}
PROCESSORS = [
    ("ViT", {"size": CROP}),
    ("ViT", {"size": CROP, "do_rescale": False, "image_mean": [127.0] * 3, "image_std": [60.0] * 3}),
    ("DeiT", {"size": {"height": 28, "width": 28}, "crop_size": CROP}),
    ("Flava", {"size": CROP, "crop_size": CROP}),
    ("MobileViT", {"size": EDGE, "crop_size": CROP}),
    ("Levit", {"size": {"shortest_edge": 24}, "crop_size": CROP}),
    ("ConvNext", {"size": EDGE}),
    ("ConvNext", {"size": {"shortest_edge": 384}}),
    ("PoolFormer", {"size": EDGE, "crop_size": CROP, "crop_pct": 0.7}),
    ("Perceiver", {"size": CROP, "crop_size": {"height": 26, "width": 26}}),
    ("EfficientNet", {"size": {"height": 36, "width": 36}, "crop_size": CROP, "do_center_crop": True}),
    ("EfficientNet", {"size": CROP, "rescale_factor": 1 / 127.5, "rescale_offset": True}),
    ("CLIP", {"size": EDGE, "crop_size": CROP}),
    ("Siglip", {"size": CROP}),
]


@pytest.mark.parametrize(("kind", "options"), PROCESSORS)
def test_transformers(tmp_path, kind, options):
    library = pytest.importorskip("transformers", reason="transformers is not installed")
    processor = getattr(library, f"{kind}ImageProcessor")(**options)
    spec = transformers.preprocess_spec(processor)
    check(tmp_path, spec, lambda picture: processor(images=picture, return_tensors="pt")["pixel_values"][0])
    assert transformers.preprocess_spec(processor.to_dict()) == spec
    processor.save_pretrained(tmp_path)
    assert transformers.folder_spec(tmp_path).size == spec.size and at_side(spec, 48).size == (48, 48)
    assert spec.channels == ("BGR" if kind == "MobileViT" else "RGB")


@pytest.mark.parametrize(
    ("kind", "options"), [("ViT", {"do_resize": False}), ("Vilt", {}), ("Idefics2", {}), ("Siglip2", {}), ("VideoMAE", {})]
)
def test_processors_that_give_no_inputs_of_one_size_are_refused(kind, options):
    library = pytest.importorskip("transformers", reason="transformers is not installed")
    with pytest.raises(ValueError, match="transformers.preprocess_spec: .* (of one size|1 or 3 channels)"):
        transformers.preprocess_spec(getattr(library, f"{kind}ImageProcessor")(**options))


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(24, 24), (24, 32)])
@pytest.mark.parametrize("share", [0.8, 1.0])
def test_timm(tmp_path, mode, size, share):
    data = pytest.importorskip("timm.data", reason="timm is not installed")
    config = {"input_size": (3, *size), "crop_mode": mode, "crop_pct": share, "interpolation": "bicubic"}
    resolved = data.resolve_data_config({}, pretrained_cfg=config)
    check(tmp_path, timm.preprocess_spec(config), data.create_transform(**resolved))
    assert timm.preprocess_spec(resolved) == timm.preprocess_spec(config)


@pytest.mark.parametrize("name", ["ResNet18_Weights", "ViT_B_16_Weights", "Inception_V3_Weights", "EfficientNet_B1_Weights"])
def test_torchvision(tmp_path, name):
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    weights = getattr(models, name).DEFAULT
    spec = torchvision.preprocess_spec(weights)
    check(tmp_path, spec, weights.transforms())
    assert at_side(spec, 64).size == (64, 64) and spec.mean == pytest.approx(weights.transforms().mean, abs=1e-6)
