"""evaluate: fewer forwards with the same bits, statuses per sample, intervals, bad input."""

import math
from functools import partial

import pytest
import torch

from saliency_ext import ops
from saliency_ext.evaluation import evaluate
from saliency_ext.infill import Constant, UniformNoise
from saliency_ext.metrics import Deletion, Fidelity, Insertion, LeRF, MoRF, PercentileGap, SymmetricRelevanceGain
from saliency_ext.perturbation import Engine, EqualFractions
from saliency_ext.testbed import make_mosaic
from tests.helpers import conv_net, tensors

GREY = Constant(0.5)
ALL = (Deletion, Insertion, MoRF, LeRF)


make_model = partial(conv_net, 96)


def images_and_maps(n=4, maps=3):
    return tensors(n, 3, 8, 6), {f"map{i}": tensors(n, 8, 6, seed=i + 1) for i in range(maps)}


def count(model, images, maps, metrics, **options):
    engine = Engine(model, max_batch=4)
    return evaluate(model, images, 0, maps, metrics, engine=engine, **options), engine.counters


def test_four_curves_cost_two_and_the_ends_once():
    model, (images, maps) = make_model(), images_and_maps()
    metrics = [metric(GREY, EqualFractions(10)) for metric in ALL]
    together, shared = count(model, images, maps, metrics)
    separate, requested = {}, 0
    for metric in metrics:
        for name, saliency in maps.items():
            single, counters = count(model, images, {name: saliency}, [metric])
            separate[name, metric.info.name] = single[name, metric.info.name]
            requested += counters.images_forwarded - counters.images_padded
    used = shared.images_forwarded - shared.images_padded
    per_map = 2 * (11 - 2)  # both sides, without the ends
    assert used == len(images) * (3 * per_map + 2)  # one clean image and one pure infill for everything
    assert used <= requested / 2
    for pair in together:
        assert torch.equal(together[pair].values, separate[pair].values), pair


def test_random_references_are_shared_by_all_maps():
    model, (images, maps) = make_model(), images_and_maps(maps=10)
    metric = Fidelity(GREY, EqualFractions(10), references=5)
    together, shared = count(model, images, maps, [metric])
    alone, apart = {}, 0
    for name, saliency in maps.items():
        alone[name], counters = count(model, images, {name: saliency}, [metric])
        apart += counters.images_forwarded - counters.images_padded
    used = shared.images_forwarded - shared.images_padded
    assert used == len(images) * (10 * 18 + 5 * 18 + 2)  # two orders of each map and reference, and the ends
    assert apart >= 3.5 * used
    for name in maps:
        assert torch.equal(together[name, "fidelity"].values, alone[name][name, "fidelity"].values)
        for extra in ("mrg", "lrg", "auc_random"):
            assert torch.equal(together[name, "fidelity"].extras[extra], alone[name][name, "fidelity"].extras[extra])


def test_equal_maps_are_free():
    model, (images, maps) = make_model(), images_and_maps(maps=2)
    _, one = count(model, images, {"a": maps["map0"]}, [Fidelity(GREY)])
    results, three = count(model, images, {"a": maps["map0"], "b": maps["map0"].exp(), "c": maps["map0"] * 2}, [Fidelity(GREY)])
    assert three.images_forwarded == one.images_forwarded
    assert torch.equal(results["a", "fidelity"].values, results["b", "fidelity"].values)


def test_chunks_order_and_company_change_no_bit():
    model, (images, maps) = make_model(), images_and_maps(n=5)
    metrics = [Deletion(GREY), Fidelity(UniformNoise(0.0, 1.0, seed=3, draws=2))]
    whole, _ = count(model, images, maps, metrics)
    for chunk in (1, 2, 5):
        part, _ = count(model, images, maps, metrics, chunk=chunk)
        assert all(torch.equal(part[pair].values, whole[pair].values) for pair in whole), chunk
    order = torch.tensor([3, 0, 4])
    shuffled, _ = count(model, images[order], {"map1": maps["map1"][order]}, metrics[::-1], sample_ids=order)
    assert all(torch.equal(shuffled[pair].values, whole[pair].values[order]) for pair in shuffled)


