"""`saliency-ext disambiguate` and `verify`, end to end on a planted model and a picture of its own."""

from __future__ import annotations

import json
import re
from functools import partial
from types import SimpleNamespace

import numpy
import pytest
import torch
from PIL import Image

from saliency_ext import cli
from saliency_ext.commands._choices import infill_by_name
from saliency_ext.commands._command_result import CommandError
from saliency_ext.commands._models import CommandModel
from saliency_ext.commands._segmenters import requested_segments
from saliency_ext.commands.disambiguate import picture
from saliency_ext.disambiguation import PairFinder, SegmentAnything, preset_rules, read_proof
from saliency_ext.disambiguation._proof_infill import check_describable
from saliency_ext.infill.registry import infill_summaries
from saliency_ext.models import PreprocessSpec
from saliency_ext.report import PairExample
from tests.disambiguation.tiny_sam import tiny_model

NET = """
import torch
class Net(torch.nn.Module):
    '''Class 0 sees the left upper quarter, class 1 the right lower one, classes 2 and 3 both the left lower one.'''
    def __init__(self, gain=6.0):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(gain))
    def forward(self, x):
        cells = self.gain * torch.nn.functional.adaptive_avg_pool2d(x, 2).mean(1).flatten(1)
        columns = [cells[:, 0], cells[:, 3], cells[:, 2], cells[:, 2]]
        return torch.stack(columns + [0 * cells[:, 0]] * 36, 1)
def load():
    return Net()
def other():
    return Net(6.5)
"""
MODEL = ["--model", "python:net_of_the_pair_test:load", "--size", "16", "--mean", "0", "--std", "1"]
RUN = ["disambiguate", "white.png", *MODEL, "--cells", "4", "--infill", "black", "--others", "--top", "4"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "net_of_the_pair_test.py").write_text(NET)
    pixels = numpy.full((16, 16, 3), 255, dtype=numpy.uint8)
    pixels[::4, ::4] = 0  # not one colour: a baseline of the image's own extremes must differ from it
    Image.fromarray(pixels).save(tmp_path / "white.png")
    Image.fromarray(255 - pixels // 2).save(tmp_path / "other.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_picture_end_to_end(here, capsys):
    assert cli.main(RUN) == 0
    text = capsys.readouterr().out
    assert "white.png: 6 pairs of the top 4 labels" in text and "masked inputs in" in text
    assert f"Report: {here / 'pairs' / 'index.html'}" in text
    result = {path.stem for path in (here / "pairs").glob("*.json")}
    assert any("distinct" in name for name in result) and any("shared" in name and {"2", "3"} <= set(name) for name in result), (
        result
    )
    assert {path.stem for path in (here / "pairs").glob("*.png")} == result
    page = (here / "pairs" / "index.html").read_text()
    assert page.count('<article class="proof">') == len(result) and "white.png" in page
    for path in sorted((here / "pairs").glob("*.json")):
        assert cli.main(["verify", str(path), "white.png", *MODEL]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("valid: to this model class ") and "checked under constant in 1 forward pass(es)" in shown
        assert "(delta 80 %, by redacting at most 50 % of it)" in shown
        assert Image.open(path.with_suffix(".png")).width == 2 * 192 + 8


@pytest.mark.parametrize("name", sorted(infill_summaries()))
def test_every_infill_of_the_command_line_can_be_in_a_proof(name):
    """Else a search would end in an error after all its forwards."""
    check_describable(
        "test", infill_by_name(name, PreprocessSpec((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (224, 224)), 3), (224, 224)
    )


@pytest.mark.parametrize("infill", ["harmonic", "noisy_linear"])
def test_infills_that_look_at_the_pixels_around(here, infill, capsys):
    assert cli.main([*RUN, "--infill", infill, "--others", "black"]) == 0
    assert "pairs of the top 4 labels" in capsys.readouterr().out


def test_a_preset_is_applied_whole(here, capsys, monkeypatch):
    """Its thresholds, and also: no pruning, no segments of fewer than 5 pixels; only the infill is that of the command."""
    made = []
    monkeypatch.setattr("saliency_ext.commands.disambiguate.PairFinder", lambda *a, **k: made.append(k) or PairFinder(*a, **k))
    for name in ("default", "pairs2024_own"):
        assert cli.main([*RUN, "--rules", name]) == 0
        wanted = preset_rules(name)
        assert {key: made[-1][key] for key in wanted if key != "infill"} == {k: v for k, v in wanted.items() if k != "infill"}
        assert made[-1]["infill"].name == "constant"


def test_a_place_that_cannot_be_written_is_said_before_the_search(here, capsys, monkeypatch):
    (here / "taken").write_text("")
    monkeypatch.setattr(PairFinder, "__call__", lambda *a, **k: pytest.fail("the search has begun"))
    assert cli.main([*RUN, "--out", "taken"]) == 3
    assert "--out: cannot make the folder taken: File exists" in capsys.readouterr().err


def test_segments_of_a_segment_anything_model(here, capsys, monkeypatch):
    """In a local folder; what its random weights find is no matter, that they are asked is."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    tiny_model(transformers).save_pretrained(here / "sam")
    loose = partial(SegmentAnything, points=2, least_iou=0.0, least_stability=0.0)
    monkeypatch.setattr("saliency_ext.commands._segmenters.SegmentAnything", loose)
    assert cli.main([*RUN, "--masks", "sam"]) == 0
    assert "6 pairs of the top 4 labels" in capsys.readouterr().out
    assert "masks of a Segment Anything model in sam" in (here / "pairs" / "index.html").read_text()


def test_a_folder_without_such_a_model_is_refused(here, capsys):
    assert cli.main([*RUN, "--masks", "none"]) == 2
    assert "--masks: transformers.load_masks: expected a folder with config.json" in capsys.readouterr().err
    (here / "sam").mkdir()
    (here / "sam" / "config.json").write_text("{}")
    assert cli.main([*RUN, "--masks", "sam"]) == 2
    said = capsys.readouterr().err
    assert "--masks: cannot load 'sam'" in said or "pip install 'saliency_ext[transformers]'" in said


class Stripes(torch.nn.Module):
    """Stands for a Segment Anything model: the masks of a point are stripes whose width doubles, of the whole picture."""

    config = SimpleNamespace(vision_config=SimpleNamespace(image_size=16))

    def get_image_embeddings(self, pixels):
        return pixels

    def forward(self, input_points, image_embeddings):
        columns = torch.arange(16)
        masks = torch.stack([columns // 2**width % 2 == 0 for width in range(3)]).view(3, 1, 16).expand(3, 16, 16)
        logits = torch.where(masks, 9.0, -9.0)
        points = input_points.shape[1]
        return SimpleNamespace(pred_masks=logits.expand(1, points, 3, 16, 16), iou_scores=torch.ones(1, points, 3))


def test_masks_are_dropped_not_merged(here, capsys, monkeypatch):
    """Atoms come from `partition`, under the limits of the rules."""
    requested, stripes = [], Stripes()

    class Spied(SegmentAnything):
        def partition(self, inputs, **limits):
            requested.append(limits)
            return super().partition(inputs, **limits)

    monkeypatch.setattr("saliency_ext.commands._segmenters.SegmentAnything", Spied)
    monkeypatch.setattr("saliency_ext.commands._segmenters.transformers.load_masks", lambda folder: stripes)
    assert cli.main([*RUN, "--masks", "sam", "--rules", "pairs2024_diff"]) == 0
    assert requested == [{"min_pixels": 5}]
    assert "masks of a Segment Anything model in sam" in (here / "pairs" / "index.html").read_text()


def test_masks_see_pictures_in_their_colours_whatever_the_model_reads(monkeypatch):
    monkeypatch.setattr("saliency_ext.commands._segmenters.transformers.load_masks", lambda folder: Stripes())
    prepared = PreprocessSpec((127.5,) * 3, (51.0,) * 3, (4, 4), range=(0.0, 255.0))
    model = CommandModel("", torch.nn.Identity(), prepared, None)
    _, masks = requested_segments(SimpleNamespace(masks="sam"), model)
    assert masks.mean.flatten().tolist() == pytest.approx([0.5] * 3)
    assert masks.std.flatten().tolist() == pytest.approx([0.2] * 3)
    for channels, numbers in (("BGR", (0.5,) * 3), ("L", (0.5,))):
        other = CommandModel("", torch.nn.Identity(), PreprocessSpec(numbers, numbers, (4, 4), channels=channels), None)
        with pytest.raises(CommandError, match=f"--masks: expected a model that reads RGB, .* got one that reads {channels}"):
            requested_segments(SimpleNamespace(masks="sam"), other)
    monkeypatch.setattr("saliency_ext.commands._segmenters.transformers.load_masks", lambda folder: torch.nn.Identity())
    with pytest.raises(CommandError, match="--masks: cannot load 'sam': TypeError: SegmentAnything: expected model"):
        requested_segments(SimpleNamespace(masks="sam"), model)


def test_what_verify_says_of_other_things(here, capsys):
    assert cli.main([*RUN, "--others", "white"]) == 0
    path = str(next((here / "pairs").glob("*distinct*.json")))
    capsys.readouterr()
    other_model = [*MODEL[:1], "python:net_of_the_pair_test:other", *MODEL[2:]]
    for words, said in (
        (["verify", path, "other.png", *MODEL], "verify: expected image with the proof's fingerprint"),
        (
            ["verify", path, "white.png", *MODEL, "--mean", "0.5"],
            "or of this one prepared otherwise than here, shorter side 18, middle 16 x 16 (bicubic); "
            "mean 0.5, 0.5, 0.5; std 1, 1, 1 (as asked): say --size, --mean, --std",
        ),
        (["verify", path, "white.png", *MODEL, "--size", "20"], "(16, 16), got (20, 20), or of this one prepared otherwise than"),
        (["verify", path, "white.png", *other_model], "verify: expected model with the proof's fingerprint of its weights"),
        (["verify", "none.json", "white.png", *MODEL], "No such file"),
        (["verify", "white.png", "white.png", *MODEL], "read_proof: expected white.png to be UTF-8 text"),
        (["verify", path, "none.png", *MODEL], "cannot read 'none.png' as a picture"),
        ([*RUN, "--top", "1"], "labels of shape (N, T) with T >= 2"),
        ([*RUN, "--top", "41"], "'top-k' with k in [1, 40]"),
        ([*RUN, "--infill", "pink"], "there is no 'pink'"),
    ):
        assert cli.main(words) == 2, words
        assert said in capsys.readouterr().err
    content = json.loads((here / path).read_text())
    (here / "bad.json").write_text(json.dumps(content | {"delta": 51.0}))
    assert cli.main(["verify", "bad.json", "white.png", *MODEL]) == 2
    assert "the file was changed" in capsys.readouterr().err


def test_a_proof_that_does_not_hold_exits_with_one(here, capsys, monkeypatch):
    assert cli.main(RUN) == 0
    path = next((here / "pairs").glob("*distinct*.json"))
    emptied = read_proof(path).at(99.9)
    monkeypatch.setattr("saliency_ext.commands.disambiguate.read_proof", lambda _: emptied)
    assert cli.main(["verify", str(path), "white.png", *MODEL]) == 1
    assert "NOT valid" in (shown := capsys.readouterr().out) and "an inequality fails by" in shown


def test_the_picture_shows_the_regions(here):
    assert cli.main(RUN) == 0
    proof = read_proof(next((here / "pairs").glob("*distinct*.json")))
    grey = torch.full((16, 16, 3), 100, dtype=torch.uint8)
    drawn = picture(PairExample("grey", grey, []), proof)
    coloured = drawn[:192, 200:].float().std(2) > 0
    assert bool((drawn[:192, :192] == 100).all()) and drawn.shape[0] > 192 + 3 * 20, "the image, and text below"
    assert torch.equal(coloured[::12, ::12], proof.masks[0] | proof.masks[1])


def test_the_table_says_what_a_newcomer_must_know(here, capsys):
    """Settled pairs with their files, and one line for all pairs that were not judged."""
    assert cli.main([*RUN, "--others", "white", "--top", "6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [re.match(r"  class ([23]) 0.25 / class ([23]) 0.25: shared at 80 %, ", line) for line in lines]
    at, head = next((number, head) for number, head in enumerate(heads) if head)
    assert lines[at + 1].startswith("      without D (")
    assert lines[at + 2] == f"      pairs/proof-shared-{head[1]}-{head[2]}.json"
    undefined = [line for line in lines if "pair_undefined" in line]
    assert len(undefined) == 1 and lines[lines.index(undefined[0]) + 1].count(";") == 8


@pytest.mark.parametrize("command", ["disambiguate", "verify"])
def test_help_is_for_newcomers(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([command, "--help"])
    text = capsys.readouterr().out
    assert text.count(f"  saliency-ext {command}") >= 2 and "verify: the proof does not hold" in text
    with pytest.raises(SystemExit, match="2"):
        cli.main([command, "x", "--seed", "-1"])
