"""Symmetric relevance gain: a loop over superpixels gives the same, and the identities of fidelity hold."""

import itertools
from functools import partial

import pytest
import torch

from saliency_ext.evaluation import evaluate
from saliency_ext.infill import Constant, UniformNoise
from saliency_ext.metrics import Deletion, Fidelity
from saliency_ext.metrics.context import MetricContext
from saliency_ext.metrics.symmetric_relevance_gain import SymmetricRelevanceGain
from saliency_ext.perturbation import Engine, EqualFractions, GivenCounts, LogSpaced
from saliency_ext.segmentation import grid, slic
from tests.attribution.games import MIXED, images_with_labels, painted_labels, pixels, smooth_model, tensors

GREY = Constant(0.25)
NAME = "symmetric_relevance_gain"
NOISE = UniformNoise(-1.0, 1.0, seed=0, draws=5)


def gain(infill=GREY, segmenter=painted_labels, **options):
    return SymmetricRelevanceGain(infill, segmenter=segmenter, **options)


def scored(metric, images, saliency, target=1, **options):
    return evaluate(smooth_model, images, target, saliency, [metric], **options)["map", NAME]


def naive(image, saliency, target, infill, schedule, score, sample_id):
    """One image, one superpixel after the other. Returns value, and the two areas."""
    labels = image[0].round().long()
    numbers = [number for number in labels.unique().tolist() if number >= 0]
    order = sorted(numbers, key=lambda number: -float(saliency[labels == number].mean()))
    areas = {}
    for name, removed_first in (("morf", order), ("lerf", order[::-1])):
        points = []
        for count in schedule.counts(len(order)):
            draws = []
            for draw in range(infill.draws):
                pixels = infill.fill(image[None], torch.tensor([sample_id]), draw).expand_as(image[None])[0]
                masked = image.clone()
                for number in removed_first[:count]:
                    masked[:, labels == number] = pixels[:, labels == number]
                logits = smooth_model(masked[None])[0]
                draws.append(float((logits if score == "logit" else logits.softmax(0))[target]))
            points.append((count / len(order), sum(draws) / len(draws)))
        areas[name] = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))
    return areas["lerf"] - areas["morf"], areas


@pytest.mark.parametrize("score", ["probability", "logit"])
@pytest.mark.parametrize("infill", [GREY, NOISE], ids=["grey", "noise"])
@pytest.mark.parametrize("schedule", [LogSpaced(15), EqualFractions(4), GivenCounts((0, 1))], ids=["log", "equal", "given"])
def test_equals_the_naive_loop(infill, score, schedule):
    images, saliency, ids = images_with_labels(MIXED), tensors(5, 2, 3, seed=1), torch.tensor([4, 0, 9, 3, 8])
    target = torch.tensor([0, 1, 2, 0, 1])
    result = scored(gain(infill, score=score, schedule=schedule), images, saliency, target, sample_ids=ids)
    for n in (0, 3, 4):
        value, areas = naive(images[n], saliency[n], int(target[n]), infill, schedule, score, int(ids[n]))
        assert float(result.values[n]) == pytest.approx(value, abs=1e-12)
        assert float(result.extras["auc_morf"][n]) == pytest.approx(areas["morf"], abs=1e-12)
        assert float(result.extras["auc_lerf"][n]) == pytest.approx(areas["lerf"], abs=1e-12)
    assert result.extras["segments"][[0, 3, 4]].tolist() == [3, 3, 6]
    assert result.values[1:3].isnan().all()  # one superpixel, and none: there is no order
    assert result.status == ["ok", "undefined", "undefined", "ok", "ok"]