def test_bad_samples_are_marked_and_the_others_finish():
    model, (images, maps) = make_model(), images_and_maps(n=5, maps=1)
    saliency = maps["map0"].clone()
    expected, _ = count(model, images, {"m": saliency.clone()}, [Deletion(GREY)])
    images[1, 0, 0, 0], saliency[2, 0, 0], saliency[3] = math.nan, math.inf, 0.25
    results, _ = count(model, images, {"m": saliency}, [Deletion(GREY)])
    result = results["m", "deletion"]
    assert result.status == ["ok", "nonfinite_input", "nonfinite_map", "degenerate_map", "ok"]
    assert result.values.isnan().tolist() == [False, True, True, False, False]
    assert result.curves["deletion"].isnan().all(1).tolist() == [False, True, True, False, False]  # no plausible curve either
    assert torch.equal(result.values[[0, 4]], expected["m", "deletion"].values[[0, 4]])
    summary = results.summary("m", "deletion")
    assert (summary.images, summary.left_out) == (3, 2)
    with pytest.raises(ValueError, match=r"evaluate: expected inputs finite values, got NaN or Inf in sample\(s\) \[1\]"):
        count(model, images, {"m": saliency}, [Deletion(GREY)], on_bad="raise", chunk=1)  # the caller's index, not the chunk's
    with pytest.raises(ValueError, match=r"expected maps\['m'\] finite values, got NaN or Inf in sample\(s\) \[2\]"):
        count(model, images[[0, 0, 2, 3, 4]], {"m": saliency}, [Deletion(GREY)], on_bad="raise")


def test_a_model_that_answers_nan_is_marked():
    results = evaluate(lambda x: x.flatten(1)[:, :2] * torch.nan, tensors(2, 1, 4, 4), 0, tensors(2, 4, 4), [Deletion(GREY)])
    assert results["map", "deletion"].status == ["nonfinite_score"] * 2
    assert math.isnan(results.summary("map", "deletion").mean)


def test_an_empty_batch_gives_empty_results():
    model, (images, maps) = make_model(), images_and_maps(n=4, maps=1)
    none = {name: saliency[:0] for name, saliency in maps.items()}
    results, _ = count(model, images[:0], none, [Deletion(GREY), Fidelity(GREY)])
    assert results["map0", "deletion"].values.shape == (0,) and results["map0", "fidelity"].status == []
    assert math.isnan(results.summary("map0", "deletion").mean)
    results, _ = count(model, images[:0], none, [PercentileGap(GREY), SymmetricRelevanceGain(GREY)])
    assert all(results["map0", name].values.shape == (0,) for name in ("percentile_gap", "symmetric_relevance_gain"))


@pytest.mark.parametrize("shape", [(3, 1, 1, 1), (2, 2, 1, 5), (2, 5, 7, 1)])
def test_tiny_and_odd_images(shape):
    images, saliency = tensors(*shape), tensors(shape[0], *shape[2:], seed=1)
    results = evaluate(lambda x: x.flatten(1)[:, :1].repeat(1, 2), images, 1, saliency, [Fidelity(GREY), Insertion(GREY)])
    assert results["map", "fidelity"].values.shape == shape[:1] and results["map", "insertion"].valid.all()


def test_nothing_of_the_callers_is_changed():
    model, (images, maps) = make_model().train(), images_and_maps(maps=1)
    images.requires_grad_()
    before, kept, state = [p.clone() for p in model.parameters()], images.detach().clone(), torch.get_rng_state()
    with pytest.warns(RuntimeWarning, match="training mode"):
        evaluate(model, images, 0, maps, [Deletion(GREY)])
    assert model.training and images.requires_grad and images.grad is None
    assert all(torch.equal(p, q) and p.requires_grad and p.grad is None for p, q in zip(model.parameters(), before, strict=True))
    assert torch.equal(images.detach(), kept) and torch.equal(torch.get_rng_state(), state)


