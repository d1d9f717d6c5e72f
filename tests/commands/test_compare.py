"""Two runs held against each other, and the conditions that fail a build."""

import argparse

import pytest
import torch

from saliency_ext.attribution import Gradient, InputXGradient, RandomControl
from saliency_ext.commands._command_result import CONDITION, DONE, MISSING, CommandError
from saliency_ext.commands._condition import ComparisonRow, failures, parse_condition
from saliency_ext.commands.compare import run
from saliency_ext.infill import Constant
from saliency_ext.metrics import Deletion, Fidelity
from saliency_ext.perturbation import EqualFractions
from saliency_ext.study.study import Study

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The same linear model, once explained well and once by the negative; and the same run again."""
    home = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval()
    images = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    metrics = [metric(Constant(0.0), EqualFractions(4)) for metric in (Fidelity, Deletion)]
    good = InputXGradient(model)

    def turned(inputs, target):
        return -good(inputs, target)

    for name, method, data in (
        ("good", good, images),
        ("again", good, images),
        ("bad", turned, images),
        ("fewer", good, images[:5]),
    ):
        Study(model, data, 0, {"mine": method}, metrics, out=home / name, controls=False).run()
    Study(model, images, 0, {"other": Gradient(model)}, metrics, out=home / "other", controls=False).run()
    return home


def compared(folders, first, second, *conditions):
    return run(argparse.Namespace(first=str(folders / first), second=str(folders / second), fail_if=list(conditions)))


def test_a_run_against_itself_changes_nothing(folders):
    command_result = compared(folders, "good", "again", "worse", "*.*.change < 0")
    assert command_result.status == DONE and "nothing; these are the same run" in command_result.text
    lines = [line for line in command_result.text.splitlines() if line.startswith("mine")]
    assert len(lines) == 2 and all(line.endswith("not distinguishable") and "+0.0000" in line for line in lines)


def test_worse_is_worse_in_the_direction_of_the_metric(folders):
    command_result = compared(folders, "good", "bad", "worse")
    assert command_result.status == CONDITION and "What differs: maps.mine" in command_result.text
    lines = {line.split()[1]: line for line in command_result.text.splitlines() if line.startswith("mine")}
    assert lines["fidelity"].endswith("worse") and lines["deletion"].endswith("worse"), "lower and higher are not confused"
    assert "worse: mine under fidelity, worse" in command_result.text
    back = compared(folders, "bad", "good", "worse")
    assert back.status == DONE and back.text.count("better") == 2


def test_numbers_are_means_over_the_images_of_both(folders):
    from saliency_ext.study.reader import read_results

    command_result = compared(folders, "good", "fewer")
    values = read_results(folders / "good")["mine", "fidelity"].values[:5]
    line = next(line for line in command_result.text.splitlines() if line.startswith("mine") and "fidelity" in line)
    assert "5 images in both" in command_result.text and f"{float(values.mean()):.4f}" in line.split()[2:4]


def test_conditions_on_numbers(folders):
    assert compared(folders, "good", "bad", "mine.fidelity.change < -0.001").status == CONDITION
    assert compared(folders, "good", "bad", "mine.fidelity.change > -0.001").status == DONE
    assert compared(folders, "good", "bad", "*.fidelity.second <= 0").status == CONDITION


def test_what_cannot_be_compared(folders, tmp_path):
    with pytest.raises(CommandError, match="have no map and metric in common"):
        compared(folders, "good", "other")
    with pytest.raises(CommandError, match="compare: .*expected folder of a"):
        compared(folders, "good", str(tmp_path))
    with pytest.raises(
        CommandError, match="'x.fidelity.change < 0' is about no map and metric of both runs; there are mine.fidelity"
    ):
        compared(folders, "good", "bad", "x.fidelity.change < 0")


ROW = ComparisonRow(
    "my.map", "fidelity", {"first": 0.5, "second": 0.4, "change": -0.1, "change_low": -0.2, "change_high": 0.0}, "worse"
)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("my.map.fidelity.change < -0.05", True),
        ("my.map.fidelity.change<-0.1", False),
        ("my.map.fidelity.change <= -1e-1", True),
        ("*.fidelity.first > 0.4", True),
        ("my.map.*.change_high >= 0", True),
        ("*.*.change_low > -0.3", True),
        ("map.fidelity.change < 0", None),
        ("worse", True),
    ],
)
def test_grammar(text, holds):
    if holds is None:
        with pytest.raises(CommandError, match="about no map and metric"):
            failures([parse_condition(text)], [ROW])
    else:
        failed, missing = failures([parse_condition(text)], [ROW])
        assert bool(failed) is holds and missing == []


@pytest.mark.parametrize(
    "text", ["", "better", "a.b.change", "a.b.mean < 1", "a.b.change < x", "a.b.change == 1", "__import__('os')", "b.change<1e"]
)
def test_other_words_are_no_condition(text):
    with pytest.raises(CommandError, match="--fail-if: expected 'worse', or MAP.METRIC.FIELD < NUMBER"):
        parse_condition(text)


def test_a_control_fails_no_gate():
    numbers = {"first": 0.5, "second": 0.1, "change": -0.4, "change_low": -0.5, "change_high": -0.3}
    control, method = (ComparisonRow(name, "fidelity", numbers, "worse", name == "random") for name in ("random", "mine"))
    for text in ("worse", "*.fidelity.change < 0", "*.*.second < 0.2"):
        assert failures([parse_condition(text)], [control]) == ([], [])
        ((line,), _) = failures([parse_condition(text)], [control, method])
        assert "mine under fidelity" in line
    with pytest.raises(CommandError, match=r"'random.fidelity.change < 0' is about random, a control: only methods can fail"):
        failures([parse_condition("random.fidelity.change < 0")], [control, method])


def test_controls_of_a_run_are_known(tmp_path):
    """Another seed makes another random map: the run is not worse for it."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval()
    images = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    turned = InputXGradient(model)
    for name, method in (("a", turned), ("b", RandomControl(1))):
        maps = {"mine": turned, "control": method if name == "b" else turned}
        Study(model, images, 0, maps, [Fidelity(Constant(0.0), EqualFractions(4))], out=tmp_path / name, controls=False).run()
    command_result = run(argparse.Namespace(first=str(tmp_path / "a"), second=str(tmp_path / "b"), fail_if=["worse"]))
    line = next(line for line in command_result.text.splitlines() if line.startswith("control"))
    assert line.endswith("worse") and command_result.status == DONE


