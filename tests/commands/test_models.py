"""Where a model comes from: each kind, what it says of its inputs, and a clear word for everything that can be missing."""

import importlib
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from saliency_ext.commands._command_result import USAGE, CommandError
from saliency_ext.commands._models import load_model
from saliency_ext.testbed.nets import make_net
from saliency_ext.testbed.scenes import CLASSES, MEAN, STD


def refused(text, spec, **options):
    with pytest.raises(CommandError, match=text) as caught:
        load_model(spec, **options)
    assert caught.value.status == USAGE


def net(outputs=3):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, outputs))


def squeezed(side):
    """As a library's transform: (3, side, side) in [0, 1]."""
    return lambda picture: torch.from_numpy(np.array(picture.resize((side, side)))).movedim(-1, 0) / 255


def timm_net():
    model = net()
    model.pretrained_cfg = {"input_size": (3, 96, 96)}
    return model


def test_testbed(monkeypatch):
    requested = []
    monkeypatch.setattr("saliency_ext.testbed.load.load_net", lambda name: requested.append(name) or make_net("residual"))
    loaded = load_model("testbed")
    assert requested == ["residual"] and loaded.labels == CLASSES and loaded.spec == "testbed"
    assert (loaded.preprocessing.mean, loaded.preprocessing.std, loaded.preprocessing.size) == (MEAN, STD, (64, 64))
    load_model("testbed:transformer")
    assert requested[-1] == "transformer"

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
    assert (given.size, given.shorter, given.mean, given.std, given.source) == ((32, 32), 36, (0.1,) * 3, (0.2,) * 3, "as asked")
    assert load_model("python:my_net_of_a_test:load", size=224).preprocessing.shorter == loaded.preprocessing.shorter == 256
    assert load_model("python:my_net_of_a_test:load", size=32).preprocessing.source == "assumed; say --mean, --std"
    assert load_model("python:my_net_of_a_test:load", mean=(0.1,), std=(0.2,)).preprocessing.std == (0.2,) * 3
    refused("cannot find 'other' in 'my_net_of_a_test'", "python:my_net_of_a_test:other")
    refused("cannot find 'load' in 'no_such_module_at_all'", "python:no_such_module_at_all:load")
    refused("a function that returns the model, got 'python:my_net_of_a_test'", "python:my_net_of_a_test")
    refused("to give a torch.nn.Module, got int", "python:my_net_of_a_test:number")
    refused("--device: cannot use 'nonsense'", "python:my_net_of_a_test:load", device="nonsense")
    refused("--device: cannot use 'hpu'", "python:my_net_of_a_test:load", device="hpu")
    refused("--device: expected a device that holds numbers, got 'meta'", "python:my_net_of_a_test:load", device="meta")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("def load(x):\n    pass", r"fails, called without arguments: TypeError: load\(\) missing"),
        (
            "def load():\n    return 1 / 0",
            r"called without arguments: ZeroDivisionError: .* \(a_net_that_fails.py, line 2\)",
        ),
        ("def load():\n    raise SystemExit(3)", "fails, called without arguments: SystemExit: 3"),
        ("load = 5", "to give a torch.nn.Module, got int"),
        ("import sys\nsys.exit(1)", "'a_net_that_fails' cannot be imported: SystemExit: 1"),
        ("load = 1 / 0", r"'a_net_that_fails' cannot be imported: ZeroDivisionError: .* \(a_net_that_fails.py, line 1\)"),
        ("load = (", "'a_net_that_fails' cannot be imported: SyntaxError"),
    ],
)
def test_a_loader_that_fails_is_one_line(tmp_path, monkeypatch, body, text):
    (tmp_path / "a_net_that_fails.py").write_text(body)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "a_net_that_fails", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    refused(text, "python:a_net_that_fails:load")


@pytest.mark.parametrize("spec", ["python::load", "python:.net:load", "python:net:"])
def test_modules_that_have_no_name(spec):
    refused("expected python:MODULE:FUNCTION, a function that returns the model, got 'python:", spec)


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
    requested = []
    library.create_model = lambda name, pretrained: requested.append((name, pretrained)) or timm_net()
    data.resolve_data_config = lambda options, model: {"input_size": model.pretrained_cfg["input_size"]}
    data.create_transform = lambda input_size, is_training: squeezed(input_size[1])
    monkeypatch.setitem(sys.modules, "timm", library)
    monkeypatch.setitem(sys.modules, "timm.data", data)
    prepared = load_model("timm:small").preprocessing
    assert requested == [("small", True)] and (prepared.size, prepared.mean, prepared.source) == ((96, 96), (0.0,) * 3, "timm")
    assert load_model("timm:small", size=32).preprocessing.size == (32, 32)
    given = load_model("timm:small", mean=(0.5,), std=(0.25,)).preprocessing
    picture = Image.new("RGB", (40, 30), (255, 0, 51))
    assert given.processor(picture)[:, 0, 0].tolist() == pytest.approx([2.0, -2.0, -1.2]), "brought to what is asked for"

    def offline(name, pretrained):
        raise ConnectionError("no network")

    library.create_model = offline
    refused("cannot load 'small': ConnectionError: no network", "timm:small")


def test_torchvision(monkeypatch):
    library = ModuleType("torchvision")
    library.__version__ = "0.28.0+cpu"
    weights = SimpleNamespace(transforms=lambda: squeezed(64), meta={"categories": ["cat", "dog", "car"]})
    library.models = SimpleNamespace(
        get_model_weights=lambda name: SimpleNamespace(DEFAULT=weights), get_model=lambda name, weights: net()
    )
    monkeypatch.setitem(sys.modules, "torchvision", library)
    loaded = load_model("torchvision:small")
    given = load_model("torchvision:small", mean=(0.5,) * 3).preprocessing
    assert (given.mean, given.std, given.source) == ((0.5,) * 3, (1.0,) * 3, "as asked")
    assert loaded.labels == ("cat", "dog", "car") and loaded.preprocessing.size == (64, 64)
    refused("--size: at_side: expected side .64, 64., what the processor of torchvision makes", "torchvision:small", size=32)


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
