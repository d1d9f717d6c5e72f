"""`saliency-ext rank`: verdicts with their guarantee, what it cost, drawn steps, and what cannot be ranked."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from saliency_ext import cli
from saliency_ext.ranking import rank_methods
from saliency_ext.study._process_group import OtherProcessFailed


def rank(*more: str) -> list[str]:
    return ["rank", "--limit", "48", "--methods", "grad_cam,random", *more]


def test_tells_a_method_from_noise(tmp_path, capsys) -> None:
    out = tmp_path / "found.json"
    assert cli.main(rank("--json", str(out))) == 0
    text, result = capsys.readouterr().out, json.loads(out.read_text())
    (pair,) = result["pairs"]
    assert pair["better"] == "grad_cam" and pair["low"] >= 0 and result["stopped"] == "decided"
    assert result["images"] < result["population"] == 48 and "grad_cam: better than random" in text
    assert result["guarantee"] in text and "0.95" in result["guarantee"]
    # Both ends once, the nine steps between them in both orders of both maps: 2 + 4 * 9 different masked inputs an image.
    assert result["masked_inputs"] == result["images"] * (2 + 4 * 9)


def test_the_whole_grid_and_the_budget(capsys) -> None:
    assert cli.main(rank("--strata", "0", "--steps", "5", "--budget", "32")) == 0
    assert re.search(r"^16 of 48 images, 288 masked inputs", capsys.readouterr().out, re.MULTILINE)  # one round of 2 + 4 * 4


@pytest.mark.parametrize("name", ["relevance_mass:RelevanceMass", "deletion:Deletion"])
def test_a_metric_by_its_import_path(name, capsys) -> None:
    assert cli.main(rank("--metric", f"saliency_ext.metrics.{name}")) == 0
    assert "random" in capsys.readouterr().out


def test_a_metric_of_known_truth(capsys) -> None:
    assert cli.main(rank("--metric", "pointing_game")) == 0
    assert "grad_cam is better" in capsys.readouterr().out


def test_what_is_given_arrives(monkeypatch) -> None:
    given: dict[str, object] = {}

    def watched(*arguments, **options):
        given.update(options, metric=arguments[4], images=len(arguments[1]))
        return rank_methods(*arguments, **options | {"budget": 32})

    monkeypatch.setattr("saliency_ext.commands.rank.rank_methods", watched)
    words = rank("--alpha", "0.1", "--margin", "0.25", "--seed", "3", "--max-batch", "5", "--strata", "2", "--metric", "deletion")
    assert cli.main(words) == 0
    assert (given["alpha"], given["margin"], given["seed"], given["budget"], given["images"]) == (0.1, 0.25, 3, None, 48)
    assert repr(given["metric"].schedule) == "StratifiedSteps(strata=2, grid=100, seed=3)"
    assert given["engine"].forward is not None and given["engine"].max_batch == 5


def test_kept_rounds_are_gone_on_from(tmp_path, monkeypatch, capsys) -> None:
    words = rank(
        "--strata", "2", "--round", "8", "--methods", "gradient,random", "--limit", "24", "--out", str(tmp_path / "kept")
    )
    whole = tmp_path / "whole.json"
    assert cli.main([*words[:-1], str(tmp_path / "whole"), "--json", str(whole)]) == 0
    assert cli.main([*words, "--budget", "32"]) == 0 and len(list((tmp_path / "kept" / "rounds").iterdir())) == 1
    for error, status in ((KeyboardInterrupt(), 130), (OSError(28, "no room"), 3), (OtherProcessFailed("gone"), 3)):

        def stopped(*_, error=error, **__):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr("saliency_ext.commands.rank.rank_methods", stopped)
            assert cli.main(words) == status
            said = capsys.readouterr().err
            assert f"Finished rounds are kept in {tmp_path / 'kept'}: give the same command again" in said
            assert cli.main(words[:-2]) == status and "Nothing was kept: give a folder with --out" in capsys.readouterr().err
    assert cli.main([*words, "--seed", "1"]) == 2
    assert "rank: --out: expected a folder with this run or none" in capsys.readouterr().err
    assert cli.main([*words, "--json", str(tmp_path / "resumed.json")]) == 0
    assert (tmp_path / "resumed.json").read_bytes() == whole.read_bytes()


def test_under_torchrun_it_finds_the_same_and_says_it_once(tmp_path) -> None:
    words = rank("--strata", "2", "--round", "8", "--max-batch", "8", "--limit", "24", "--methods", "gradient,random", "--json")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(cli.__file__).resolve().parents[1])}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "saliency_ext"]
    runs = []
    for start, out in ((launch, "together"), (["-m", "saliency_ext"], "alone")):
        command = [sys.executable, *start, *words, str(tmp_path / out), "--out", str(tmp_path / f"{out}-rounds")]
        runs.append(subprocess.run(command, capture_output=True, text=True, env=environment))
        assert runs[-1].returncode == 0, runs[-1].stderr
    assert runs[0].stdout == runs[1].stdout and runs[0].stdout.count("With probability") == 1
    assert (tmp_path / "together").read_bytes() == (tmp_path / "alone").read_bytes()
    kept = [
        sorted(path.read_text() for path in (tmp_path / f"{out}-rounds" / "rounds").iterdir()) for out in ("together", "alone")
    ]
    assert kept[0] == kept[1]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--metric", "fidelty"], "--metric"),
        (["--alpha", "2"], "rank: --alpha: expected"),
        (["--methods", "grad_cam"], "at least two"),
        (["--metric", "geometry_gap"], "expected metric one of which higher or lower is better"),
        (["--metric", "sparseness"], "name another metric, whose range is known"),
        (["--metric", "pointing_game", "--strata", "4"], "--strata: pointing_game has no curve"),
        (["--strata", "200"], "--strata"),
    ],
)
def test_what_cannot_be_ranked(more: list[str], words: str, capsys) -> None:
    assert cli.main(rank("--limit", "2", *more)) == 2
    assert words in capsys.readouterr().err


def test_pictures_that_cannot_be_read_are_a_refusal(tmp_path, capsys) -> None:
    (tmp_path / "cut.png").write_bytes(b"no picture")
    assert cli.main(["rank", "--data", str(tmp_path), "--methods", "gradient,random"]) == 2
    assert "saliency-ext: rank: --data: expected inputs with a sample that can be read" in capsys.readouterr().err


def test_the_folder_of_the_verdicts_is_made_before_the_work(tmp_path, monkeypatch, capsys) -> None:
    out = tmp_path / "new" / "below" / "found.json"
    assert cli.main(rank("--budget", "32", "--json", str(out))) == 0 and json.loads(out.read_text())["stopped"] == "budget"
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("saliency_ext.commands.rank.rank_methods", lambda *_, **__: pytest.fail("it worked before it looked"))
    assert cli.main(rank("--json", str(tmp_path / "file" / "found.json"))) == 3
    assert cli.main(rank("--json", str(tmp_path))) == 3
    first, second = capsys.readouterr().err.strip().splitlines()
    assert first.startswith("saliency-ext: --json: cannot make the folder") and second.startswith(
        "saliency-ext: --json: expected a file"
    )


def test_a_full_disk_shows_the_verdicts_all_the_same(tmp_path, monkeypatch, capsys) -> None:
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("saliency_ext.commands.rank.write_whole", full)
    assert cli.main(rank("--limit", "2", "--strata", "1", "--json", str(tmp_path / "found.json"))) == 3
    shown = capsys.readouterr().err
    assert "No space left" in shown and "2 of 2 images, 12 masked inputs" in shown


@pytest.mark.parametrize(
    ("steps", "schedule"),
    [(1, "EqualFractions(steps=1)"), (2, "StratifiedSteps(strata=1, grid=2"), (9, "StratifiedSteps(strata=8, grid=9")],
)
def test_a_coarse_grid_has_fewer_strata(steps: int, schedule: str, monkeypatch, capsys) -> None:
    seen: list[str] = []

    def watched(*arguments, **options):
        seen.append(repr(arguments[4].schedule))
        return rank_methods(*arguments, **options)

    monkeypatch.setattr("saliency_ext.commands.rank.rank_methods", watched)
    monkeypatch.setattr("saliency_ext.commands.rank.MANY", 4)
    assert cli.main(rank("--limit", "4", "--steps", str(steps))) == 0
    assert seen[0].startswith(schedule)


def test_few_images_are_looked_at_once_on_a_grid(monkeypatch, capsys) -> None:
    """With as many draws as images nothing is ever certain; on a grid all is, after the last image."""
    seen: list[str] = []

    def watched(*arguments, **options):
        seen.append(repr(arguments[4].schedule))
        return rank_methods(*arguments, **options)

    monkeypatch.setattr("saliency_ext.commands.rank.rank_methods", watched)
    assert cli.main(rank("--limit", "6")) == 0
    assert seen == ["EqualFractions(steps=10)"]
    shown = capsys.readouterr().out
    assert "Curves: all 10 steps, each image once; --strata 8 --steps 100 would" in shown and "not distinguishable" not in shown
