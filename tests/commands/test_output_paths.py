"""Results that cannot be written end in one line and exit status 3, and a good file stays what it was."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from saliency_ext import _atomic_io, cli

HOME = Path(__file__).parents[2]
EVALUATE = ["evaluate", "--limit", "4", "--methods", "gradient", "--metrics", "fidelity", "--steps", "3", "--no-controls"]
EVALUATE += ["--quiet", "--pictures", "1"]
STUDY = [
    "study",
    "infill",
    "--limit",
    "4",
    "--masks",
    "8",
    "--infills",
    "dataset_mean,black",
    "--methods",
    "gradient",
    "--steps",
    "3",
]
RANK = ["rank", "--limit", "4", "--methods", "gradient,random", "--strata", "1", "--budget", "32"]

pytest.importorskip("pyarrow")
pytest.importorskip("jinja2")
pytest.importorskip("PIL")


def said(capsys):
    """The one line of the error."""
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if "warning" not in line and line]
    assert len(lines) == 1, lines
    return lines[0]


def full_at(monkeypatch, name):
    """A disk with no room for files of this name."""
    write = _atomic_io.write_atomically

    def full(path, content):
        if path.name == name:
            raise OSError(28, f"cannot write {path}: No space left on device")
        write(path, content)

    monkeypatch.setattr(_atomic_io, "write_atomically", full)


PLACES = {
    "explain": ["explain", "--methods", "gradient", "--out"],
    "rank": [*RANK, "--json"],
}


@pytest.mark.parametrize("command", PLACES)
def test_a_folder_in_place_of_a_file(tmp_path, command, capsys):
    assert cli.main([*PLACES[command], str(tmp_path)]) == 3
    assert f"expected a file, got the folder '{tmp_path}'" in said(capsys)


@pytest.mark.parametrize("command", [EVALUATE, STUDY, RANK, ["explain", "--methods", "gradient"]], ids=lambda each: each[0])
def test_a_file_in_place_of_a_folder(tmp_path, command, capsys):
    (tmp_path / "file").write_text("good")
    out = tmp_path / "file" / ("maps.png" if command[0] == "explain" else "")
    assert cli.main([*command, "--out", str(out)]) == 3
    assert f"cannot make the folder {tmp_path / 'file'}" in said(capsys)
    assert (tmp_path / "file").read_text() == "good"


def test_the_report_of_a_run(tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    assert cli.main([*EVALUATE, "--out", str(out)]) == 0
    page = (out / "index.html").read_bytes()
    capsys.readouterr()
    full_at(monkeypatch, "index.html")
    assert cli.main([*EVALUATE, "--out", str(out), "--resume"]) == 3
    text = said(capsys)
    assert "evaluate: cannot write" in text and "index.html: No space left on device" in text and "--resume" in text
    assert (out / "index.html").read_bytes() == page
    monkeypatch.undo()
    (out / "index.html").unlink()
    (out / "index.html").mkdir()
    assert cli.main([*EVALUATE, "--out", str(out), "--resume"]) == 3
    assert "index.html: Is a directory" in said(capsys) and not list(out.rglob("*.tmp"))


@pytest.mark.parametrize("name", ["findings.json", "index.html", "000000.parquet"])
def test_the_files_of_a_study(tmp_path, name, capsys, monkeypatch):
    full_at(monkeypatch, name)
    assert cli.main([*STUDY, "--out", str(tmp_path)]) == 3
    text = said(capsys)
    assert text.startswith("saliency-ext: study: ") and "give the same command again" in text
    assert not list(tmp_path.rglob("*.tmp"))


def test_tables_of_a_finished_run(tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    assert cli.main([*EVALUATE[:-2], "--metrics", "fidelity,truth", "--out", str(run)]) == 0
    page = tmp_path / "page.md"
    page.write_text("<!-- truth:begin --><!-- truth:end -->")
    (tmp_path / "found.json").write_text("good")
    capsys.readouterr()
    for name, option in (("found.json", "--json"), ("page.md", "--readme")):
        before = (tmp_path / name).read_bytes()
        full_at(monkeypatch, name)
        assert cli.main(["truth", str(run), option, str(tmp_path / name)]) == 3
        assert f"{option}: cannot write" in said(capsys) and (tmp_path / name).read_bytes() == before
        monkeypatch.undo()


FULL = """
import resource, sys
from saliency_ext import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # as a full disk: no file grows beyond that
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_disk_that_is_full_half_way_through_a_picture(tmp_path):
    """The old picture is still whole."""
    pytest.importorskip("resource")
    out = tmp_path / "maps.png"
    command = [sys.executable, "-c", FULL, "explain", "--methods", "gradient", "--out", str(out)]
    out.write_bytes(b"a good picture")
    done = subprocess.run(command, cwd=HOME, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True)
    assert done.returncode == 3 and done.stderr.strip().splitlines() == [
        f"saliency-ext: explain: cannot write {out}: File too large"
    ]
    assert out.read_bytes() == b"a good picture" and [each.name for each in tmp_path.iterdir()] == ["maps.png"]


def test_verdicts_are_shown_where_their_file_has_no_room(tmp_path, capsys, monkeypatch):
    out = tmp_path / "found.json"
    out.write_text(json.dumps("good"))
    full_at(monkeypatch, "found.json")
    assert cli.main([*RANK, "--json", str(out)]) == 3
    text = capsys.readouterr().err
    assert "--json: cannot write" in text and "The verdicts are:" in text and json.loads(out.read_text()) == "good"
