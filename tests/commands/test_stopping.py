"""`saliency-ext evaluate` that stops early: the printed outcome, the page, `compare`, and what cannot be asked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from saliency_ext import cli
from saliency_ext.commands._stopping import seconds
from saliency_ext.study import read_results, read_summary

NET = """
import torch
def load():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 4, 5, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(16, 3))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model and forty small pictures."""
    pytest.importorskip("pyarrow")
    image = pytest.importorskip("PIL.Image")
    home = tmp_path_factory.mktemp("stopping")
    (home / "net_of_the_stopping_test.py").write_text(NET)
    (home / "pictures").mkdir()
    for number in range(40):
        colours = [
            ((number * 37 + x * 11 + y * 5) % 256, (x * y + number) % 256, (255 - 3 * x) % 256)
            for y in range(24)
            for x in range(24)
        ]
        picture = image.new("RGB", (24, 24))
        picture.putdata(colours)
        picture.save(home / "pictures" / f"{number:02d}.png")
    return home


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def evaluate(*more: str) -> list[str]:
    words = ["evaluate", "--model", "python:net_of_the_stopping_test:load", "--size", "24", "--data", "pictures", "--quiet"]
    words += ["--methods", "gradient,input_x_gradient", "--metrics", "fidelity,deletion", "--steps", "4", "--pictures", "0"]
    return [*words, "--max-batch", "8", "--no-controls", *more]


def test_a_budget_is_told_on_screen_and_page(here, capsys) -> None:
    assert cli.main(evaluate("--budget", "100", "--out", "budget")) == 0
    text, stopped = capsys.readouterr().out, read_summary("budget")["stopped"]
    assert stopped["why"] == "budget" and stopped["images"] == 8 * stopped["chunks"] < 40 and stopped["masked_inputs"] >= 100
    assert f"Stopped after {stopped['images']} of 40 images: the budget of masked inputs is spent." in text
    assert f"instead of about {stopped['full']:,} in a full run" in text and "of compute time instead of about" in text
    page = Path("budget/index.html").read_text()
    assert "<strong>Stopped after" in page and f"2 methods, 0 controls, {stopped['images']} of 40 images, 2 metrics" in page
    assert "drawn independently of the values" in page and "Pairs compared by the stopping rule" not in page


def test_waiting_for_a_metric_shows_its_pairs(here, capsys) -> None:
    assert cli.main(evaluate("--until-separated", "--margin", "0.9", "--alpha", "0.2", "--out", "separated")) == 0
    text, stopped = capsys.readouterr().out, read_results("separated").stopped
    assert stopped is not None and stopped.why == "separated" and stopped.metric == "fidelity" and stopped.alpha == 0.2
    assert stopped.early and "every pair is decided under fidelity" in text and "With probability at least 0.8" in text
    page = Path("separated/index.html").read_text()
    assert "Pairs compared by the stopping rule" in page and "gradient - input" in page.replace("<wbr>", "")
    assert "equivalent within the margin" in page and "after data-dependent stopping they undercover slightly" in page
    before = Path("separated/results.parquet").read_bytes()
    assert cli.main(evaluate("--until-separated", "--margin", "0.9", "--alpha", "0.2", "--out", "separated", "--resume")) == 0
    assert Path("separated/results.parquet").read_bytes() == before


def test_another_metric_and_time(here, capsys) -> None:
    assert cli.main(evaluate("--until-separated", "deletion", "--max-time", "0.001s", "--out", "time")) == 0
    stopped = read_results("time").stopped
    assert stopped is not None and (stopped.metric, stopped.why, stopped.images) == ("deletion", "time", 8)
    assert cli.main(evaluate("--budget", "100", "--metrics", "deletion", "--out", "one")) == 0
    assert "0 controls, 16 of 40 images, 1 metric<" in Path("one/index.html").read_text()


def test_compare_says_which_run_stopped_and_takes_the_shared_images(here, capsys) -> None:
    assert cli.main(evaluate("--out", "full")) == 0
    assert "stopped" not in read_summary("full") and "StopReport" not in capsys.readouterr().out
    assert "Stopped after" not in Path("full/index.html").read_text()
    assert cli.main(evaluate("--budget", "100", "--out", "part")) == 0
    assert cli.main(evaluate("--until-separated", "--margin", "0.9", "--out", "decided")) == 0
    capsys.readouterr()
    images = read_summary("part")["stopped"]["images"]
    assert cli.main(["compare", "full", "part"]) == 0
    text = capsys.readouterr().out
    assert f"full -> part: {images} images in both" in text and "What differs: options.stop: was None" in text
    assert f"part stopped after {images} of 40 images, a random sample of them.\n" in text and "full stopped" not in text
    changes = re.findall(r"^gradient +fidelity .*", text, re.MULTILINE)
    assert len(changes) == 1 and "+0.0000" in changes[0] and "not distinguishable" in changes[0]
    assert cli.main(["compare", "decided", "full"]) == 0
    assert "Its values decided when: intervals do not allow for that." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--alpha", "0.1"], "--alpha: expected beside --until-separated"),
        (["--margin", "0.1", "--budget", "100"], "--margin: expected beside --until-separated"),
        (["--until-separated", "--alpha", "1"], "--alpha: expected in (0, 1), got 1.0"),
        (["--until-separated", "insertion"], "expected one of --metrics, fidelity, deletion; got insertion"),
        (["--until-separated", "--metrics", "deletion"], "expected one of --metrics, deletion; got fidelity"),
        (["--until-separated", "--score", "logit"], "name another metric after --until-separated"),
        (["--until-separated", "--methods", "gradient"], "at least two methods to distinguish, got 1"),
        (["--budget", "15"], "--budget: expected at least 16, both ends of a curve for each of the 8 images of a chunk, got 15"),
        (["--budget", "15"], "or lower --max-batch"),
    ],
)
def test_what_cannot_be_asked(here, more: list[str], words: str, capsys) -> None:
    assert cli.main(evaluate(*more, "--out", "refused")) == 2
    assert words in capsys.readouterr().err and not Path("refused/index.html").exists()


@pytest.mark.parametrize("more", [["--budget", "0"], ["--max-time", "soon"], ["--max-time", "0s"], ["--max-time", "inf"]])
def test_words_that_are_no_numbers(here, more: list[str], capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(evaluate(*more))
    assert f"argument {more[0]}: expected" in capsys.readouterr().err


def test_times() -> None:
    assert [seconds(text) for text in ("90", "90s", "1.5m", "2H")] == [90, 90, 90, 7200]
