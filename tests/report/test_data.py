"""What is gathered for a report: methods, metrics, samples without a value, and what is refused."""

import pytest
import torch

from saliency_ext.evaluation import Results
from saliency_ext.perturbation import Counters
from saliency_ext.protocols import MethodInfo
from saliency_ext.report import Example
from saliency_ext.report.data import gather
from tests.report.samples import DELETION, FIDELITY, RANDOM, result, results_of, simple, values, with_status


def test_methods_metrics_and_their_words():
    data = gather(simple({"mine": 0.5, "random": 0.0}), methods={"random": RANDOM}, facts={"seed": "0"})
    assert [(line.name, line.control) for line in data.methods] == [("mine", False), ("random", True)]
    line = data.metrics[0]
    assert (line.name, line.info.role) == ("fidelity", "order") and "upside down" in line.info.meaning
    assert line.parameters == {"score": "probability", "steps": "4"}
    assert data.images == 40 and data.facts == {"seed": "0"}
    assert (data.counted, data.requested, data.run) == ("kinds of masked input per chunk of images", 100, 40)
    counted = gather(simple({"mine": 0.5}), masked_inputs={"requested": 9000, "run": 4000})
    assert (counted.counted, counted.requested, counted.run) == ("masked inputs", 9000, 4000)


def test_a_parameter_that_differs_says_whose_it_is():
    first, second = result(FIDELITY, [1.0]), result(FIDELITY, [2.0])
    second.parameters["class_blind"], first.parameters["class_blind"] = True, False
    data = gather(results_of({("a", "fidelity"): first, ("b", "fidelity"): second}))
    assert data.metrics[0].parameters["class_blind"] == "a: False; b: True"


def test_every_sample_without_a_value_is_listed_once_with_its_reason():
    table = {}
    for name in ("a", "b"):
        for info in (FIDELITY, DELETION):
            result = with_status(info, values(0.5, 6), [2], "unreadable_sample")
            if name == "b":
                result.values[4], result.status[4] = torch.nan, "method_failed"
            table[name, info.name] = result
    table["a", "deletion"].values[5], table["a", "deletion"].status[5] = torch.nan, "nonfinite_score"
    reasons = ["", "", "OSError: truncated", "", "", ""]
    data = gather(results_of(table), samples=list("uvwxyz"), reasons=reasons)
    result = [(fault.samples, fault.status, fault.maps, fault.metrics) for fault in data.sample_errors]
    assert result == [
        (["w"], "unreadable_sample", ["a", "b"], ["fidelity", "deletion"]),
        (["y"], "method_failed", ["b"], ["fidelity", "deletion"]),
        (["z"], "nonfinite_score", ["a"], ["deletion"]),
    ]
    assert [fault.reason for fault in data.sample_errors] == [
        "OSError: truncated",
        "the method raised an error on this image",
        "the model's score is NaN or Inf",
    ]


def test_samples_that_share_a_fault_share_a_line():
    table = {("a", "fidelity"): with_status(FIDELITY, values(0.5, 6), [1, 3], "nonfinite_map")}
    data = gather(results_of(table))
    assert [fault.samples for fault in data.sample_errors] == [["1", "3"]]


def test_values_that_say_little_are_counted():
    found = result(FIDELITY, values(0.5, 4), status=["ok", "degenerate_map", "degenerate_map", "flat_curve"])
    data = gather(results_of({("a", "fidelity"): found}))
    assert data.doubts == [("a", "fidelity", "degenerate_map", 2), ("a", "fidelity", "flat_curve", 1)] and not data.sample_errors


def test_summary_is_that_of_the_results():
    results = simple({"mine": 0.5})
    assert gather(results).summary("mine", "fidelity") == results.summary("mine", "fidelity")
    assert gather(results).summary("other", "fidelity").images == 0


def test_what_is_refused():
    results = simple({"mine": 0.5}, count=3)
    with pytest.raises(ValueError, match="gather: expected results at least one map under one metric, got none"):
        gather(Results({}, Counters()))
    with pytest.raises(ValueError, match="gather: expected controls to be among mine, got random"):
        gather(results, controls=["random"])
    with pytest.raises(ValueError, match="gather: expected samples one for each of 3 images, got 2"):
        gather(results, samples=["a", "b"])
    with pytest.raises(ValueError, match="gather: expected reasons one for each of 3 images, got 1"):
        gather(results, reasons=[""])
    picture = torch.zeros(4, 5, 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"Example: expected picture of shape \(H, W, 3\)"):
        Example("", picture[0], {})
    with pytest.raises(ValueError, match=r"Example: expected maps\['m'\] of shape \(H, W\) = \(4, 5\), got \(5, 4\)"):
        Example("", picture, {"m": torch.zeros(5, 4)})
    assert Example("", picture, {"m": torch.zeros(4, 5)}).caption == ""


def test_a_control_given_by_name():
    info = MethodInfo("mine", "gradient", True, "1 F", "me")
    data = gather(simple({"mine": 0.5, "other": 0.1}), methods={"mine": info}, controls=["other"])
    assert data.controls == ["other"] and data.methods[0].info is info
