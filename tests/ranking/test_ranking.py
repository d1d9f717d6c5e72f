"""Ranking: right order from few images, never two equal maps apart, and nothing spent on what is decided."""

from math import isnan

import pytest
import torch

from saliency_ext import evaluate, ops
from saliency_ext.infill import Constant
from saliency_ext.metrics import Deletion, Fidelity, GeometryGap, PointingGame, Sparseness
from saliency_ext.perturbation import AdaptiveSteps, Engine, EqualFractions, StratifiedSteps
from saliency_ext.ranking import rank_methods

COUNT = 160
METRIC = Fidelity(Constant(0.0), EqualFractions(8))


def scene():
    inputs = ops.philox_uniform((1, 4, 4), torch.arange(COUNT), seed=1)
    weight = torch.linspace(0.0, 1.0, 16).view(4, 4)

    def model(x):
        return torch.stack([(x[:, 0] * weight).sum((1, 2)), (x[:, 0] * (1 - weight)).sum((1, 2))], 1)

    noise = ops.philox_uniform((4, 4, 4), torch.arange(COUNT), seed=2)
    maps = {
        "best": inputs[:, 0] * weight,
        "fair": inputs[:, 0] * weight + 0.5 * noise[:, 0],
        "random": noise[:, 1],
        "worst": -inputs[:, 0] * weight,
    }
    return model, inputs, maps


def ranked(names=("best", "random"), metric=METRIC, **options):
    model, inputs, maps = scene()
    return rank_methods(model, inputs, 0, {name: maps[name] for name in names}, metric, **options)


def test_clear_gaps_need_few_images_and_the_order_is_right():
    result = ranked(("worst", "best", "random"), round_size=8)
    assert result.stopped == "decided" and result.images <= COUNT // 2
    assert result.better("best") == ["worst", "random"] and result.better("random") == ["worst"] and result.better("worst") == []
    assert result.masked_inputs < result.full / 2
    for pair in result.pairs:
        assert pair.low <= pair.mean <= pair.high and not pair.low < 0 < pair.high
    assert "best: better than worst, random" in str(result) and "0.95" in str(result)


def test_lower_is_better_where_the_metric_says_so():
    assert ranked(("best", "worst"), Deletion(Constant(0.0), EqualFractions(8))).better("best") == ["worst"]


def test_the_interval_holds_the_mean_over_all_images():
    model, inputs, maps = scene()
    full = evaluate(model, inputs, 0, maps, [METRIC])
    for pair in ranked(tuple(maps), budget=3000).pairs:
        truth = float((full[pair.first, "fidelity"].values - full[pair.second, "fidelity"].values).mean())
        assert pair.low <= truth <= pair.high


def test_equal_maps_are_not_distinguishable_and_share_their_masked_inputs():
    model, inputs, maps = scene()
    result = rank_methods(model, inputs, 0, {"one": maps["best"], "same": maps["best"].clone()}, METRIC)
    assert result.stopped == "all images" and result.images == COUNT
    assert result.pairs[0].better is None and not result.pairs[0].equivalent
    assert result.pairs[0].low == result.pairs[0].high == 0
    assert "not distinguishable" in str(result)


def test_within_the_margin_they_are_alike():
    result = ranked(("best", "fair"), margin=0.9)
    assert result.pairs[0].equivalent and result.images < COUNT
    assert result.pairs[0].low >= -0.9 and result.pairs[0].high <= 0.9


def test_decided_maps_are_no_longer_evaluated():
    requested = {"best": 0, "worst": 0, "same": 0}
    model, inputs, maps = scene()

    def method(name, saliency):
        lookup = {image.numpy().tobytes(): own for image, own in zip(inputs, saliency, strict=True)}

        def explain(images, target):
            requested[name] += len(images)
            return torch.stack([lookup[image.numpy().tobytes()] for image in images])

        return explain

    given = {"best": maps["best"], "same": maps["best"], "worst": maps["worst"]}
    result = rank_methods(model, inputs, 0, {name: method(name, own) for name, own in given.items()}, METRIC, round_size=8)
    assert requested["best"] == requested["same"] == COUNT
    assert requested["worst"] == max(
        pair.images + -pair.images % 8 for pair in result.pairs if "worst" in (pair.first, pair.second)
    )
    assert requested["worst"] < COUNT


def test_the_budget_stops_it_and_is_overrun_by_a_round_at_most():
    model, inputs, maps = scene()
    engine = Engine(model, max_batch=16)
    result = rank_methods(
        model, inputs, 0, {"best": maps["best"], "fair": maps["fair"]}, METRIC, budget=200, round_size=4, engine=engine
    )
    assert result.stopped == "budget"
    assert 200 <= result.masked_inputs <= 200 + 4 * 2 * 17
    assert result.images < COUNT and result.masked_inputs == engine.counters.images_forwarded - engine.counters.images_padded


