"""Words on the command line that cannot be, models and files that fail, a reader that has enough: one line, the right status."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from saliency_ext import _interrupt, cli
from saliency_ext.commands._command_result import FAILED, USAGE, CommandError, CommandResult

NET = """
import torch
def load():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 4, 5, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(16, 3))
class Moody(torch.nn.Module):
    def forward(self, x):
        if x.mean() > 0.9:
            raise ValueError("too bright")
        return x.mean((2, 3)) * float("nan") if x.mean() < -1 else x.mean((2, 3))
"""
MODEL = ["--model", "python:net_of_odd_words:load", "--size", "16", "--mean", "0.5", "--std", "0.25"]
EVALUATE = ["evaluate", *MODEL, "--data", "photos", "--methods", "gradient", "--metrics", "deletion", "--steps", "2", "--quiet"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "net_of_odd_words.py").write_text(NET)
    (tmp_path / "photos").mkdir()
    for name, colour in (("bright", 255), ("grey", 128), ("dark", 0)):
        Image.new("RGB", (20, 20), (colour,) * 3).save(tmp_path / "photos" / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "net_of_odd_words", raising=False)
    return tmp_path


def status(words):
    try:
        return cli.main(words)
    except SystemExit as error:  # of argparse
        return error.code


@pytest.mark.parametrize(
    "words",
    [
        [*EVALUATE, "--data", ""],
        [*EVALUATE, "--data", " "],
        [*EVALUATE, "--out", ""],
        [*EVALUATE, "--device", ""],
        [*EVALUATE, "--target", ""],
        [*EVALUATE, "--methods", ""],
        [*EVALUATE, "--methods", ","],
        [*EVALUATE, "--metrics", ""],
        [*EVALUATE, "--infill", ""],
        [*EVALUATE, "--mean", ""],
        [*EVALUATE, "--until-separated", ""],
        ["explain", "", *MODEL],
        ["explain", "photos/grey.png", *MODEL, "--out", ""],
        ["explain", "photos/\0.png", *MODEL],
        ["verify", "", *MODEL],
        ["disambiguate", "photos/grey.png", *MODEL, "--masks", ""],
        ["rank", *MODEL, "--data", "photos", "--json", ""],
        ["study", "infill", *MODEL, "--data", "photos", "--infills", ""],
        ["compare", "", "photos"],
        ["truth", ""],
    ],
)
def test_an_empty_word_is_refused_and_never_the_current_folder(here, capsys, words):
    before = sorted(here.rglob("*.*"))
    assert status(words) == USAGE
    assert "expected" in (error := capsys.readouterr().err) and "Traceback" not in error
    left = [path for path in sorted(here.rglob("*.*")) if "__pycache__" not in path.parts]
    assert left == before, "nothing is written"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--mean", "nan"], "--mean: expected one finite number"),
        (["--std", "inf"], "--std: expected one finite number"),
        (["--target", "9" * 20], r"a class in [0, 3), got '99999999999999999999'"),
        (["--target", "3"], "a class in [0, 3), got '3'"),
        (["--target", "9" * 5000], "a class in [0, 3), got"),
        (["--target", "folder"], "the folder 'photos' names none of the numbers in [0, 3)"),
        (["--device", "meta"], "--device: expected a device that holds numbers"),
        (["--size", "99999"], "expected a whole number in [1, 16384]"),
        (["--steps", "9" * 30], "expected a whole number >= 1 and below 2^63"),
        (["--model", "python:net_of_odd_words:Moody"], "its forward fails on a picture of shape"),
    ],
)
def test_words_that_cannot_be(here, capsys, words, text):
    if "Moody" in words[-1]:
        words = [*words, "--mean", "-9"]
    assert status([*EVALUATE, *words]) == USAGE
    assert text in (error := capsys.readouterr().err) and len(error.strip().splitlines()) <= 2


def test_a_model_that_fails_on_its_way_says_where(here, capsys):
    """Its own ValueError is nobody's argument."""
    words = [*EVALUATE, "--model", "python:net_of_odd_words:Moody", "--no-controls", "--pictures", "1"]
    code = cli.main([*words, "--out", "moody"])
    error = capsys.readouterr().err
    assert code == FAILED and "too bright (net_of_odd_words.py, line 10)" in error and "Traceback" not in error


