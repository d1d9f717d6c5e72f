"""The verdict in words: every kind of case says what is so, and no more."""

import dataclasses

import torch

from saliency_ext.protocols import MethodInfo
from saliency_ext.report._verdict import listed, sentence, verdict
from saliency_ext.report.data import gather
from tests.report.samples import (
    DELETION,
    FIDELITY,
    POINTING,
    SPARSENESS,
    data_of,
    result,
    results_of,
    simple,
    values,
    with_status,
)


def several(columns, count=40):
    """Results from {metric info: {map: mean}}."""
    return results_of({
        (name, info.name): result(info, values(mean, count, seed))
        for info, means in columns.items()
        for seed, (name, mean) in enumerate(means.items())
    })  # fmt: skip


def points(found, kind):
    return [text for own, text in found.points if own == kind]


def test_a_clear_leader():
    result = verdict(data_of(simple({"good": 0.6, "weak": 0.3, "random": 0.0})))
    assert result.headline == "good leads under fidelity, and beats every control."
    assert points(result, "controls") == ["Every method beats every control under every metric that can rank maps on its own."]
    assert not points(result, "equal")
    assert sentence(result.significances[0]) == "good leads. Every method beats every control."


def test_leaders_that_cannot_be_told_apart():
    result = verdict(data_of(simple({"good": 0.6, "twin": 0.6, "weak": 0.3, "random": 0.0})))
    assert result.headline == "good and twin are among the best under fidelity, and beat every control."
    assert points(result, "equal") == ["Not distinguishable under any metric: good and twin."]
    assert "has the best mean, but is not distinguishable from" in sentence(result.significances[0])


def test_a_leader_that_is_no_better_than_chance_is_not_praised():
    result = verdict(data_of(simple({"best": 0.01, "other": 0.0, "random": 0.0})))
    assert result.headline == "best and other are among the best under fidelity, but best and other do not beat every control."
    assert points(result, "controls") == ["Not better than some control: best under fidelity; other under fidelity."]


def test_a_control_that_is_better_is_called_better():
    result = verdict(data_of(simple({"method": 0.2, "random": 0.7})))
    assert "method is worse than random" in sentence(result.significances[0])
    assert points(result, "controls") == ["Not better than some control: method under fidelity (worse)."]


def test_all_that_falls_short_of_controls_is_one_point():
    means = {FIDELITY: {"good": 0.9, "weak": 0.5, "random": 0.0}, POINTING: {"good": 0.9, "weak": 0.2, "random": 0.2}}
    result = verdict(data_of(several(means)))
    assert points(result, "controls") == ["Not better than some control: weak under pointing_game. good beats them all."]


def test_without_controls_it_says_so():
    result = verdict(data_of(simple({"good": 0.6, "weak": 0.3}), controls=()))
    assert result.headline == "good leads under fidelity, but no control was run."
    assert "No control was run: there is no evidence that any method is better than a random map." in points(result, "caution")
    assert "No control was run" in sentence(result.significances[0])


def test_metrics_that_disagree():
    means = {FIDELITY: {"a": 0.9, "b": 0.2, "random": 0.0}, DELETION: {"a": 0.6, "b": 0.1, "random": 0.9}}
    result = verdict(data_of(several(means)))
    assert result.headline == "No method leads under every metric. Most often among the best: a (fidelity); b (deletion)."


def test_most_metrics_are_said_by_what_is_missing():
    other = POINTING.__class__("relevance_mass", "higher", "share", "the object", "")
    means = {info: {"a": 0.9, "b": 0.2, "random": 0.0} for info in (FIDELITY, POINTING, other)}
    means[DELETION] = {"a": 0.6, "b": 0.1, "random": 0.9}
    result = verdict(data_of(several(means)))
    assert result.headline.endswith("Most often among the best: a (all but deletion).")