def test_superpixels_count_alike_large_or_small():
    """Pins the axis: shares of superpixels. Scores 4 (all), 3 or 1 (one gone), 0; over pixels the areas would differ."""
    image = torch.tensor([[[[1.0, 1.0, 1.0, 1.0]], [[3.0, 0.5, 0.25, 0.25]]]])
    image[:, 0] = torch.tensor([0.0, 1.0, 1.0, 1.0])
    metric = gain(Constant(0.0), score="logit")
    model = lambda x: x[:, 1].sum((1, 2))[:, None].expand(-1, 2)  # noqa: E731
    result = evaluate(model, image, 0, {"best": image[:, 1], "worst": -image[:, 1]}, [metric])
    assert result["best", NAME].extras["auc_morf"].item() == (4 + 1) / 4 + 1 / 4
    assert result["best", NAME].extras["auc_lerf"].item() == (4 + 3) / 4 + 3 / 4
    assert result["best", NAME].values.item() == 1.0 and result["worst", NAME].values.item() == -1.0


def test_relevance_is_the_mean_not_the_sum():
    image = torch.tensor([[[[0.0, 1.0, 1.0, 1.0]], [[1.0, 0.0, 0.0, 0.0]]]])
    saliency = torch.tensor([[[2.0, 1.0, 1.0, 1.0]]])  # sums 2 and 3
    model = lambda x: x[:, 1].sum((1, 2))[:, None]  # noqa: E731
    assert evaluate(model, image, 0, saliency, [gain(Constant(0.0), score="logit")])["map", NAME].values.item() == 0.5


def test_with_pixels_as_superpixels_it_is_fidelity():
    images, saliency = images_with_labels(MIXED), tensors(5, 2, 3, seed=1)
    saliency[:, 0, :2] = 0.5  # ties: both draw them from the same keys
    metrics = [gain(NOISE, pixels, seed=3), Fidelity(NOISE, LogSpaced(15), seed=3)]
    results = evaluate(smooth_model, images, 1, saliency, metrics)
    torch.testing.assert_close(results["map", NAME].values, results["map", "fidelity"].values, rtol=0, atol=1e-12)


def test_negated_constant_and_flat():
    images, saliency = images_with_labels(MIXED), tensors(5, 2, 3, seed=1)
    value, negated = scored(gain(), images, saliency).values, scored(gain(), images, -saliency).values
    torch.testing.assert_close(negated, -value, equal_nan=True)
    assert value[0].abs() > 1e-4
    flat = evaluate(lambda x: torch.ones(len(x), 2), images, 0, saliency, [gain()], check_model=False)["map", NAME]
    assert flat.values[[0, 3, 4]].abs().max() == 0 and flat.status[0] == "flat_curve"


def test_equal_superpixels_are_ordered_by_seed_and_sample():
    images, saliency = images_with_labels(MIXED[4:].repeat(40, 1, 1)), torch.ones(40, 2, 3)
    images[:] = images[:1].clone()
    value = scored(gain(), images, saliency).values
    assert len(value.unique()) > 10 and abs(value.mean()) < 4 * value.std() / 40**0.5
    moved = scored(gain(), images, saliency, sample_ids=torch.arange(39, -1, -1))
    assert torch.equal(moved.values, value.flip(0))
    assert not torch.equal(scored(gain(seed=1), images, saliency).values, value)


@pytest.mark.parametrize("infill", [GREY, NOISE], ids=["grey", "noise"])
def test_neither_batch_nor_chunk_changes_a_number(infill):
    """To the bit; the mean over draws is summed in an order that depends on the shape."""
    images, saliency, ids = images_with_labels(MIXED), tensors(5, 2, 3, seed=1), torch.tensor([4, 0, 9, 3, 8])
    metric, engine = gain(infill), Engine(smooth_model, max_batch=16)
    together = scored(metric, images, saliency, sample_ids=ids, chunk=5, engine=engine)
    for chunk in (1, 2):
        parts = scored(metric, images, saliency, sample_ids=ids, chunk=chunk, engine=engine)
        same = {"rtol": 0, "atol": 0, "equal_nan": True}
        torch.testing.assert_close(parts.values, together.values, **same)
        for name, curve in together.curves.items():
            torch.testing.assert_close(parts.curves[name], curve, **same)


