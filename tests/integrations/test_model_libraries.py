"""What models of transformers, timm and torchvision say of their inputs: by stand-ins, and in transformers itself."""

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
from saliency_ext.integrations._loaded_model import at_side
from saliency_ext.metrics import Deletion
from saliency_ext.models import Classifier, target_layer

HALF = (0.5,) * 3


def squeezed(side, factor=2.0):
    """A processor by hand: (3, side, side) in [-1, 1] for a factor of 2."""
    return lambda picture: torch.from_numpy(np.array(picture.resize((side, side)))).movedim(-1, 0) / 255 * factor - 1


class OwnProcessor:
    """As an image processor of transformers: settings in, a mapping with pixel values out."""

    def __init__(self, **settings):
        self.settings = settings

    def to_dict(self):
        return dict(self.settings)

    @classmethod
    def from_dict(cls, settings):
        return cls(**settings)

    def __call__(self, images, return_tensors):
        return {"pixel_values": squeezed(self.settings["size"]["height"])(images)[None]}


@pytest.fixture
def stand_in(monkeypatch):
    """transformers, of which only the reader of image processors is asked."""
    library = ModuleType("transformers")
    library.__version__ = "5.0.0"

    def from_pretrained(folder, local_files_only, trust_remote_code):
        assert local_files_only and not trust_remote_code
        return OwnProcessor(**json.loads((folder / "preprocessor_config.json").read_text()))

    library.AutoImageProcessor = SimpleNamespace(from_pretrained=from_pretrained)
    monkeypatch.setitem(sys.modules, "transformers", library)


