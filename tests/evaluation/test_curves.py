"""Curve metrics against naive loops, identities that hold to the bit, and closed forms."""

import itertools
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saliency_ext import ops
from saliency_ext.evaluation import evaluate
from saliency_ext.infill import Constant
from saliency_ext.metrics import Deletion, Fidelity, Insertion, LeRF, MoRF
from saliency_ext.perturbation import Engine, EqualFractions, GivenCounts
from saliency_ext.reference.curves import perturbation_curve, trapezoid
from tests.helpers import conv_net, tensors

GREY = Constant(0.5)
SIZE = (4, 5)


make_model = partial(conv_net, 24)


def linear(weights):
    """Class 0 scores w . x; class 1 nothing."""
    return lambda x: torch.stack([x.flatten(1).double() @ weights.flatten().double(), torch.zeros(len(x)).double()], 1)


CURVES = {
    "deletion": (Deletion, "most", False),
    "insertion": (Insertion, "most", True),
    "morf": (MoRF, "most", False),
    "lerf": (LeRF, "least", False),
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("score", ["probability", "logit", "log_probability", "accuracy"])
def test_equals_the_naive_loop(name, score):
    metric, order, insert = CURVES[name]
    model, images, saliency = make_model(), tensors(3, 3, *SIZE), tensors(3, *SIZE, seed=1)
    target = torch.tensor([0, 3, 5])
    schedule = EqualFractions(6)
    result = evaluate(model, images, target, saliency, [metric(GREY, schedule, score=score)])["map", name]
    counts = schedule.counts(20)
    with torch.no_grad():
        for i in range(3):
            infill, ranks = torch.full((3, *SIZE), 0.5), ops.rank(saliency)[i]
            options = {"order": order, "insert": insert, "target": int(target[i]), "score": score}
            naive = perturbation_curve(model, images[i], infill, ranks, counts, **options)
            torch.testing.assert_close(result.curves[name][i], torch.tensor(naive).double(), rtol=1e-5, atol=1e-6)
            area = trapezoid(naive, [count / 20 for count in counts])
            assert float(result.values[i]) == pytest.approx(area, rel=1e-5, abs=1e-6)


def all_metrics(**options):
    return [metric(GREY, **options) for metric in (Deletion, Insertion, MoRF, LeRF, Fidelity)]


def test_insertion_is_lerf_backwards_and_fidelity_their_gap():
    results = evaluate(make_model(), tensors(4, 3, *SIZE), "predicted", tensors(4, *SIZE, seed=1), all_metrics())
    insertion, lerf, morf = (results["map", name] for name in ("insertion", "lerf", "morf"))
    assert torch.equal(insertion.curves["insertion"], lerf.curves["lerf"].flip(1))
    assert torch.equal(morf.curves["morf"], results["map", "deletion"].curves["deletion"])
    fidelity = results["map", "fidelity"]
    assert torch.equal(fidelity.values, lerf.values - morf.values)
    torch.testing.assert_close(fidelity.values, insertion.values - morf.values)  # equal fractions: the area reads the same


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_negated_and_transformed_maps(seed):
    images, saliency = tensors(2, 3, *SIZE, seed=seed), tensors(2, *SIZE, seed=seed + 1)
    maps = {"own": saliency, "negated": -saliency, "increasing": (3 * saliency).exp() - 7}
    results = evaluate(make_model(), images, 0, maps, [Fidelity(GREY)])
    own = results["own", "fidelity"].values
    torch.testing.assert_close(results["negated", "fidelity"].values, -own, rtol=0, atol=1e-12)
    assert torch.equal(results["increasing", "fidelity"].values, own)


def test_ends_are_the_clean_image_and_the_pure_infill():
    model, images = make_model(), tensors(3, 3, *SIZE)
    results = evaluate(model, images, 2, tensors(3, *SIZE, seed=1), all_metrics(score="logit"), engine=Engine(model, max_batch=3))
    with torch.no_grad():
        clean, pure = model(images)[:, 2].double(), model(torch.full_like(images, 0.5))[:, 2].double()
    for name in ("deletion", "morf", "lerf"):
        curve = results["map", name].curves[name]
        assert torch.equal(curve[:, 0], clean) and torch.equal(curve[:, -1], pure), name


def test_constant_model_gives_flat_curves():
    results = evaluate(lambda x: torch.ones(len(x), 4), tensors(2, 3, *SIZE), 1, tensors(2, *SIZE, seed=1), all_metrics())
    assert torch.allclose(results["map", "deletion"].values, torch.tensor(0.25).double())
    assert results["map", "fidelity"].values.tolist() == [0.0, 0.0]


def test_linear_model_has_closed_forms():
    images, weights = tensors(1, 1, 2, 3), tensors(1, 1, 2, 3, seed=1) - 0.3
    terms = (weights * (images - 0.5))[:, 0]
    exact = {"infill": GREY, "schedule": GivenCounts(range(7)), "score": "logit"}
    results = evaluate(linear(weights), images, 0, terms, [Fidelity(**exact), Deletion(**exact)])
    ordered = terms.flatten().double().sort(descending=True).values
    clean = (weights.double() * images.double()).sum()
    expected = torch.stack([clean - ordered[:k].sum() for k in range(7)])
    torch.testing.assert_close(results["map", "deletion"].curves["deletion"][0], expected, rtol=1e-6, atol=1e-7)
    gaps = [ordered[:k].sum() - ordered[6 - k :].sum() for k in range(7)]  # k largest less k smallest
    area = torch.trapezoid(torch.stack(gaps), dx=1 / 6)
    assert float(results["map", "fidelity"].values[0]) == pytest.approx(float(area), rel=1e-5)


def test_no_order_beats_the_true_terms_on_a_linear_model():
    images, weights = tensors(1, 1, 1, 4), tensors(1, 1, 1, 4, seed=1) - 0.4
    terms = (weights * (images - 0.5))[:, 0]
    maps = {"true": terms} | {str(order): torch.tensor(order).float().view(1, 1, 4) for order in itertools.permutations(range(4))}
    metric = Deletion(GREY, GivenCounts(range(5)), score="logit")
    results = evaluate(linear(weights), images, 0, maps, [metric])
    best = results["true", "deletion"].curves["deletion"]
    assert all((results[name, "deletion"].curves["deletion"] >= best - 1e-9).all() for name in maps)


def test_an_artifact_that_depends_on_the_count_cancels_in_fidelity():
    weights = tensors(1, 3, *SIZE, seed=5)

    def damaged(strength):
        def forward(x):
            removed = (x == 0.5).all(1).flatten(1).sum(1).double()
            return linear(weights)(x) - strength * removed.sqrt()[:, None] * torch.tensor([1.0, 0.0]).double()

        return forward

    images, saliency = tensors(3, 3, *SIZE), tensors(3, *SIZE, seed=1)
    metrics = [Fidelity(GREY, score="logit")]
    plain, harmed = (evaluate(damaged(by), images, 0, saliency, metrics)["map", "fidelity"] for by in (0.0, 2.0))
    torch.testing.assert_close(plain.values, harmed.values, rtol=0, atol=1e-9)
    assert (plain.extras["auc_mif"] - harmed.extras["auc_mif"] > 1).all()
    assert (harmed.curves["artifact"][:, -1] > plain.curves["artifact"][:, -1]).all()


def test_aopc_is_the_mean_drop_and_turns_the_direction():
    saliency, images = tensors(2, *SIZE, seed=1), tensors(2, 3, *SIZE)
    result = evaluate(make_model(), images, 0, saliency, [MoRF(GREY, summary="aopc")])["map", "morf"]
    curve = result.curves["morf_aopc"]
    torch.testing.assert_close(result.values, (curve[:, :1] - curve).mean(1))
    assert (result.info.direction, MoRF.info.direction) == ("higher", "lower")
