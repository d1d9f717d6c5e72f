"""`saliency-ext truth`: the table of a run against known truth."""

import json
import math
from pathlib import Path

import pytest
import torch

from saliency_ext import cli, testbed
from saliency_ext.commands._command_result import CommandError
from saliency_ext.commands.truth import MARKS, as_markdown, as_text, gathered, rewritten
from saliency_ext.evaluation.results import Results
from saliency_ext.metrics.result import OK, MetricResult
from saliency_ext.perturbation import Counters
from saliency_ext.protocols import MetricInfo

ROOT = Path(__file__).resolve().parents[2]

DELETION = MetricInfo("deletion", "lower", "", "", "")
POINTING = MetricInfo("pointing_game", "higher", "", "", "", role="truth")
OTHER = MetricInfo("pointing_game_target_minus_distractor", "higher", "", "", "", role="truth", range=(-1.0, 1.0))


def result(info, values):
    result = torch.tensor(values, dtype=torch.float64)
    return MetricResult(info, result, {}, [OK if value == value else "undefined" for value in values])


def record(*controls, methods=("good", "weak", "flat", "random")):
    about = {name: {"family": "control" if name in controls else "x"} for name in methods}
    made = {name: {"masks": 7} if name == "good" else {} for name in methods}
    data = {"samples": 8, "content": "scenes, seed 0"}
    metrics = {name: {} for name in ("pointing_game", "pointing_game_target_minus_distractor")} | {
        "deletion": {"schedule": {"steps": 5}}
    }
    prints = {"library": {"a": "1"}, "model": {}, "inputs": data, "maps": made, "metrics": metrics}
    return {"about": {"methods": about}, "fingerprint": prints}


def table():
    nothing = [math.nan] * 4
    values = {
        "good": ([0.1, 0.1, 0.2, 0.1], [1.0, 1.0, 1.0, 1.0]),
        "weak": ([0.5, 0.6, 0.5, 0.5], [0.0, 1.0, 0.0, 0.0]),
        "flat": ([0.7, 0.7, 0.8, 0.7], nothing),
        "random": ([0.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.5, 0.5]),
    }
    rows = {}
    for name, (deletion, pointing) in values.items():
        rows[name, "deletion"], rows[name, "pointing_game"] = result(DELETION, deletion * 2), result(POINTING, pointing * 2)
        rows[name, "pointing_game_target_minus_distractor"] = result(OTHER, pointing * 2)
    return Results(rows, Counters())


def test_means_intervals_controls_and_agreement():
    content = gathered(table(), record("random"))
    assert list(content["maps"]) == ["good", "weak", "flat", "random"] and content["maps"]["random"]["control"]
    assert content["maps"]["weak"]["pointing_game"]["mean"] == 0.25 and content["draws"] == {"good": 7}
    tau = content["agreement"]["deletion"]["pointing_game"]
    assert (tau["tau"], tau["methods"], tau["images"]) == (1.0, 2, 8), "lower deletion is better; no values, no control ranked"
    text = as_text(content)
    line = next(line for line in text.splitlines() if line.startswith("weak"))
    assert line.split()[1:3] == ["0.525", "0.250"] and "0.250 [" in line, "an interval for own minus other"
    assert "random (control)" in text and next(each for each in text.splitlines() if each.startswith("flat")).count("none") == 2
    assert "deletion" in text.split("Kendall's tau between")[1] and "+1.00 [" in text


def test_a_metric_that_comes_twice_keeps_its_role():
    """The second of a kind has a number behind its name; what it is, its info says."""
    rows, one = {}, table()
    for name in ("good", "weak", "random"):
        for metric in ("deletion", "pointing_game", "pointing_game_target_minus_distractor"):
            rows[name, metric] = rows[name, f"{metric}_2"] = one[name, metric]
    about = record("random")
    about["fingerprint"]["metrics"] |= {f"{name}_2": of for name, of in about["fingerprint"]["metrics"].items()}
    content = gathered(Results(rows, Counters()), about)
    assert list(content["agreement"]) == ["deletion", "deletion_2"] and content["steps"]["deletion_2"] == 5
    assert list(content["agreement"]["deletion"]) == content["metrics"][2:] and len(content["metrics"]) == 6
    assert content["target_minus_distractor"] == [
        "pointing_game_target_minus_distractor",
        "pointing_game_target_minus_distractor_2",
    ]
    assert "pointing game: own - other 2" in as_text(content).splitlines()[0]
    weak = next(line for line in as_markdown(content).splitlines() if line.startswith("| weak"))
    assert weak.startswith("| weak | 0.525 | 0.525 | 0.250 | 0.250 | 0.250 [") and weak.count("0.250 [") == 2


