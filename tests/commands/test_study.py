"""`saliency-ext study` on a small net of the user's own and a folder of pictures, one of which is broken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saliency_ext import cli

NET = """
import torch
def load():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 4, 3, 2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(676, 3)]
    return torch.nn.Sequential(*layers)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tinynet_of_study.py").write_text(NET)
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 3), dtype=np.uint8)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{number}.png")
    (folder / "9.png").write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)
    return tmp_path


INFILLS = "dataset_mean,gaussian_noise,learned"


def words(question: str, *more: str) -> list[str]:
    requested = [
        "study",
        question,
        "--model",
        "python:tinynet_of_study:load",
        "--data",
        "photos",
        "--size",
        "28",
        "--masks",
        "12",
    ]
    return [*requested, "--steps", "2", "--methods", "gradient,random", "--out", question, *more]


def test_infill(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words("infill", "--infills", INFILLS)) == 0
    text = capsys.readouterr().out
    content = json.loads((place / "infill" / "findings.json").read_text())
    assert all(each["verdict"] in text for each in content["findings"])
    assert content["facts"]["images"] == "5, of which 1 could not be read"
    assert {"what": "infill learned", "status": "nonfinite_input", "images": 1} in content["statuses"]
    flips = next(each for each in content["findings"] if "survive" in each["question"])["numbers"]["fidelity, flips"]
    assert flips["images"] == 4 and 0 <= flips["mean"] <= 1
    assert flips["low"] is flips["high"] is None, "too few images for an interval"
    assert {path.name for path in (place / "infill").glob("*.parquet")} == {
        "neutrality.parquet",
        "similarity.parquet",
        "scores.parquet",
    }
    assert (place / "infill" / "index.html").read_text().count('class="heat"') >= 6
    assert cli.main(words("infill", "--infills", INFILLS, "--steps", "3")) == 2  # another run in that folder
    assert "--out: expected a folder with this run or none" in capsys.readouterr().err


def test_hyperparameters(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words("hyperparameters")) == 0
    text = capsys.readouterr().out
    for choice in ("masks", "grid", "keep"):
        assert f"Does the choice of {choice} matter for rise?" in text, choice
    for choice in ("window", "stride"):
        assert f"Does the choice of {choice} matter for occlusion?" in text, choice
    assert "Does the step size of the metric matter?" in text
    assert "keep 0.5): " in text and "at masks = 3; " in text  # a number, then the choice it belongs to
    assert {path.name for path in (place / "hyperparameters").glob("*.parquet")} == {"similarity.parquet", "scores.parquet"}


def test_refusals(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words("infill", "--infills", "dataset_mean,grene")) == 2
    assert "there is no 'grene'" in capsys.readouterr().err
    assert cli.main(words("infill", "--infills", "dataset_mean")) == 2
    assert "expected infills at least two to compare, got 1" in capsys.readouterr().err
    assert cli.main(words("infill", "--methods", "gradeint")) == 2
    assert "did you mean gradient" in capsys.readouterr().err