def test_maps_share_the_segmentation_and_the_ends():
    calls, images = [], images_with_labels(MIXED)

    def segmenter(inputs):
        calls.append(len(inputs))
        return painted_labels(inputs)

    metric = gain(segmenter=segmenter, schedule=EqualFractions(1))
    maps = {name: tensors(5, 2, 3, seed=seed) for seed, name in enumerate("abc")}
    results = evaluate(smooth_model, images, 1, maps, [metric, Deletion(GREY, EqualFractions(1))], chunk=5)
    assert calls == [5]
    # Clean, infill of all pixels (Deletion), infill of all superpixels: one image keeps its uncovered pixels.
    assert results.counters.unique == 3
    evaluate(smooth_model, images, 1, maps, [metric], chunk=3)
    assert calls == [5, 3, 2]
    case = MetricContext(images, maps["a"], torch.ones(5).long(), torch.arange(5))
    assert metric.request(case).segments.tolist() == metric.request(case).segments.tolist() == [3, 1, 0, 3, 6]
    assert calls == [5, 3, 2, 5]
    images[0, 0] = 0.0  # in place: other superpixels
    assert metric.request(case).segments.tolist() == [1, 1, 0, 3, 6]


def test_images_without_any_superpixel():
    images = images_with_labels(MIXED[2:3])
    result = scored(gain(), images, tensors(1, 2, 3))
    assert result.status == ["undefined"] and result.values.isnan().all()


def test_curves_are_the_points_joined_by_lines():
    images, saliency = images_with_labels(MIXED[4:]), tensors(1, 2, 3, seed=1)
    labels_of_two = partial(grid, cells=(1, 2))
    result = scored(gain(segmenter=labels_of_two, schedule=EqualFractions(2)), images, saliency)
    curve = result.curves["morf"][0]
    assert len(curve) == len(result.fractions) == 21
    torch.testing.assert_close(curve[5], (curve[0] + curve[10]) / 2)
    torch.testing.assert_close(curve[16], curve[10] + 0.6 * (curve[20] - curve[10]))
    ends = smooth_model(torch.cat([images, torch.full_like(images, 0.25)])).softmax(1)[:, 1]
    torch.testing.assert_close(curve[[0, 20]], ends)


def test_published_choices_are_recorded():
    parameters = SymmetricRelevanceGain(NOISE).parameters
    assert (
        parameters["segmenter"] == "slic" and parameters["schedule"] == "LogSpaced(points=15)" and parameters["infill_draws"] == 5
    )
    assert gain(segmenter=partial(slic, segments=75)).parameters["segmenter"] == "slic(segments=75)"
    images = torch.nn.functional.interpolate(tensors(2, 3, 5, 5), size=(32, 32), mode="bicubic").float()
    model = lambda x: x.flatten(2).mean(2)  # noqa: E731
    result = evaluate(model, images, 1, images[:, 1], [SymmetricRelevanceGain(NOISE)])["map", NAME]
    assert (result.extras["segments"] > 8).all() and (result.values > 0).all()


def test_errors_name_the_argument():
    with pytest.raises(TypeError, match="SymmetricRelevanceGain: expected segmenter to be callable, got int"):
        gain(segmenter=25)
    with pytest.raises(TypeError, match="SymmetricRelevanceGain: expected infill to be an Infill, got float"):
        gain(0.0)
    with pytest.raises(ValueError, match="SymmetricRelevanceGain: expected score to be one of"):
        gain(score="loss")
    with pytest.raises(ValueError, match=r"schedule to give at least two counts, got \[1\] for 1 superpixels"):
        scored(gain(schedule=GivenCounts((1,))), images_with_labels(MIXED[1:2]), tensors(1, 2, 3))
    with pytest.raises(ValueError, match=r"GivenCounts: expected given in \[0, 1\], got 2"):
        scored(gain(schedule=GivenCounts((0, 2))), images_with_labels(MIXED[1:2]), tensors(1, 2, 3))
    with pytest.raises(ValueError, match="SymmetricRelevanceGain: expected the segmenter's labels of shape"):
        scored(gain(segmenter=lambda x: x.long()), images_with_labels(MIXED), tensors(5, 2, 3))