def test_the_processor_of_a_folder_is_called(tmp_path, stand_in):
    settings = {"size": {"height": 12, "width": 12}, "image_processor_type": "Own"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    spec = transformers.folder_spec(tmp_path)
    assert (spec.size, spec.mean, spec.std, spec.source) == ((12, 12), HALF, HALF, "preprocessor_config.json")
    own = OwnProcessor(**settings)
    assert transformers.preprocess_spec(own) == transformers.preprocess_spec(settings)
    assert transformers.preprocess_spec(own).source == "OwnProcessor"
    assert at_side(spec, 24).size == (24, 24)


@pytest.mark.parametrize("settings", [{"size": {"height": 8, "width": 8}}, {"image_processor_type": "Own"}, {}])
def test_settings_that_do_not_say_what_becomes_of_them_are_refused(stand_in, settings):
    with pytest.raises(ValueError, match="transformers.preprocess_spec: .* that can be run on a picture, got (Value|Key)Error"):
        transformers.preprocess_spec(settings)


def test_settings_alone_need_their_library(monkeypatch):
    """What a processor makes of its settings is not guessed: DeiT squeezes before it crops, MobileViT turns the channels."""
    for name in ("transformers", "timm"):
        monkeypatch.setitem(sys.modules, name, None)
    for settings in (
        {"size": {"height": 256, "width": 256}, "crop_size": 224, "image_processor_type": "DeiTImageProcessor"},
        {"size": 288, "do_flip_channel_order": True, "feature_extractor_type": "MobileViTFeatureExtractor"},
    ):
        with pytest.raises(ValueError, match="transformers.preprocess_spec: .* got ImportError: transformers >= .* is needed"):
            transformers.preprocess_spec(settings)
    with pytest.raises(ValueError, match="timm.preprocess_spec: .* got ImportError: timm >= .* is needed"):
        timm.preprocess_spec({"input_size": (3, 8, 8), "mean": HALF, "std": HALF, "crop_mode": "squash"})


def test_without_a_processor_it_is_assumed(tmp_path):
    result = transformers.folder_spec(tmp_path)
    assert (result.size, result.mean, result.std, result.source) == ((224, 224), HALF, HALF, "assumed")
    model = SimpleNamespace(config=SimpleNamespace(image_size=[96, 64]))
    assert transformers.folder_spec(tmp_path, model).size == (96, 64)


@pytest.mark.parametrize("text", ["{", "[1]", '{"size": {"longest": 3}}', '{"size": "big"}'])
def test_broken_settings_are_refused(tmp_path, stand_in, text):
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(ValueError, match=r"transformers.load: expected .*preprocessor_config\.json to hold an image processor"):
        transformers.folder_spec(tmp_path)


def test_timm(monkeypatch):
    library, data = ModuleType("timm"), ModuleType("timm.data")
    library.__version__ = "1.0.19"
    data.resolve_data_config = lambda options, model=None, pretrained_cfg=None: dict(pretrained_cfg or model.pretrained_cfg)
    data.create_transform = lambda input_size, is_training: squeezed(input_size[1]) if input_size[0] == 3 else grey(input_size[1])

    def grey(side):
        return lambda picture: torch.from_numpy(np.array(picture.resize((side, side))))[None] / 255

    monkeypatch.setitem(sys.modules, "timm", library)
    monkeypatch.setitem(sys.modules, "timm.data", data)
    model = SimpleNamespace(pretrained_cfg={"input_size": (3, 16, 16)})
    result = timm.preprocess_spec(model)
    assert (result.size, result.mean, result.channels, result.source) == ((16, 16), HALF, "RGB", "timm")
    assert timm.preprocess_spec({"input_size": (3, 16, 16)}) == result and at_side(result, 20).size == (20, 20)
    assert timm.preprocess_spec({"input_size": (1, 16, 16)}).channels == "L"
    assert timm.class_names(SimpleNamespace(pretrained_cfg={"label_names": ["a", "b"]})) == ("a", "b")
    assert timm.class_names(SimpleNamespace()) is None
    with pytest.raises(ValueError, match="timm.preprocess_spec: .* TypeError"):
        timm.preprocess_spec({"mean": HALF})


class Preset:
    """As torchvision's preset of a classifier: the shorter side, then the middle, here squeezed."""

    def __init__(self):
        self.crop_size, self.resize_size = [64], [72]

    def __call__(self, picture):
        assert self.resize_size == [72 * self.crop_size[0] // 64]
        return squeezed(self.crop_size[0])(picture)


def test_torchvision():
    weights = SimpleNamespace(transforms=Preset, meta={"categories": ["cat", "dog"]})
    result = torchvision.preprocess_spec(weights)
    assert (result.size, result.mean, result.source) == ((64, 64), HALF, "torchvision")
    assert torchvision.preprocess_spec(Preset()) == result == torchvision.preprocess_spec(squeezed(64))
    assert at_side(result, 32).size == (32, 32)
    assert torchvision.class_names(weights) == ("cat", "dog") and torchvision.class_names(SimpleNamespace(meta={})) is None
    with pytest.raises(ValueError, match="torchvision.preprocess_spec: .* ZeroDivisionError"):
        torchvision.preprocess_spec(lambda picture: 1 / 0)


@pytest.mark.parametrize("library", [transformers, timm, torchvision])
def test_what_says_nothing_is_refused(library):
    name = library.__name__.rpartition(".")[2]
    with pytest.raises(TypeError, match=rf"{name}.preprocess_spec: expected source to be .*, got int; or write a models.Prep"):
        library.preprocess_spec(3)


@pytest.mark.parametrize(("library", "version"), [(timm, "0.6.13"), (torchvision, "0.9.0"), (transformers, "4.30.1")])
def test_a_partner_that_is_too_old(library, version, tmp_path, monkeypatch):
    name = library.__name__.rpartition(".")[2]
    (tmp_path / "config.json").write_text("{}")
    old = ModuleType(name)
    old.__version__ = version
    monkeypatch.setitem(sys.modules, name, old)
    with pytest.raises(ImportError) as error:
        library.load(str(tmp_path))
    wanted = ".".join(map(str, library._OLDEST))
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
    result = target_layer(forward, images).grid
    assert (result.rows, result.columns, result.leading) == grid
    maps = GradCAM(forward)(images, torch.tensor([0, 2]))
    assert maps.shape == (2, 32, 32) and maps.isfinite().all()
    results = evaluate(forward, images, "predicted", {"cam": maps}, [Deletion(Constant(0.0))])
    assert results["cam", "deletion"].values.isfinite().all()


def test_a_larger_image_than_the_model_was_made_for():
    forward = Classifier(tiny("vit").eval(), options={"interpolate_pos_encoding": True})
    maps = GradCAM(forward)(torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(0)), 1)
    assert maps.shape == (1, 32, 64) and maps.isfinite().all()
