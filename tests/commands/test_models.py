"""Where a model comes from: each kind, what it says of its inputs, and a clear word for everything that can be missing."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from saliency_ext.commands.models import LogitsOf, _preprocessor, load_model
from saliency_ext.commands.outcome import USAGE, CommandError
from saliency_ext.testbed.nets import make_net
from saliency_ext.testbed.scenes import CLASSES, MEAN, STD


def refused(text, spec, **options):
    with pytest.raises(CommandError, match=text) as caught:
        load_model(spec, **options)
    assert caught.value.status == USAGE


def net(outputs=3):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, outputs))


def test_testbed(monkeypatch):
    asked = []
    monkeypatch.setattr("saliency_ext.testbed.load.load_net", lambda name: asked.append(name) or make_net("residual"))
    loaded = load_model("testbed")
    assert asked == ["residual"] and loaded.labels == CLASSES and loaded.spec == "testbed"
    assert (loaded.preprocessing.mean, loaded.preprocessing.std, loaded.preprocessing.size) == (MEAN, STD, (64, 64))
    load_model("testbed:transformer")
    assert asked[-1] == "transformer"

    def missing(name):
        raise FileNotFoundError("load_net: expected the file x, got no such file; reinstall the package")

    monkeypatch.setattr("saliency_ext.testbed.load.load_net", missing)
    refused("--model testbed: load_net: expected the file x", "testbed")


def test_python(tmp_path, monkeypatch):
    (tmp_path / "my_net_of_a_test.py").write_text(
        "import torch\ndef load():\n    return torch.nn.Flatten().train()\nready = torch.nn.Flatten()\nnumber = lambda: 3\n"
    )
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    loaded = load_model("python:my_net_of_a_test:load")
    assert sys.path == before and not loaded.forward.training and loaded.labels is None
    assert "assumed" in loaded.preprocessing.source and loaded.preprocessing.size == (224, 224)
    assert isinstance(load_model("python:my_net_of_a_test:ready").forward, torch.nn.Flatten)
    given = load_model("python:my_net_of_a_test:load", size=32, mean=(0.1,) * 3, std=(0.2,) * 3).preprocessing
    assert (given.size, given.shorter, given.mean, given.std, given.source) == ((32, 32), 32, (0.1,) * 3, (0.2,) * 3, "as asked")
    refused("cannot find 'other' in 'my_net_of_a_test'", "python:my_net_of_a_test:other")
    refused("cannot find 'load' in 'no_such_module_at_all'", "python:no_such_module_at_all:load")
    refused("a function that returns the model, got 'python:my_net_of_a_test'", "python:my_net_of_a_test")
    refused("to give a torch.nn.Module, got int", "python:my_net_of_a_test:number")
    refused("--device: cannot use 'nonsense'", "python:my_net_of_a_test:load", device="nonsense")


@pytest.mark.parametrize("spec", ["resnet18", "caffe:x", "timm:", "python:", ""])
def test_other_words_are_refused(spec):
    refused("--model: expected testbed, testbed:transformer, transformers:FOLDER", spec)


@pytest.mark.parametrize("name", ["transformers", "timm", "torchvision"])
def test_a_missing_partner_says_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    refused(f"--model {name}: cannot import it: .*; pip install {name}", f"{name}:x")


def test_timm(monkeypatch):
    library, data = ModuleType("timm"), ModuleType("timm.data")
    asked = []
    library.create_model = lambda name, pretrained: asked.append((name, pretrained)) or net()
    found = {"input_size": (3, 96, 96), "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.2, 0.3), "crop_pct": 0.75}
    data.resolve_data_config = lambda options, model: found
    monkeypatch.setitem(sys.modules, "timm", library)
    monkeypatch.setitem(sys.modules, "timm.data", data)
    prepared = load_model("timm:small").preprocessing
    assert asked == [("small", True)] and (prepared.size, prepared.shorter, prepared.mean) == ((96, 96), 128, (0.4, 0.5, 0.6))

    def offline(name, pretrained):
        raise ConnectionError("no network")

    library.create_model = offline
    refused("cannot load 'small' with its weights: ConnectionError: no network", "timm:small")


def test_torchvision(monkeypatch):
    library = ModuleType("torchvision")
    transforms = SimpleNamespace(crop_size=[64], resize_size=[72], mean=[0.1] * 3, std=[0.2] * 3)
    weights = SimpleNamespace(transforms=lambda: transforms, meta={"categories": ["cat", "dog", "car"]})
    library.models = SimpleNamespace(
        get_model_weights=lambda name: SimpleNamespace(DEFAULT=weights), get_model=lambda name, weights: net()
    )
    monkeypatch.setitem(sys.modules, "torchvision", library)
    loaded = load_model("torchvision:small")
    assert loaded.labels == ("cat", "dog", "car") and (loaded.preprocessing.size, loaded.preprocessing.shorter) == ((64, 64), 72)


@pytest.mark.parametrize(
    ("content", "size", "shorter", "mean"),
    [
        ({"size": {"height": 32, "width": 48}, "image_mean": [0.1] * 3, "image_std": [0.2] * 3}, (32, 48), None, (0.1,) * 3),
        (
            {"size": {"shortest_edge": 99}, "crop_size": {"height": 88, "width": 8}, "do_center_crop": True},
            (88, 8),
            99,
            (0.5,) * 3,
        ),
        ({"size": 40}, (40, 40), None, (0.5,) * 3),
        ({"size": {"shortest_edge": 40}}, (40, 40), 40, (0.5,) * 3),
        ({"size": 40, "do_normalize": False}, (40, 40), None, (0.0,) * 3),
        (None, (96, 96), None, (0.5,) * 3),
    ],
)  # fmt: skip
def test_preprocessor_files(tmp_path, content, size, shorter, mean):
    if content is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    found = _preprocessor(tmp_path, 96)
    assert (found.size, found.shorter, found.mean) == (size, shorter, mean)
    assert found.source == ("assumed" if content is None else "preprocessor_config.json")


@pytest.mark.parametrize("text", ["{", "[1]", '{"size": {"longest": 3}}', '{"size": "big"}', '{"size": 8, "image_mean": [null]}'])
def test_a_broken_preprocessor_file_is_refused(tmp_path, text):
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(CommandError, match=r"cannot read .*preprocessor_config\.json"):
        _preprocessor(tmp_path, None)


def test_logits_of_an_object():
    inner = torch.nn.Module()
    inner.forward = lambda inputs: SimpleNamespace(logits=inputs.flatten(1)[:, :2])
    assert LogitsOf(inner)(torch.ones(3, 1, 2, 2)).shape == (3, 2)


def test_transformers_from_a_folder(tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=16,
        patch_size=8,
        num_labels=3,
    )
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    loaded = load_model(f"transformers:{tmp_path}")
    assert loaded.labels == ("LABEL_0", "LABEL_1", "LABEL_2") and loaded.preprocessing.size == (16, 16)
    assert loaded.forward(torch.zeros(2, 3, 16, 16)).shape == (2, 3)
    (tmp_path / "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(CommandError, match="cannot load"):
        load_model(f"transformers:{tmp_path}")


def test_transformers_without_a_folder(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", ModuleType("transformers"))
    refused("expected a folder with config.json, as save_pretrained writes it, got 'google/vit'", "transformers:google/vit")
