"""Every metric by name: complete, named as its info, made with the choices it was given, with words for the report."""

import pytest
import torch

from saliency_ext import metrics
from saliency_ext.infill import Constant
from saliency_ext.metrics.base import ROLES, MapMetric, MetricOptions
from saliency_ext.metrics.registry import METRICS, make_metrics
from saliency_ext.metrics.target_minus_distractor import TargetMinusDistractor


def test_names_roles_and_words():
    for name, kind in METRICS.items():
        metric = make_metrics([name], MetricOptions())[0]
        assert name == kind.info.name == metric.info.name and kind.info.role in ROLES and kind.info.meaning.endswith((".", "?"))
        assert kind.info.needs in ("", "truth", "method")
        assert kind.info.needs != "method" or not isinstance(metric, MapMetric)


# As published. What is new says its own direction in its own test.
HIGHER = (
    *("fidelity", "insertion", "lerf", "symmetric_relevance_gain", "percentile_gap", "road", "road_combined", "sensitivity_n"),
    *("completeness", "soundness", "average_gain", "average_increase", "pointing_game", "relevance_mass", "relevance_rank"),
    *("mask_agreement", "sparseness"),
)
LOWER = (
    *("deletion", "morf", "infidelity", "average_drop", "max_sensitivity", "model_randomisation", "complexity"),
    "mask_detectability",
)


def test_which_way_is_better():
    expected = dict.fromkeys(HIGHER, "higher") | dict.fromkeys(LOWER, "lower") | {"geometry_gap": "none"}
    assert {name: make_metrics([name], MetricOptions())[0].info.direction for name in expected} == expected


def test_a_metric_is_imported_by_the_name_of_its_class():
    assert {kind.__name__ for kind in METRICS.values()} <= set(metrics.__all__) <= set(dir(metrics))
    assert metrics.Deletion is METRICS["deletion"]
    with pytest.raises(AttributeError, match="no attribute 'Delition'"):
        metrics.Delition  # noqa: B018


def test_classes_are_found_by_import_path():
    assert METRICS.find("f", "names", "saliency_ext.metrics.deletion:Deletion") is metrics.Deletion
    for name, text in {
        "saliency_ext.metrics.deletion:Delition": "has no attribute 'Delition'",
        "saliency_ext.nothing:Deletion": "No module named",
        "json:loads": "it is a class with an `info` of type MetricInfo",
    }.items():
        with pytest.raises(ValueError, match=text):
            make_metrics([name], MetricOptions())


def test_one_name_belongs_to_one_class():
    taken = type("Other", (), {"info": METRICS["deletion"].info})
    with pytest.raises(ValueError, match="got 'deletion' of saliency_ext.metrics.deletion:Deletion and of .*Other"):
        METRICS.add(taken)
    METRICS.add(METRICS["deletion"])


def test_a_metric_has_the_range_that_its_parameters_allow():
    assert metrics.Deletion(Constant(0.0)).value_range == (0.0, 1.0)
    assert metrics.Deletion(Constant(0.0), score="logit").value_range is None
    assert metrics.Fidelity(Constant(0.0)).value_range == (-1.0, 1.0)
    assert metrics.Fidelity(Constant(0.0), relative=True).value_range is None


def test_choices_arrive():
    choices = MetricOptions(Constant(0.25), steps=7, score="logit", seed=9)
    fidelity, completeness, pointing = make_metrics(["fidelity", "completeness", "relevance_rank"], choices)
    assert fidelity.infill == Constant(0.25) and fidelity.schedule.steps == 7 and fidelity.score == "logit" and fidelity.seed == 9
    assert completeness.score == "probability" and completeness.seed == 9 and pointing.seed == 9


def test_target_minus_distractor_by_name():
    others = torch.ones(2, 4, 4, dtype=torch.bool)
    (metric,) = make_metrics(["relevance_mass_target_minus_distractor"], MetricOptions(), others=others)
    assert isinstance(metric, TargetMinusDistractor) and metric.info.name == "relevance_mass_target_minus_distractor"
    with pytest.raises(
        ValueError, match="expected others masks of the other object, for 'relevance_mass_target_minus_distractor'"
    ):
        make_metrics(["relevance_mass_target_minus_distractor"], MetricOptions())
    with pytest.raises(ValueError, match="'fidelity_target_minus_distractor'.* to be one of .*'pointing_game'"):
        make_metrics(["fidelity_target_minus_distractor"], MetricOptions(), others=others)
    with pytest.raises(ValueError, match="expected names to be one of .*'fidelity', .*, got 'fidelty'"):
        make_metrics(["fidelty"], MetricOptions())


def test_a_difference_of_two_objects_has_words_and_range_of_its_own():
    difference = TargetMinusDistractor(metrics.PointingGame(), torch.ones(1, 2, 2, dtype=torch.bool)).info
    assert difference.role == "truth" and difference.range == (-1.0, 1.0) and difference.class_specific
    assert "minus that on the other one" in difference.meaning and "the most relevant pixel on the object" in difference.meaning