def test_a_good_map_is_told_from_a_random_one_and_not_from_itself():
    scene = make_mosaic()
    images = (scene.image + 0.05 * ops.philox_normal((3, 96, 96), torch.arange(6), seed=0)).clamp(0, 1)
    target = scene.target.expand(6)
    good = scene.model.activation_map(images, target)
    maps = {"good": good, "same": good + 1e-9, "random": tensors(6, 96, 96)}
    results = evaluate(scene.model.eval(), images, target, maps, [Fidelity(GREY, EqualFractions(10))])
    comparison = results.compare("good", "random", "fidelity")
    assert comparison.better == "good" and "good is better" in str(comparison)
    assert results.compare("random", "good", "fidelity").better == "good"
    assert results.compare("good", "same", "fidelity").better is None
    assert "not distinguishable" in str(results.compare("good", "same", "fidelity"))


def test_intervals_cover_the_mean_and_are_reproducible():
    model, (images, maps) = make_model(), images_and_maps(n=8, maps=1)
    summary = count(model, images, maps, [Deletion(GREY)])[0].summary("map0", "deletion")
    assert summary.low < summary.mean < summary.high
    assert summary == count(model, images, maps, [Deletion(GREY)])[0].summary("map0", "deletion")


def test_rows_hold_every_choice():
    model, (images, maps) = make_model(), images_and_maps(n=2, maps=1)
    rows = count(model, images, maps, [Deletion(GREY), Deletion(Constant(0.0))])[0].rows()
    assert [row["metric"] for row in rows] == ["deletion"] * 2 + ["deletion_2"] * 2
    assert rows[0]["infill"] == "constant" and rows[0]["score"] == "probability" and rows[0]["status"] == "ok"


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (
            {"inputs": torch.zeros(2, 3, 8, 6).byte()},
            TypeError,
            "expected inputs of dtype float32 or float64, got uint8",
        ),
        (
            {"inputs": tensors(2, 8, 6, 3)},
            ValueError,
            r"beside maps of shape \(2, 8, 6\) reads like \(N, H, W, C\); permute\(0, 3, 1, 2\) first",
        ),
        (
            {"maps": tensors(2, 3, 8, 6)},
            ValueError,
            r"of shape \(N, H, W\) = \(2, 8, 6\), got \(2, 3, 8, 6\); say channels='sum'",
        ),
        ({"maps": tensors(2, 4, 4)}, ValueError, r"of shape \(N, H, W\) = \(2, 8, 6\), got \(2, 4, 4\); say resample='nearest'"),
        ({"maps": tensors(1, 8, 6)}, ValueError, r"of shape \(N, H, W\) = \(2, 8, 6\), got \(1, 8, 6\); one map for each image"),
        ({"maps": {}}, ValueError, "expected maps at least one map, got none"),
        ({"target": torch.tensor([0, 6])}, ValueError, r"expected target in \[0, 6\), got 6 at index 1"),
        ({"target": torch.tensor([0])}, ValueError, r"expected target of shape \(N,\) = \(2,\), got \(1,\)"),
        ({"metrics": []}, ValueError, "expected metrics a sequence of at least one metric"),
        ({"metrics": [3]}, TypeError, "expected metrics to hold metrics, got int, which has no 'info'"),
        ({"chunk": 0}, ValueError, r"evaluate: expected chunk in \[1, "),
        ({"on_bad": "skip"}, ValueError, "expected on_bad to be one of 'mark', 'raise', got 'skip'"),
    ],
)
def test_bad_arguments_are_refused_by_name(change, error, text):
    arguments = {"inputs": tensors(2, 3, 8, 6), "target": 0, "maps": tensors(2, 8, 6), "metrics": [Deletion(GREY)]} | change
    with pytest.raises(error, match=text):
        evaluate(make_model(), **arguments)


def test_an_infill_must_be_an_infill():
    with pytest.raises(
        TypeError,
        match="Deletion: expected infill to be an Infill, got float, which has no 'name'; see docs",
    ):
        Deletion(0.5)