def test_only_metrics_that_judge_count():
    means = {SPARSENESS: {"a": 0.1, "b": 0.9, "random": 0.2}, FIDELITY: {"a": 0.9, "b": 0.2, "random": 0.0}}
    result = verdict(data_of(several(means)))
    assert result.headline == "a leads under fidelity, and beats every control."
    assert len(result.significances) == 2
    form = verdict(data_of(simple({"a": 0.1, "b": 0.9}, info=SPARSENESS)))
    assert form.headline == "No method can be recommended: no metric was run that can rank maps on its own."


def test_too_few_images():
    result = verdict(data_of(simple({"a": 0.9, "b": 0.1, "random": 0.0}, count=4)))
    assert result.headline == "No difference can be established: there are too few images."
    assert sentence(result.significances[0]) == "4 images are too few to distinguish any of the 3 maps."


def test_agreement_with_the_truth():
    means = {"a": 0.9, "b": 0.6, "c": 0.3, "random": 0.0}
    result = verdict(data_of(several({FIDELITY: means, POINTING: means})))
    assert result.taus == {("fidelity", "pointing_game"): 1.0}
    assert points(result, "agreement") == [
        "Perturbation metrics and ground-truth metrics rank the methods similarly: Kendall's tau 1.00."
    ]
    turned = {"a": 0.3, "b": 0.6, "c": 0.9, "random": 0.0}
    against = verdict(data_of(several({FIDELITY: means, POINTING: turned})))
    assert points(against, "agreement") == [
        "Perturbation metrics and ground-truth metrics rank the methods differently: Kendall's tau -1.00."
    ]


def test_a_class_specific_metric_takes_the_caution_away():
    means, caution = {"a": 0.9, "random": 0.0}, "specific to its class"
    (text,) = (text for text in points(verdict(data_of(simple(means))), "caution") if caution in text)
    assert "Add soundness, or" in text, "the registered metrics that are class-specific are named"
    specific = dataclasses.replace(FIDELITY, name="mine", class_specific=True)
    assert not any(caution in text for text in points(verdict(data_of(simple(means, info=specific))), "caution"))


def test_lost_images_and_lost_controls_are_said():
    table = {("a", "fidelity"): result(FIDELITY, values(0.9, 40)), ("random", "fidelity"): result(FIDELITY, values(0.0, 40, 1))}
    table["grey", "fidelity"] = with_status(FIDELITY, values(0.0, 40, 2), range(30), "method_failed")
    table["a", "fidelity"] = with_status(FIDELITY, values(0.9, 40), [7], "nonfinite_map")
    found = verdict(data_of(results_of(table), controls=("random", "grey")))
    assert found.headline == "a leads under fidelity, and beats every control that had values."
    assert "30 images have no value under some map and metric: see the statuses." in points(found, "caution")
    assert "Not compared, too few values: grey" in sentence(found.significances[0])


def test_many_equal_pairs_are_counted():
    result = verdict(data_of(simple({name: 0.5 for name in "abcdef"} | {"random": 0.0}, spread=0.3)))
    assert points(result, "equal") == ["15 of 15 pairs of methods are not distinguishable under any metric."]


def test_only_controls():
    data = data_of(simple({"random": 0.0}))
    assert sentence(verdict(data).significances[0]) == "Only controls were compared."
    assert verdict(data).headline.startswith("No method can be recommended")


def test_as_text():
    text = verdict(data_of(simple({"good": 0.6, "random": 0.0}))).to_text()
    assert text.splitlines()[0] == "good leads under fidelity, and beats every control."
    assert text.splitlines()[-1] == "fidelity: good leads. Every method beats every control."


def test_lists_in_sentences():
    assert [listed(list(names)) for names in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]


def test_the_family_makes_a_control():
    results = simple({"mine": 0.9, "noise": 0.0})
    data = gather(results, methods={"noise": MethodInfo("random", "control", False, "0", "")})
    assert data.controls == ["noise"]
    assert torch.equal(data.result("mine", "fidelity").values, results["mine", "fidelity"].values)
