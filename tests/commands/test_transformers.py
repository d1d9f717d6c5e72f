"""A real transformers image classifier from a local folder, on real pictures, one of them cut short: end to end."""

import json

import pytest
import skimage.data
from PIL import Image

from saliency_ext import cli
from saliency_ext.commands._models import load_model
from saliency_ext.study.reader import read_results, read_table

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("pyarrow")

PICTURES = ("coffee", "chelsea", "astronaut", "rocket")
NAMES = {0: "cup, mug", 1: "cat", 2: "<i>person</i>"}


def tiny(kind):
    """A configuration and a model class of random weights, in its smallest size."""
    labels = {"id2label": NAMES, "label2id": {name: number for number, name in NAMES.items()}}
    if kind == "vit":
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        return transformers.ViTForImageClassification(transformers.ViTConfig(image_size=32, patch_size=8, **sizes, **labels))
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    return transformers.ResNetForImageClassification(transformers.ResNetConfig(**sizes, **labels))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Folders with models as save_pretrained writes them, and a folder of pictures."""
    home = tmp_path_factory.mktemp("transformers")
    for kind in ("vit", "resnet"):
        tiny(kind).save_pretrained(home / kind)
        size = {"height": 32, "width": 32} if kind == "vit" else {"shortest_edge": 32}  # what its processor can read
        prepared = {"size": size, "image_mean": [0.5] * 3, "image_std": [0.25] * 3, "do_normalize": True}
        (home / kind / "preprocessor_config.json").write_text(json.dumps(prepared))
    (home / "pictures").mkdir()
    for name in PICTURES:
        Image.fromarray(getattr(skimage.data, name)()[:128, :160]).save(home / "pictures" / f"{name}.png")
    whole = (home / "pictures" / "coffee.png").read_bytes()
    (home / "pictures" / "broken.png").write_bytes(whole[: len(whole) // 2])
    return home


@pytest.mark.parametrize(
    ("kind", "methods"), [("vit", "grad_cam,gradient,integrated_gradients"), ("resnet", "grad_cam,gradient,occlusion")]
)
def test_evaluate(home, kind, methods, capsys):
    out = home / f"report-{kind}"
    words = ["--data", str(home / "pictures"), "--methods", methods, "--steps", "4", "--pictures", "1", "--quiet"]
    assert cli.main(["evaluate", "--model", f"transformers:{home / kind}", *words, "--out", str(out)]) == 0
    assert f"Report: {out / 'index.html'}" in capsys.readouterr().out
    results = read_results(out)
    assert set(methods.split(",")) < {name for name, _ in results}
    for name in methods.split(","):
        result = results[name, "deletion"]
        assert result.status.count("unreadable_sample") == 1 and result.values[result.valid].shape == (len(PICTURES),)
    rows = read_table(out).to_pylist()
    broken = [row for row in rows if row["name"] == "broken.png"]
    assert broken and all(row["status"] == "unreadable_sample" and row["message"] for row in broken)
    page = (out / "index.html").read_text()
    assert "broken.png" in page and "unreadable_sample" in page and "<i>person</i>" not in page
    assert any(label in page for label in ("cup, mug", "Explained: cat", "&lt;i&gt;person&lt;/i&gt;"))


def test_explain_and_what_the_folder_says(home, capsys):
    loaded = load_model(f"transformers:{home / 'vit'}")
    assert loaded.labels == tuple(NAMES.values()) and loaded.preprocessing.size == (32, 32)
    assert loaded.preprocessing.std == (0.25,) * 3 and loaded.preprocessing.source == "preprocessor_config.json"
    words = ["explain", str(home / "pictures" / "chelsea.png"), "--model", f"transformers:{home / 'vit'}", "--target", "cat"]
    assert cli.main([*words, "--methods", "gradient,grad_cam", "--out", str(home / "maps.png")]) == 0
    assert "chelsea.png: cat, probability 0." in capsys.readouterr().out and Image.open(home / "maps.png").width > 500


def test_folders_that_hold_no_classifier(home, capsys):
    (home / "empty").mkdir()
    for folder, text in (("empty", "expected a folder with config.json"), ("none", "expected a folder with config.json")):
        assert cli.main(["evaluate", "--model", f"transformers:{home / folder}", "--data", str(home / "pictures")]) == 2
        assert text in capsys.readouterr().err
    (home / "empty" / "config.json").write_text("{}")
    assert cli.main(["evaluate", "--model", f"transformers:{home / 'empty'}", "--data", str(home / "pictures")]) == 2
    assert "--model transformers: cannot load" in capsys.readouterr().err