def test_a_metric_without_a_direction_ranks_nothing():
    neutral = MetricInfo("mine", "none", "", "", "")
    rows = {pair: table()[pair] for pair in table()}
    rows |= {(name, "mine"): result(neutral, [1.0, 2.0, 3.0, 4.0] * 2) for name in ("good", "weak", "flat", "random")}
    content = gathered(Results(rows, Counters()), record("random"))
    assert list(content["agreement"]) == ["deletion"] and "mine" not in content["metrics"]


def test_the_table_of_a_readme_is_replaced():
    content = gathered(table(), record("random"))
    text = f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter"
    new = rewritten(text, content)
    assert new == f"before\n{MARKS[0]}\n{as_markdown(content)}\n{MARKS[1]}\nafter" and rewritten(new, content) == new
    assert "| good | 0.125 | 1.000 | 1.000 [1.000, 1.000] |" in new and "8 scenes (scenes, seed 0)" in new
    assert "Steps of a curve: deletion 5. Draws per image: good 7." in new


def test_no_ranking_where_nothing_can_be_ranked():
    rows = {(name, metric): table()[name, metric] for name in ("good", "random") for metric in ("deletion", "pointing_game")}
    content = gathered(Results(rows, Counters()), record("random"))
    assert content["agreement"]["deletion"]["pointing_game"]["tau"] is None and as_text(content).split()[-2:] == ["none", "1"]
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_the_committed_table_is_the_committed_json_and_says_what_it_must():
    folder = Path(testbed.__file__).parent
    content, text = json.loads((ROOT / "bench/results/ground_truth.json").read_text()), (folder / "README.md").read_text()
    assert rewritten(text, content) == text
    maps, both = content["maps"], "pointing_game_target_minus_distractor"
    controls = [name for name, result in maps.items() if result["control"] and result[both]["images"] > 1]
    assert {"random", "centre", "edge", "grey_level"} < set(controls) and content["images"] >= 100
    for name in ("grad_cam", "gradient", "input_x_gradient", "gradient_abs"):
        assert all(maps[name][both]["low"] > maps[control][both]["high"] for control in controls), "every control is far below"


def test_what_is_refused(tmp_path, capsys):
    blind = Results({("good", "deletion"): table()["good", "deletion"]}, Counters())
    with pytest.raises(CommandError, match="expected a run with metrics that know the truth and .* --metrics fidelity,truth"):
        gathered(blind, record("random"))
    assert cli.main(["truth", str(tmp_path / "none")]) == 2
    assert f"saliency-ext: truth: {tmp_path / 'none'}: " in capsys.readouterr().err


def test_from_a_run_on_the_testbed(tmp_path, capsys):
    pytest.importorskip("pyarrow")
    out = str(tmp_path / "run")
    words = ["--methods", "gradient,input_x_gradient", "--metrics", "fidelity,pointing_game,relevance_mass", "--no-controls"]
    assert cli.main(["evaluate", *words, "--limit", "3", "--steps", "2", "--pictures", "0", "--quiet", "--out", out]) == 0
    (tmp_path / "page.md").write_text(f"{MARKS[0]}{MARKS[1]}")
    assert cli.main(["truth", out, "--json", str(tmp_path / "x.json"), "--readme", str(tmp_path / "page.md")]) == 0
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["images"] == 3 and set(content["agreement"]["fidelity"]) == {"pointing_game", "relevance_mass"}
    assert "| input_x_gradient |" in (tmp_path / "page.md").read_text() and "Written: " in capsys.readouterr().out
    assert cli.main(["truth", out, "--readme", str(tmp_path / "x.json")]) == 2
    assert "--readme: expected the marks <!-- truth:begin --> and" in capsys.readouterr().err
