"""Metrics of users, as docs/how-to/own-metric.md describes them: an object with info, parameters and score."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
import torch

from saliency_ext.attribution import RandomControl
from saliency_ext.conformance import check_metric
from saliency_ext.evaluation import Proxy, controlled_means, evaluate
from saliency_ext.infill import Constant
from saliency_ext.integrations import quantus
from saliency_ext.metrics import Deletion, MetricOptions, MetricResult
from saliency_ext.metrics.registry import make_metrics
from saliency_ext.metrics.target_minus_distractor import TargetMinusDistractor
from saliency_ext.perturbation import RankMasks
from saliency_ext.protocols import MetricInfo
from saliency_ext.ranking import rank_methods
from saliency_ext.study import Study

INFO = MetricInfo("peak", "none", "share", "how much one pixel holds", "a test")
WITH_TRUTH = dataclasses.replace(INFO, needs="truth")
IMAGES, MAPS, TRUTH = torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), torch.rand(3, 4, 4) > 0.5


def model(inputs):
    return inputs.flatten(1)[:, :2]


def peak(saliency):
    return saliency.flatten(1).amax(1)


class Peak:
    """No dataclass; subclasses name and place the truth as they like."""

    info = INFO
    parameters = {"power": 2}  # noqa: RUF012

    def score(self, saliency, mask=None):
        return peak(saliency)


class MapAlone(Peak):
    def score(self, saliency):
        return peak(saliency)


class AnyArguments(Peak):
    def score(self, *given):
        return peak(given[0])


class ByName(Peak):
    def score(self, saliency, *, truth=None):
        return peak(saliency)


class Keyed(Peak):
    def score(self, saliency, region=None, sample_ids=None):
        assert sample_ids is not None
        return peak(saliency)


class NeedsRegion(Peak):
    info = WITH_TRUTH

    def score(self, saliency, region):
        return (saliency * region).flatten(1).amax(1)


OWN = [Peak(), MapAlone(), AnyArguments(), ByName(), Keyed()]


@pytest.mark.parametrize("metric", OWN, ids=lambda metric: type(metric).__name__)
def test_an_object_with_info_parameters_and_score_is_a_metric(metric, tmp_path):
    result = evaluate(model, IMAGES, 0, MAPS, [metric, Deletion(Constant(0.0))])["map", "peak"]
    assert torch.equal(result.values, peak(MAPS).double()) and result.parameters == {"power": 2}
    methods = {"mine": lambda inputs, target: inputs[:, 0]}
    study = Study(model, IMAGES, "predicted", methods, [metric], out=tmp_path / type(metric).__name__, controls=False)
    torch.testing.assert_close(study.run()["mine", "peak"].values, peak(IMAGES[:, 0]).double())


def test_the_truth_is_given_whatever_its_name():
    with pytest.raises(ValueError, match=r"expected truth \(N, H, W\) bool for metric 'peak', got None"):
        evaluate(model, IMAGES, 0, MAPS, [NeedsRegion()])
    result = evaluate(model, IMAGES, 0, MAPS, [NeedsRegion()], truth=TRUTH)["map", "peak"].values
    assert torch.equal(result, peak(MAPS * TRUTH).double())
    gap = TargetMinusDistractor(NeedsRegion(), ~TRUTH).score(MAPS, TRUTH)
    torch.testing.assert_close(gap, peak(MAPS * TRUTH) - peak(MAPS * ~TRUTH))


def test_torchmetrics_takes_it_too():
    pytest.importorskip("torchmetrics")
    from saliency_ext.integrations import torchmetrics as classes

    class PeakMetric(classes.SaliencyMetric):
        judge_class = Peak

    metric = PeakMetric(classes.Evaluator(model))
    metric.update(IMAGES, 0, MAPS)
    assert metric.compute().item() == pytest.approx(peak(MAPS).mean().item())


@dataclasses.dataclass(frozen=True)
class HalfDrop:
    """A metric on the model's outputs that inherits nothing; a dataclass, so that its fields are its parameters."""

    score: str = "probability"
    info: ClassVar[MetricInfo] = MetricInfo("half_drop", "higher", "difference", "a half", "a test", range=(-1.0, 1.0))

    def request(self, context):
        counts = [0, context.pixels // 2]
        return context.request(RankMasks(context.ranked("index"), counts, keep="tail"), Constant(0.0))

    def compute(self, outputs, requested):
        whole, half = outputs.mean_score(requested, self.score).unbind(1)
        return MetricResult(self.info, whole - half, {"score": self.score})


class RankedPeak(Peak):
    info = dataclasses.replace(INFO, direction="higher", range=(0.0, 1.0))


@pytest.mark.parametrize("metric", [RankedPeak(), HalfDrop()], ids=["map", "model"])
def test_a_class_that_inherits_nothing_is_taken_wherever_metrics_are(metric, tmp_path):
    name, methods = metric.info.name, {"mine": lambda inputs, target: inputs[:, 0], "other": RandomControl(0)}
    images = torch.rand(12, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = evaluate(model, images, 0, methods, [metric])["mine", name].values
    study = Study(model, images, 0, methods, [metric], out=tmp_path / "study")
    torch.testing.assert_close(study.run()["mine", name].values, expected)
    assert set(rank_methods(model, images, 0, methods, metric).names) == set(methods)
    control = controlled_means(model, images, 0, {"mine": images[:, 0]}, metric, Proxy(metric), images=12)["mine"]
    assert control.mean == pytest.approx(expected.mean().item())
    assert "one finite value per image" not in check_metric(metric).failed
    made = quantus.QuantusMetric(metric)(model, images.numpy(), np.zeros(12, dtype=int), images[:, 0].numpy(), softmax=True)
    assert made == pytest.approx(expected.tolist())


def test_the_score_of_a_class_that_inherits_nothing_can_be_chosen():
    logits = quantus.QuantusMetric(HalfDrop())(model, IMAGES.numpy(), np.zeros(3, dtype=int), MAPS.numpy(), softmax=False)
    expected = evaluate(model, IMAGES, 0, MAPS, [HalfDrop("logit")])["map", "half_drop"].values
    assert logits == pytest.approx(expected.tolist())


def test_a_class_that_inherits_nothing_is_made_by_its_import_path():
    (by_path,) = make_metrics([f"{__name__}:HalfDrop"], MetricOptions())
    result, expected = (evaluate(model, IMAGES, 0, MAPS, [metric])["map", "half_drop"] for metric in (by_path, HalfDrop()))
    assert torch.equal(result.values, expected.values)
    needs = r"to name metrics that can be made by name.*power.*from_options\(options\) makes NeedsPower"
    with pytest.raises(TypeError, match=needs):
        make_metrics([f"{__name__}:NeedsPower"], MetricOptions())


class NeedsPower(Peak):
    info = dataclasses.replace(INFO)

    def __init__(self, power):
        self.parameters = {"power": power}


def without(member, **others):
    kind = {"info": INFO, "parameters": {}, "score": lambda self, saliency: peak(saliency)} | others
    return type("Mine", (), {name: value for name, value in kind.items() if name != member})()


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        (Peak, r"got the class Peak; make one: Peak\(...\)"),
        (without("info"), "got Mine, which has no 'info'"),
        (without("parameters"), "got Mine, which has no 'parameters'"),
        (without("score"), "got Mine, which has no 'score'"),
        (without("", score=0.5), "got Mine, whose 'score' is no method"),
        (without("score", request=lambda self, context: None), "got Mine, which has no 'compute'"),
        (without("", info="peak"), "expected Mine.info to be a MetricInfo, got str"),
        (without("", parameters=3), "expected Mine.parameters to be a mapping from names to values, got int"),
        (without("", score=lambda self, saliency: 0.5), r"Mine.score to return a tensor \(N,\) = \(3,\), got float"),
        (
            without("score", request=lambda self, context: 0, compute=lambda self, a, b: 1),
            "Mine.compute to return a MetricResult of 3",
        ),
    ],
)
def test_what_is_missing_is_named(metric, text):
    with pytest.raises(TypeError, match=text):
        evaluate(model, IMAGES, 0, MAPS, [metric])


def test_one_value_for_each_map():
    with pytest.raises(ValueError, match=r"Mine.score to return shape \(N,\) = \(3,\), got \(3, 4\); one value for each map"):
        evaluate(model, IMAGES, 0, MAPS, [without("", score=lambda self, saliency: saliency.amax(2))])
