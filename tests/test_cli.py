"""The command line, as a newcomer runs it."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import skimage.data
import torch
from PIL import Image

from saliency_ext import __version__, cli, doctor
from saliency_ext.commands._command_result import CommandResult
from saliency_ext.ops import native
from saliency_ext.study.reader import read_results
from saliency_ext.testbed.nets import make_net


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


# ---- evaluate, explain, list, bench: on a small model of one's own and a folder of pictures

NET = """
import torch
def load():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 4, 5, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(16, 3))
"""
OPTIONS = ["--model", "python:net_of_the_cli_test:load", "--size", "24", "--mean", "0.5", "--std", "0.25"]
RUN = ["evaluate", *OPTIONS, "--data", "pictures", "--methods", "gradient,grad_cam", "--steps", "4", "--pictures", "2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, six real pictures, and one that is cut short."""
    pytest.importorskip("pyarrow")
    home = tmp_path_factory.mktemp("cli")
    (home / "net_of_the_cli_test.py").write_text(NET)
    (home / "pictures" / "more").mkdir(parents=True)
    for name in ("coffee", "chelsea", "astronaut", "rocket", "brick", "grass"):
        Image.fromarray(getattr(skimage.data, name)()[:128, :160]).save(home / "pictures" / f"{name}.png")
    whole = (home / "pictures" / "brick.png").read_bytes()
    (home / "pictures" / "more" / "cut <short>.png").write_bytes(whole[: len(whole) // 2])
    return home


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def test_a_model_and_a_folder_end_to_end(here, capsys):
    assert cli.main([*RUN, "--out", "report"]) == 0
    shown = capsys.readouterr()
    assert "6 of 7 images" not in shown.out and "7 of 7 images" in shown.err and "images/s" in shown.err
    table = shown.out.split("\n\n")[0].splitlines()
    assert len({line.rindex("  ") for line in table if not line.endswith("better")}) == 1, "columns stand below each other"
    assert (
        any(line.split()[:2] == ["gradient", "fidelity"] for line in table)
        and f"Report: {here / 'report' / 'index.html'}" in shown.out
    )
    assert "1 image has no value under some map and metric" in shown.out
    results = read_results("report")
    assert {name for name, _ in results} == {
        "gradient", "grad_cam", "gradient_random_weights", "random", "centre", "edge", "grey_level"
    }  # fmt: skip
    assert results["gradient", "fidelity"].status.count("unreadable_sample") == 1
    page = (here / "report" / "index.html").read_text()
    assert "more/cut &lt;short&gt;.png" in page and "unreadable_sample" in page and "astronaut.png. Explained: class" in page
    assert "python:net_of_the_cli_test:load" in page and page.count("data:image/png") == 1 + 2 * 8


def test_again_and_resumed_it_has_the_same_bytes(here, capsys):
    assert cli.main([*RUN, "--out", "again", "--quiet"]) == 0
    before = (here / "again" / "results.parquet").read_bytes()
    assert capsys.readouterr().err == "", "quiet is quiet"
    (here / "again" / "results.parquet").unlink()
    assert cli.main([*RUN, "--out", "again", "--resume"]) == 0
    assert (here / "again" / "results.parquet").read_bytes() == before
    assert cli.main(["compare", "again", "again", "--fail-if", "worse"]) == 0
    assert "these are the same run" in capsys.readouterr().out


@pytest.mark.parametrize("processes", [1, 2])
def test_under_torchrun_it_has_the_same_bytes_without_a_process_group(here, processes):
    words = [*RUN[:-2], "--pictures", "0", "--metrics", "deletion", "--no-controls", "--max-batch", "2"]
    if not (here / "alone").exists():
        assert cli.main([*words, "--out", "alone", "--quiet"]) == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    package = str(Path(cli.__file__).resolve().parents[1])
    environment = os.environ | {"PYTHONPATH": package, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    run = subprocess.run(
        [*launch, "-m", "saliency_ext", *words, "--out", f"by-{processes}"], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("Report: ") == 1, "the first process alone writes the report"
    assert "Gloo" not in run.stdout + run.stderr
    assert (here / f"by-{processes}" / "results.parquet").read_bytes() == (here / "alone" / "results.parquet").read_bytes()


def test_another_run_in_the_folder_is_refused_until_it_is_dropped(here, capsys):
    other = [*RUN, "--out", "other", "--metrics", "deletion", "--quiet"]
    assert cli.main([*other, "--infill", "black"]) == 0
    assert cli.main([*other, "--infill", "white"]) == 2
    error = capsys.readouterr().err
    assert "--out: expected a folder with this run or none" in error and "drop what is there with --force-new-run" in error
    assert "infill.value" in error
    assert cli.main([*other, "--infill", "white", "--force-new-run"]) == 0


def test_nothing_to_resume(here, capsys):
    assert cli.main([*RUN, "--out", "empty", "--resume"]) == 2
    assert "leave out --resume to start one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (
            KeyboardInterrupt(),
            130,
            "interrupted; what is finished is kept in stopped. To go on, give the same command again with",
        ),
        (OSError(28, "no room"), 3, "no room. To go on, mend that, then give the same command again with --resume"),
    ],
)
def test_what_stops_a_run_says_how_to_go_on(here, capsys, monkeypatch, error, status, text):
    def stop(self, **options):
        raise error

    monkeypatch.setattr("saliency_ext.study.study.Study.run", stop)
    assert cli.main([*RUN, "--out", "stopped"]) == status
    assert text in capsys.readouterr().err


def test_wrong_words_exit_with_two(here, capsys):
    for words, text in (
        (["evaluate", "--model", "resnet"], "--model: expected testbed"),
        (["evaluate", *OPTIONS], "--data: expected a folder of images for a model of your own, got none"),
        ([*RUN, "--methods", "gradcam"], "did you mean grad_cam"),
        ([*RUN, "--memory-budget", "much"], "--memory-budget: expected bytes, such as 512M or 2G, got 'much'"),
        (["explain", "no.png", *OPTIONS], "cannot read 'no.png' as a picture"),
        (["explain", *OPTIONS], "expected the file of an image for a model of your own"),
        (["compare", "pictures", "pictures"], "compare: pictures: "),
    ):
        assert cli.main(words) == 2, words
        assert f"saliency-ext: {text}" in (shown := capsys.readouterr().err) or text in shown, words
    for words in (
        ["evaluate", "--steps", "0"],
        ["evaluate", "--seed", "-1"],
        ["evaluate", "--score", "x"],
        ["evaluate", "--limit", "a"],
        ["evaluate", "--pictures", "-1"],
        ["explain", "--samples", "1.5"],
    ):
        with pytest.raises(SystemExit, match="2"):
            cli.main(words)
        error = capsys.readouterr().err
        assert f"argument {words[1]}: " in error and len(error.splitlines()) == 2, "not buried under all options"
        assert words[1] == "--score" or f"expected a whole number >= {int(words[1] not in ('--seed', '--pictures'))}" in error


@pytest.mark.parametrize(
    ("command", "missing", "said"),
    [
        (["evaluate"], ("pyarrow", "jinja2"), "evaluate: pyarrow, jinja2 cannot be imported"),
        (["evaluate"], ("sklearn", "safetensors"), "evaluate: scikit-learn, safetensors cannot be imported"),
        (["explain"], ("PIL",), "explain: pillow cannot be imported"),
    ],
)
def test_missing_extras_are_named_before_anything_runs(command, missing, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    assert cli.main(command) == 2
    assert capsys.readouterr().err == f"saliency-ext: {said}; pip install 'saliency_ext[study,report]'\n"
    assert not list(tmp_path.iterdir())


def test_explain_writes_one_picture(here, capsys):
    words = ["explain", "pictures/chelsea.png", *OPTIONS, "--methods", "gradient,edge", "--target", "2", "--out", "made/maps.png"]
    assert cli.main(words) == 0
    assert "chelsea.png: class 2, probability 0." in capsys.readouterr().out
    assert Image.open(here / "made" / "maps.png").width > 3 * 192
    assert cli.main([*words, "--target", "3"]) == 2
    assert "--target: expected 'predicted', a class in [0, 3) or its name, got '3'" in capsys.readouterr().err


def test_warnings_are_one_line_without_code(here, capsys, monkeypatch):
    def warn(options):
        warnings.warn("the model is stochastic", RuntimeWarning, stacklevel=1)
        return CommandResult("done")

    monkeypatch.setattr("saliency_ext.commands.listing.run", warn)
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().err == "\nsaliency-ext: warning: the model is stochastic\n"


def test_list_names_everything(capsys):
    assert cli.main(["list"]) == 0
    text = capsys.readouterr().out
    for name in ("grad_cam", "1 F + T B", "fidelity", "preset:rise", "blur", "(needs known truth)"):
        assert name in text


def test_bench_needs_a_checkout(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("saliency_ext.__file__", str(tmp_path / "saliency_ext" / "__init__.py"))
    assert cli.main(["bench", "--quick"]) == 3
    assert "the benches are not part of an installed package" in capsys.readouterr().err
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").touch()  # else one on PYTHONPATH would come before it
    (tmp_path / "bench" / "__main__.py").write_text("import sys; sys.exit(7 if sys.argv[1:] == ['--only', 'rank'] else 9)")
    assert cli.main(["bench", "--only", "rank"]) == 7


@pytest.mark.parametrize("command", ["", "evaluate", "explain", "compare", "list", "bench"])
def test_help_is_for_newcomers(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([word for word in (command, "--help") if word])
    text = capsys.readouterr().out
    if command in ("", "evaluate", "explain", "compare"):
        assert "exit status:" in text and "130  interrupted" in text
    if command in ("evaluate", "explain", "compare"):
        assert text.count(f"  saliency-ext {command}") >= 2, "with examples"


def test_the_testbed_needs_no_words(capsys, monkeypatch, tmp_path):
    """The default model, with random weights in place of the trained ones: what is judged, with the truth of the scenes."""
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("saliency_ext.testbed.load.load_net", lambda name: make_net("residual"))
    words = ["evaluate", "--limit", "3", "--steps", "2", "--methods", "gradient", "--no-controls", "--quiet", "--pictures", "1"]
    assert cli.main([*words, "--out", str(tmp_path)]) == 0
    names = [metric for _, metric in read_results(tmp_path)]
    assert names == [
        "fidelity", "deletion", "insertion", "pointing_game", "pointing_game_target_minus_distractor", "relevance_mass",
        "relevance_mass_target_minus_distractor",
    ]  # fmt: skip
    assert "unseen testbed scenes" in (tmp_path / "index.html").read_text()
    assert cli.main(["explain", "--methods", "gradient", "--out", str(tmp_path / "maps.png")]) == 0