def test_the_order_of_the_images_does_not_matter():
    model, inputs, maps = scene()
    shuffled = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))
    there = rank_methods(model, inputs, 0, {"best": maps["best"], "random": maps["random"]}, METRIC)
    again = rank_methods(
        model,
        inputs[shuffled],
        0,
        {"best": maps["best"][shuffled], "random": maps["random"][shuffled]},
        METRIC,
        sample_ids=shuffled,
    )
    assert there.pairs == again.pairs


def test_another_seed_takes_other_images():
    assert ranked(seed=0).pairs != ranked(seed=1).pairs


def test_with_drawn_steps_the_savings_multiply():
    coarse = ranked(("best", "worst"), Fidelity(Constant(0.0), StratifiedSteps(3, 16)))
    fine = ranked(("best", "worst"), Fidelity(Constant(0.0), EqualFractions(16)))
    assert coarse.better("best") == fine.better("best") == ["worst"]
    assert coarse.masked_inputs < fine.masked_inputs / 2


def test_an_image_without_a_value_is_no_difference():
    model, inputs, maps = scene()
    broken = maps["best"].clone()
    broken[:] = torch.nan
    result = rank_methods(model, inputs, 0, {"broken": broken, "random": maps["random"]}, METRIC)
    (pair,) = result.pairs
    assert (
        result.left_out == COUNT and isnan(pair.mean) and not pair.decided and pair.outcome == "no image has a value under both"
    )
    assert f"{COUNT} of the images had no value under some map and count as no difference." in str(result)
    assert (
        not rank_methods(model, inputs, 0, {"broken": broken, "random": maps["random"]}, METRIC, margin=0.9).pairs[0].equivalent
    )
    broken[::2] = maps["best"][::2]
    half = rank_methods(model, inputs, 0, {"broken": broken, "random": maps["random"]}, METRIC)
    assert 0 < half.left_out < half.images and half.pairs[0].mean != 0


def test_one_image():
    model, inputs, maps = scene()
    result = rank_methods(model, inputs[:1], 0, {"best": maps["best"][:1], "worst": maps["worst"][:1]}, METRIC)
    assert result.images == 1 and result.better("best") == ["worst"]  # all images there are


def test_truth_follows_the_images():
    model, inputs, maps = scene()
    truth = maps["best"] == maps["best"].amax((1, 2), keepdim=True)
    result = rank_methods(model, inputs, 0, {"best": maps["best"], "worst": maps["worst"]}, PointingGame(), truth=truth)
    assert result.better("best") == ["worst"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"alpha": 0.0}, r"rank_methods: expected alpha in \(0, 1\), got 0"),
        ({"alpha": 1.0}, r"expected alpha in \(0, 1\), got 1"),
        ({"margin": -1.0}, "margin"),
        ({"round_size": 0}, "round_size"),
        ({"budget": 0}, "budget"),
        ({"budget": 31}, "budget at least 32, both ends of a curve for each of the 16 images of a round, got 31; allow more, or"),
        ({"names": ("best",)}, "expected maps at least two to compare, got 1"),
        (
            {"metric": Fidelity(Constant(0.0), score="logit")},
            r"bounds for metric 'fidelity' .* pass bounds=\(low, high\)",
        ),
        ({"metric": Sparseness()}, "pass bounds"),
        ({"metric": GeometryGap(Constant(0.0))}, "one of which higher or lower is better, got 'geometry_gap'"),
        ({"sample_ids": torch.arange(3)}, r"expected sample_ids of shape \(N,\) = \(160,\), got \(3,\)"),
        ({"bounds": (1.0, 0.0)}, "low < high"),
        ({"bounds": (0.0, 0.01)}, r"to score in \[0, 0.01\]"),
    ],
)
def test_what_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        ranked(**options)


def test_estimates_within_a_tolerance_are_refused():
    metric = Fidelity(Constant(0.0), AdaptiveSteps(0.01, 10))
    with pytest.raises(ValueError, match="one whose mean is that of the whole grid, .*use StratifiedSteps, or Equal"):
        ranked(metric=metric)


def test_no_images_are_refused():
    model, inputs, maps = scene()
    with pytest.raises(ValueError, match="at least one image"):
        rank_methods(model, inputs[:0], 0, {"a": maps["best"][:0], "b": maps["best"][:0]}, METRIC)
