"""Every metric by name: complete, named as its info, made with the choices it was given, with words for the report."""

import inspect

import pytest
import torch

from saliency_ext import metrics
from saliency_ext.infill import Constant
from saliency_ext.metrics.base import ROLES, MetricOptions
from saliency_ext.metrics.registry import METRICS, make_metrics, meaning_of, role_of
from saliency_ext.metrics.target_minus_distractor import TargetMinusDistractor

NOT_LISTED = {"MetricContext", "CurveMetric", "Metric", "MetricResult", "TargetMinusDistractor"}


def test_names_roles_and_words():
    for name, entry in METRICS.items():
        metric = make_metrics([name], MetricOptions())[0]
        assert name == entry.name == metric.info.name and entry.role in ROLES and entry.meaning.endswith((".", "?"))
        needs_truth = hasattr(metric, "score") and not hasattr(metric, "request")
        needs_truth &= "truth" in inspect.signature(metric.score).parameters if needs_truth else False
        required = needs_truth and inspect.signature(metric.score).parameters["truth"].default is inspect.Parameter.empty
        needs = "truth" if required else "method" if getattr(metric, "needs_explainer", False) else ""
        assert entry.needs == needs, name


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
    assert {name: make_metrics([name], MetricOptions())[0].info.direction for name in METRICS} == expected


def test_every_public_metric_is_listed():
    public = {name for name in metrics.__all__ if inspect.isclass(getattr(metrics, name)) and name not in NOT_LISTED}
    names = {getattr(metrics, name).info.name for name in public}
    assert names <= set(METRICS), names - set(METRICS)


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
    with pytest.raises(ValueError, match="'fidelity_target_minus_distractor'.* to be one of 'pointing_game'"):
        make_metrics(["fidelity_target_minus_distractor"], MetricOptions(), others=others)
    with pytest.raises(ValueError, match="expected names to be one of 'fidelity', .*, got 'fidelty'"):
        make_metrics(["fidelty"], MetricOptions())


def test_roles_and_words_by_the_name_of_a_result():
    assert (
        role_of("pointing_game_target_minus_distractor") == "truth"
        and role_of("soundness") == "pair"
        and role_of("mine") == "order"
    )
    assert "the most relevant pixel on the object" in meaning_of("pointing_game_target_minus_distractor")
    assert meaning_of("mine") == "" and meaning_of("fidelity") == METRICS["fidelity"].meaning
    assert "minus that on the other one" in meaning_of("mine_target_minus_distractor")
