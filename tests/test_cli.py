"""The command line, as a newcomer runs it."""

import subprocess
import sys

import pytest

from saliency_ext import __version__, cli, doctor
from saliency_ext.ops import native


def test_demo_ranks_the_maps(capsys):
    assert cli.main(["demo"]) == 0
    text = capsys.readouterr().out
    auc = {line[:22].strip(): float(line.split("AUC ")[1].split()[0]) for line in text.splitlines() if "deletion AUC" in line}
    assert auc["class activation map"] < auc["grey level"] < auc["random"]
    first, last = (next(line for line in text.splitlines() if line.startswith(start)) for start in ("    0%", "  100%"))
    assert len(set(first.replace("#", "").split()[1:])) == 1, "all curves start at the clean image"
    assert len(set(last.replace("#", "").split()[1:])) == 1, "all curves end at the infill"


def test_doctor_names_versions_and_every_op(capsys):
    assert cli.main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert f"saliency_ext  {__version__}" in text and "runs on torch >= 2.11" in text and "g++" in text
    for op in native.op_names():
        assert any(line.split()[:2] == [op, "native"] for line in text.splitlines()), op


def test_doctor_says_what_to_do_without_cuda(monkeypatch):
    info = doctor.build_info() | {"cuda": None, "cuda_archs": ""}
    monkeypatch.setattr(doctor, "build_info", lambda: info)
    text = doctor.report()
    assert "CUDA kernels  not built" in text and "no nvcc was found" in text
    assert set(doctor.backends("cuda").values()) == {"reference"}


def test_info(capsys):
    assert cli.main(["info"]) == 0
    assert f"version: {__version__}" in capsys.readouterr().out


def test_version_is_the_package_metadata():
    assert doctor.build_info()["version"] == __version__


def test_unknown_command_exits_with_two():
    run = subprocess.run([sys.executable, "-m", "saliency_ext", "nonsense"], capture_output=True, text=True)
    assert run.returncode == 2 and "invalid choice: 'nonsense'" in run.stderr


def test_no_command_exits_with_two():
    with pytest.raises(SystemExit, match="2"):
        cli.main([])
