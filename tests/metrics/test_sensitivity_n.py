"""Sensitivity-n against a loop per set, closed forms on linear models, shared sets, sets of no and of all pixels."""

import numpy as np
import pytest
import torch

from saliency_ext.infill import Constant, UniformNoise
from saliency_ext.metrics import Fidelity
from saliency_ext.metrics.context import MetricContext
from saliency_ext.metrics.sensitivity_n import SensitivityN
from saliency_ext.perturbation import EqualFractions, RandomOrder
from tests.helpers import tensors
from tests.metrics.perturbation_cases import GREY, check_company_changes_no_bit, linear, make_model, requested, run, same_results

SIZE = (4, 5)
NOISE = UniformNoise(0.0, 1.0, seed=3, draws=2)


def only(results, name="map"):
    return results[name, "sensitivity_n"]


def naive(model, image, saliency, sample_id, metric, target):
    """r(n) of one image: one set, one forward at a time."""
    ids, rows = torch.tensor([sample_id]), []
    for size in metric.sizes:
        sums, drops = [], []
        for draw in range(metric.subsets):
            ranks = RandomOrder(SIZE, ids, metric.seed, draw).of(slice(0, 1))[0]
            total, scores = 0.0, []
            for infill_draw in range(metric.infill.draws):
                fill = metric.infill.fill(image[None], ids, infill_draw).expand(1, *image.shape)[0]
                masked, total = image.clone(), 0.0
                for y in range(SIZE[0]):
                    for x in range(SIZE[1]):
                        if ranks[y, x] < round(size * 20):
                            masked[:, y, x] = fill[:, y, x]
                            total += float(saliency[y, x])
                scores.append(float(model(masked[None])[0].double().softmax(0)[target]))
            sums.append(total)
            drops.append(float(model(image[None])[0].double().softmax(0)[target]) - sum(scores) / len(scores))
        rows.append(np.corrcoef(sums, drops)[0, 1])
    return rows


@pytest.mark.parametrize("infill", [GREY, NOISE], ids=["constant", "noise"])
def test_equals_the_naive_loop(infill):
    model, images, saliency = make_model(), tensors(3, 3, *SIZE), tensors(3, *SIZE, seed=1) - 0.5
    target, ids = torch.tensor([0, 3, 5]), torch.tensor([7, 0, 4])
    metric = SensitivityN(infill, sizes=(0.5, 0.1, 0.9), subsets=8, seed=5)
    result = only(run(model, images, saliency, [metric], target=target, sample_ids=ids)[0])
    with torch.no_grad():
        rows = [naive(model, images[i], saliency[i], int(ids[i]), metric, int(target[i])) for i in range(3)]
    expected = torch.tensor(np.array(rows))
    torch.testing.assert_close(result.curves["sensitivity_n"], expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(result.values, expected.mean(1), rtol=1e-3, atol=1e-4)
    assert result.fractions.tolist() == [0.1, 0.5, 0.9] and result.status == ["ok"] * 3


def test_true_terms_of_a_linear_model_have_one_and_their_negation_minus_one():
    images, weights = tensors(2, 3, *SIZE), tensors(1, 3, *SIZE, seed=1) - 0.3
    terms = (weights * (images - 0.5)).sum(1)
    maps = {"terms": terms, "moved": 4 * terms + 3, "negated": -terms, "random": tensors(2, *SIZE, seed=9)}
    results, _ = run(linear(weights), images, maps, [SensitivityN(GREY, score="logit", subsets=30)])
    for name, expected in (("terms", 1.0), ("moved", 1.0), ("negated", -1.0)):
        torch.testing.assert_close(only(results, name).values, torch.full((2,), expected).double(), rtol=0, atol=1e-5)
    assert (only(results, "random").values.abs() < 0.6).all()
    assert SensitivityN.info.direction == "higher"


def test_negation_turns_the_sign_and_scale_does_not_matter():
    images, saliency = tensors(2, 3, *SIZE), tensors(2, *SIZE, seed=1).double() - 0.5
    maps = {"own": saliency, "negated": -saliency} | {str(s): saliency * s for s in (1e300, 1e-300)}
    results, _ = run(make_model(), images, maps, [SensitivityN(GREY, subsets=10)])
    own = only(results, "own").values
    torch.testing.assert_close(only(results, "negated").values, -own)
    for scale in ("1e+300", "1e-300"):
        torch.testing.assert_close(only(results, scale).values, own)


def test_all_maps_share_the_sets():
    model, images, metric = make_model(), tensors(3, 3, *SIZE), SensitivityN(GREY, sizes=(0.1, 0.5), subsets=7)
    maps = {f"m{i}": tensors(3, *SIZE, seed=i) for i in range(4)}
    results, engine = run(model, images, maps, [metric])
    assert requested(engine) == 3 * (1 + 2 * 7)
    alone, _ = run(model, images, {"m2": maps["m2"]}, [metric])
    same_results(only(alone, "m2"), only(results, "m2"))


def test_the_sets_are_those_of_random_references():
    model, images, saliency = make_model(), tensors(2, 3, *SIZE), tensors(2, *SIZE, seed=1)
    fidelity = Fidelity(GREY, EqualFractions(4), references=5, seed=1)
    sensitivity = SensitivityN(GREY, sizes=(0.25, 0.5, 0.75), subsets=5, seed=1)
    _, one = run(model, images, saliency, [fidelity])
    _, both = run(model, images, saliency, [fidelity, sensitivity])
    assert requested(one) == requested(both)


def test_sets_of_no_and_of_all_pixels_are_left_out():
    model, images, saliency = make_model(), tensors(2, 3, *SIZE), tensors(2, *SIZE, seed=1)
    sizes = (0.0, 0.5, 1.0)
    result, engine = run(model, images, saliency, [SensitivityN(GREY, sizes=sizes, subsets=6)])
    result = only(result)
    middle = only(run(model, images, saliency, [SensitivityN(GREY, sizes=(0.5,), subsets=6)])[0])
    assert torch.equal(result.values, middle.values) and result.status == ["ok"] * 2
    assert result.curves["sensitivity_n"].isnan().tolist() == [[True, False, True]] * 2
    assert result.curves["mean_drop"][:, 0].tolist() == [0.0, 0.0]
    assert result.extras["sizes_left_out"].tolist() == [2.0, 2.0]
    assert requested(engine) == 2 * (1 + 6 + 1)  # the pure infill once
    ends = only(run(model, images, saliency, [SensitivityN(GREY, sizes=(0.0, 1.0), subsets=6)])[0])
    assert ends.status == ["undefined"] * 2 and ends.values.isnan().all()


def test_sizes_are_rounded_to_pixels_and_sorted():
    metric = SensitivityN(GREY, sizes=[0.13, 0.12, 0.025], subsets=2)  # 2.6, 2.4 and 0.5 of 20 pixels
    result = only(run(make_model(), tensors(1, 3, *SIZE), tensors(1, *SIZE, seed=1), [metric])[0])
    assert result.fractions.tolist() == [1 / 20, 2 / 20, 3 / 20] and metric.sizes == (0.025, 0.12, 0.13)


def test_one_size_is_no_flat_curve():
    result = only(run(make_model(), tensors(2, 3, *SIZE), tensors(2, *SIZE, seed=1), [SensitivityN(GREY, sizes=(0.3,))])[0])
    assert result.status == ["ok"] * 2 and result.curves["sensitivity_n"].shape == (2, 1)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3])