def test_few_images_are_too_few_whatever_they_say(folders):
    command_result = compared(folders, "fewer", "fewer")
    lines = [line for line in command_result.text.splitlines() if line.startswith("mine")]
    assert len(lines) == 2 and all(line.endswith("  too few images") and "nan" not in line for line in lines)


def test_what_is_missing_cannot_be_judged():
    gone = ComparisonRow("m", "f", {"first": 0.5, "change": float("nan")}, "not distinguishable")
    failed, missing = failures([parse_condition(text) for text in ("*.*.change < 0", "*.*.first >= 0.7", "worse")], [gone])
    assert failed == [] and missing == ["*.*.change < 0: m under f, no change is known", "worse: m under f, no change is known"]
    fewer = ComparisonRow("m", "f", {"first": 0.5, "change": 0.1}, "better", lost=3)
    assert failures([parse_condition("worse")], [fewer]) == ([], ["worse: m under f, 3 of the images have no value any more"])


class Broken(Gradient):
    """Maps of which the first few are NaN."""

    def __init__(self, model, count):
        super().__init__(model)
        self.count = count

    def _explain(self, inputs, classes, sample_ids):
        return torch.where(sample_ids[:, None, None, None] < self.count, torch.nan, inputs.sum(1, keepdim=True))


@pytest.mark.parametrize(
    ("old", "new", "status"), [(0, 0, DONE), (0, 8, MISSING), (0, 1, MISSING), (8, 8, MISSING), (1, 1, DONE)]
)
def test_a_run_whose_values_are_missing_fails_the_gate(tmp_path, old, new, status):
    """So many of 8 maps are NaN. What was missing before as well fails nothing, as long as something is left to compare."""
    images = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(1))

    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval()
    for name, count in (("old", old), ("new", new)):
        method, metrics = Broken(net, count), [Fidelity(Constant(0.0), EqualFractions(4))]
        Study(net, images, 0, {"mine": method}, metrics, out=tmp_path / name, controls=False).run()
    command_result = compared(tmp_path, "old", "new", "worse")
    assert command_result.status == status and ("Values are missing, so this cannot be judged" in command_result.text) is (
        status == MISSING
    )
    assert compared(tmp_path, "old", "new").status == DONE, "without a condition nothing fails"