@pytest.mark.parametrize(("name", "text"), [("bright", "could not finish: ValueError: too bright (net_of_odd_words.py, line 10)"),
                                            ("dark", "the model's scores of dark.png are not finite")])  # fmt: skip
def test_explain_of_a_picture_that_the_model_cannot_read(here, capsys, name, text):
    words = ["explain", f"photos/{name}.png", *MODEL, "--model", "python:net_of_odd_words:Moody", "--methods", "gradient"]
    assert cli.main([*words, "--out", "maps.png"]) == FAILED
    assert text in capsys.readouterr().err and not (here / "maps.png").exists()


def test_explain_leaves_out_what_nobody_named(here, capsys):
    assert cli.main(["explain", "photos/grey.png", *MODEL, "--model", "python:net_of_odd_words:Moody"]) == 0
    shown = capsys.readouterr()
    assert "warning: --methods: without grad_cam" in shown.err and "Maps of gradient" in shown.out
    assert "Prepared: shorter side 18, middle 16 x 16 (bicubic); mean 0.5, 0.5, 0.5; std 0.25" in shown.out


def test_what_nobody_expected_is_a_line_and_never_the_status_of_a_condition(capsys, monkeypatch):
    def fails(options):
        return {}["no such key"]

    monkeypatch.setattr("saliency_ext.commands.listing.run", fails)
    assert cli.main(["list"]) == FAILED
    error = capsys.readouterr().err
    assert error.startswith("saliency-ext: could not finish: KeyError: 'no such key' (test_cli_words.py, line ")


@pytest.mark.parametrize("how", [CommandResult, CommandError])
def test_a_terminal_is_not_steered_by_names(capsys, monkeypatch, how):
    text = "a\x1b[2Jb\x9bc\rd\u202ee\udcff\n\tcafé"

    def says(options):
        if how is CommandError:
            raise CommandError(text)
        return CommandResult(text)

    monkeypatch.setattr("saliency_ext.commands.listing.run", says)
    assert cli.main(["list"]) == (USAGE if how is CommandError else 0)
    shown = "".join(capsys.readouterr())
    assert r"a\x1b[2Jb\x9bc\rd\u202ee\udcff" in shown and "\n\tcafé" in shown


def test_a_reader_that_has_enough_ends_without_a_traceback():
    package = str(Path(cli.__file__).resolve().parents[1])
    command = [sys.executable, "-m", "saliency_ext", "list"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": package}
    ) as run:
        run.stdout.close()
        assert run.stderr.read() == ""
    assert run.returncode == 0


def test_an_interruption_while_the_package_is_imported(tmp_path):
    """torch takes a second to import: here it is interrupted at once."""
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt")
    package = str(Path(cli.__file__).resolve().parents[1])
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{package}"}

    def ended(*words):
        return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, cwd=tmp_path)

    run = ended("-m", "saliency_ext", "list")
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "saliency-ext: interrupted\n")
    assert "KeyboardInterrupt" in ended("-c", "import saliency_ext").stderr, "in a program that imports it all is as ever"


def test_which_process_is_the_command_line():
    result = _interrupt._is_command
    assert result(["-m"], ["python", "-m", "saliency_ext", "list"]) and result(["/usr/bin/saliency-ext"], ["python", "x"])
    assert (
        not result(["-m"], ["python", "-m", "pytest"]) and not result(["train.py"], ["python", "train.py"]) and not result([], [])
    )


def test_nothing_of_torch_changes(here):
    """A model is run once before anything else: on noise of its own, not on the caller's."""
    before = torch.get_rng_state()
    assert cli.main(["explain", "photos/grey.png", *MODEL, "--methods", "gradient"]) == 0
    assert torch.equal(torch.get_rng_state(), before)