def test_a_constant_map_predicts_nothing(value):
    images, saliency = tensors(2, 3, *SIZE), tensors(2, *SIZE, seed=1)
    saliency[1] = value
    result = only(run(make_model(), images, saliency, [SensitivityN(GREY, subsets=9)])[0])
    assert result.values[1] == 0 and result.values[0] != 0
    assert result.status == ["ok", "degenerate_map"]


def test_nothing_to_predict_has_no_value():
    result = only(run(lambda x: torch.ones(len(x), 3), tensors(2, 3, *SIZE), tensors(2, *SIZE), [SensitivityN(GREY)])[0])
    assert result.status == ["undefined"] * 2 and result.values.isnan().all()


def test_bad_scores_are_marked_and_not_skipped():
    """NaN at one size must not become a mean over the others."""

    def forward(x):
        gone = (x == 0.5).all(1).flatten(1).sum(1)
        return torch.where(gone == 10, torch.nan, x.flatten(1).sum(1))[:, None].repeat(1, 2)

    metric = SensitivityN(GREY, sizes=(0.25, 0.5), subsets=5, score="logit")
    result = only(run(forward, tensors(2, 3, *SIZE), tensors(2, *SIZE, seed=1), [metric])[0])
    assert result.status == ["nonfinite_score"] * 2 and result.values.isnan().all()


def test_company_changes_no_bit():
    maps = {"a": tensors(5, *SIZE, seed=1), "b": tensors(5, *SIZE, seed=2) - 0.5}
    metrics = [SensitivityN(NOISE, sizes=(0.2, 0.6), subsets=5), Fidelity(GREY, EqualFractions(4))]
    check_company_changes_no_bit(make_model(), tensors(5, 3, *SIZE), maps, metrics)


def test_all_orders_of_a_case_keep_the_ranks_of_one():
    """Else a hundred sets would keep a hundred maps of ranks until all are answered."""
    ids = torch.tensor([4, 9])
    case = MetricContext(torch.zeros(2, 3, *SIZE), torch.zeros(2, *SIZE), torch.zeros(2, dtype=torch.int64), ids)
    first, second = case.random_order(3, 1), case.block_order(3, 1)
    alone = RandomOrder(SIZE, ids, 3, 1)
    for images in (slice(0, 2), slice(1, 2), slice(0, 2)):
        assert torch.equal(first.of(images), alone.of(images)) and len(first.slot) == 1
        second.of(images)
        assert first.slot is second.slot and len(second.slot) == 1


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 1, 1, 1), (1, 2, 1, 3)])
def test_no_images_and_tiny_ones(shape):
    model = lambda x: x.flatten(1).sum(1)[:, None].repeat(1, 2)  # noqa: E731
    metric = SensitivityN(GREY, score="logit")
    result = only(run(model, tensors(*shape), tensors(shape[0], *shape[2:], seed=1), [metric])[0])
    assert result.values.shape == shape[:1]
    assert result.status == ["undefined"] * shape[0] if shape[2] * shape[3] == 1 else len(result.status) == shape[0]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"sizes": ()}, ValueError, "SensitivityN: expected sizes to hold at least one share, got none"),
        ({"sizes": (5,)}, ValueError, r"SensitivityN: expected sizes in \[0, 1\], got 5; they are shares of the pixels"),
        ({"sizes": 0.5}, TypeError, "SensitivityN: expected sizes to be a sequence of numbers, got float"),
        ({"sizes": ("a",)}, TypeError, "SensitivityN: expected sizes to be numbers, got str"),
        ({"subsets": 1}, ValueError, r"SensitivityN: expected subsets in \[2, 16384\], got 1"),
        ({"seed": -1}, ValueError, "SensitivityN: expected seed in"),
        ({"score": "odds"}, ValueError, "SensitivityN: expected score to be one of 'probability', 'logit'"),
        ({"infill": 0.5}, TypeError, "SensitivityN: expected infill to be an Infill, got float"),
    ],
)
def test_bad_choices_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        SensitivityN(**({"infill": Constant(0.0)} | options))
