"""Where a model comes from: each kind, what it says of its inputs, and a clear word for everything that can be missing."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from saliency_ext.commands.models import load_model
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
def test_a_missing_partner_says_what_to_install(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "config.json").write_text("{}")
    refused(f"--model {name}: {name} >= .* is needed, got none; pip install 'saliency_ext\\[{name}\\]'", f"{name}:{tmp_path}")


def test_timm(monkeypatch):
    library, data = ModuleType("timm"), ModuleType("timm.data")
    library.__version__ = "1.0.19"
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
    refused("cannot load 'small': ConnectionError: no network", "timm:small")


def test_torchvision(monkeypatch):
    library = ModuleType("torchvision")
    library.__version__ = "0.28.0+cpu"
    transforms = SimpleNamespace(crop_size=[64], resize_size=[72], mean=[0.1] * 3, std=[0.2] * 3)
    weights = SimpleNamespace(transforms=lambda: transforms, meta={"categories": ["cat", "dog", "car"]})
    library.models = SimpleNamespace(
        get_model_weights=lambda name: SimpleNamespace(DEFAULT=weights), get_model=lambda name, weights: net()
    )
    monkeypatch.setitem(sys.modules, "torchvision", library)
    loaded = load_model("torchvision:small")
    given = load_model("torchvision:small", mean=(0.5,) * 3).preprocessing
    assert (given.mean, given.std, given.shorter, given.source) == ((0.5,) * 3, (0.2,) * 3, 72, "as asked")
    assert loaded.labels == ("cat", "dog", "car") and (loaded.preprocessing.size, loaded.preprocessing.shorter) == ((64, 64), 72)


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
    (tmp_path / "preprocessor_config.json").write_text('{"size": "big"}')
    with pytest.raises(CommandError, match=r"--model transformers: cannot load .*preprocessor_config\.json"):
        load_model(f"transformers:{tmp_path}")
    (tmp_path / "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(CommandError, match="cannot load"):
        load_model(f"transformers:{tmp_path}")


def test_transformers_without_a_folder(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", ModuleType("transformers"))
    refused("expected a folder with config.json, as save_pretrained writes it, got 'google/vit'", "transformers:google/vit")
