"""Average drop, increase and gain against a loop per image, their definitions, what they share, degenerate maps."""

import pytest
import torch

from saliency_ext.infill import Constant, UniformNoise
from saliency_ext.metrics.average_drop import AverageDrop, AverageGain, AverageIncrease
from tests.helpers import tensors
from tests.metrics.perturbation_cases import GREY, check_company_changes_no_bit, linear, make_model, requested, run

METRICS = (AverageDrop, AverageIncrease, AverageGain)
NAMES = ("average_drop", "average_increase", "average_gain")
DEFINITIONS = ("difference", "relative", "relative_magnitude")
SIZE = (4, 5)


def all_metrics(infill=GREY, definition="relative"):
    return [metric(infill, definition=definition) for metric in METRICS]


def naive(model, image, saliency, target, definition, infill=0.5):
    """(drop, increase, gain) of one image, in plain numbers."""
    values = [[abs(v) if definition == "relative_magnitude" else v for v in row] for row in saliency.tolist()]
    lowest, highest = min(min(row) for row in values), max(max(row) for row in values)
    seen = image.clone()
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            keep = (value - lowest) / (highest - lowest)
            seen[:, y, x] = keep * image[:, y, x] + (1 - keep) * infill
    with torch.no_grad():
        p, o = (float(model(x[None])[0].double().softmax(0)[target]) for x in (image, seen))
    by_p, by_rest = {"difference": (1, 1), "relative": (p + 1e-7, 1 - p + 1e-7)}.get(definition, (p + 1e-8, 1 - p + 1e-8))
    return max(0, p - o) / by_p, float(o > p), max(0, o - p) / by_rest


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_equals_the_naive_loop(definition):
    model, images, saliency = make_model(), tensors(6, 3, *SIZE), tensors(6, *SIZE, seed=1) - 0.5
    target = torch.tensor([0, 3, 5, 1, 2, 4])
    results, _ = run(model, images, saliency, all_metrics(definition=definition), target=target)
    expected = [naive(model, *each, definition) for each in zip(images, saliency, target.tolist(), strict=True)]
    for index, name in enumerate(NAMES):
        values = torch.tensor([row[index] for row in expected]).double()
        torch.testing.assert_close(results["map", name].values, values, rtol=1e-4, atol=1e-7)
    drop, increase, gain = (results["map", name].values for name in NAMES)
    assert ((drop > 0) != (gain > 0)).all() and torch.equal(increase, (gain > 0).double())  # never both
    assert 0 < increase.mean() < 1


def test_by_hand():
    # Two pixels 3 and 1 over infill 0, w = (1, -1): p = sigmoid(2). The map keeps all of the first and half of the second.
    image, saliency = torch.tensor([[[[3.0, 1.0, 0.0]]]]), torch.tensor([[[6.0, 4.0, 2.0]]])
    model = linear(torch.tensor([1.0, -1.0, 0.0]))
    p, o = torch.tensor([2.0, 3 - 0.5]).double().sigmoid().tolist()
    gains = {"difference": o - p, "relative": (o - p) / (1 - p + 1e-7), "relative_magnitude": (o - p) / (1 - p + 1e-8)}
    for definition, gain in gains.items():
        results, _ = run(model, image, saliency, all_metrics(Constant(0.0), definition))
        assert results["map", "average_gain"].values.item() == pytest.approx(gain, rel=1e-12)
        assert results["map", "average_drop"].values.item() == 0 and results["map", "average_increase"].values.item() == 1
        extras = results["map", "average_drop"].extras
        assert (extras["clean"].item(), extras["seen"].item()) == pytest.approx((p, o), rel=1e-12)
    # Another map, -6, -4, 4, keeps nothing of the evidence and a fifth of what speaks against it.
    other, o = torch.tensor([[[-6.0, -4.0, 4.0]]]), torch.tensor(-0.2).double().sigmoid().item()
    for definition, drop in {"difference": p - o, "relative": (p - o) / (p + 1e-7)}.items():
        results, _ = run(model, image, other, all_metrics(Constant(0.0), definition))
        assert results["map", "average_drop"].values.item() == pytest.approx(drop, rel=1e-6)
        assert results["map", "average_gain"].values.item() == 0 and results["map", "average_increase"].values.item() == 0


@pytest.mark.parametrize(("definition", "sees_the_sign"), [("relative", True), ("relative_magnitude", False)])
def test_polarity(definition, sees_the_sign):
    evidence = torch.zeros(1, 4, 5)
    evidence[0, :2, :2] = 1.0
    maps = {"good": evidence, "shifted": 4 * evidence - 1, "negated": -evidence}
    results, _ = run(linear(evidence), torch.ones(1, 1, 4, 5), maps, all_metrics(Constant(0.0), definition))
    drops = [results[name, "average_drop"].values.item() for name in maps]
    assert drops[0] == 0
    # Hiding the evidence takes the probability from sigmoid(4) = 0.982 to 1/2.
    hidden = pytest.approx(1 - 0.5 / torch.tensor(4.0).double().sigmoid().item(), rel=1e-6)
    assert drops[2] == (hidden if sees_the_sign else 0)
    assert drops[1] == 0  # |4 m - 1| is 3 and 1


def test_one_masked_input_for_all_three_and_one_more_for_magnitudes():
    model, images = make_model(), tensors(3, 3, *SIZE)
    signed = tensors(3, *SIZE, seed=1) - 0.5
    metrics = all_metrics(definition="relative") + all_metrics(definition="difference")
    _, engine = run(model, images, signed, metrics)
    assert requested(engine) == 3 * (1 + 1)  # clean, seen
    _, engine = run(model, images, signed, metrics + all_metrics(definition="relative_magnitude"))
    assert requested(engine) == 3 * (1 + 2)
    _, engine = run(model, images, signed.abs(), metrics + all_metrics(definition="relative_magnitude"))
    assert requested(engine) == 3 * (1 + 1)  # one and the same mask
    _, engine = run(model, images, {"a": signed, "b": signed * 4}, metrics)
    assert requested(engine) == 3 * (1 + 1)


def test_a_constant_map_shows_nothing():
    model, images = make_model(), tensors(2, 3, *SIZE)
    saliency = torch.stack([torch.full(SIZE, 7.0), torch.zeros(SIZE)])
    results, _ = run(model, images, saliency, all_metrics())
    with torch.no_grad():
        pure = model(torch.full_like(images, 0.5)).double().softmax(1)[:, 0]
    result = results["map", "average_drop"]
    torch.testing.assert_close(result.extras["seen"], pure, rtol=1e-6, atol=0)
    assert result.status == ["degenerate_map"] * 2 and result.valid.all()


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("logit", [0.0, 1000.0, -1000.0])
def test_a_model_that_ignores_the_image_moves_nothing(definition, logit):
    """Also where p is exactly 1 or 0."""
    model = lambda x: torch.tensor([[logit, 0.0]]).expand(len(x), 2)  # noqa: E731
    results, _ = run(model, tensors(2, 3, *SIZE), tensors(2, *SIZE, seed=1), all_metrics(definition=definition))
    for name in NAMES:
        assert results["map", name].values.tolist() == [0.0, 0.0]
        assert results["map", name].status == ["ok"] * 2


def test_company_changes_no_bit():
    noise = UniformNoise(0.0, 1.0, seed=3, draws=2)
    metrics = [AverageDrop(noise, definition="relative_magnitude"), AverageIncrease(GREY), AverageGain(GREY)]
    maps = {"a": tensors(5, *SIZE, seed=1), "b": tensors(5, *SIZE, seed=2) - 0.5}
    check_company_changes_no_bit(make_model(), tensors(5, 3, *SIZE), maps, metrics)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_maps_of_other_dtypes_and_extreme_sizes(dtype):
    model, images = make_model(), tensors(2, 3, *SIZE)
    saliency = (torch.arange(40.0).view(2, *SIZE) / 32).to(dtype)
    expected, _ = run(model, images, saliency.float(), all_metrics())
    results, _ = run(model, images, saliency, all_metrics())
    assert torch.equal(results["map", "average_drop"].values, expected["map", "average_drop"].values)
    if dtype == torch.float64:
        for scale in (1e300, 1e-300):
            results, _ = run(model, images, (saliency - 0.5) * scale, all_metrics())
            torch.testing.assert_close(results["map", "average_drop"].values, expected["map", "average_drop"].values)


def test_bad_scores_and_no_images():
    metrics = all_metrics()
    results, _ = run(lambda x: x.flatten(1)[:, :2] * torch.nan, tensors(2, 1, 4, 4), tensors(2, 4, 4), metrics)
    assert all(results["map", name].status == ["nonfinite_score"] * 2 for name in NAMES)
    results, _ = run(make_model(), tensors(0, 3, *SIZE), tensors(0, *SIZE), metrics)
    assert all(results["map", name].values.shape == (0,) for name in NAMES)


def test_directions_and_records():
    assert [metric.info.direction for metric in METRICS] == ["lower", "higher", "higher"]
    parameters = AverageGain(GREY, definition="difference").parameters
    assert parameters == {"infill": "constant", "infill_value": 0.5, "score": "probability", "definition": "difference"}


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"definition": "percent"}, ValueError, "AverageDrop: expected definition to be one of 'difference', 'relative', 'relat"),
        ({"score": "logit"}, ValueError, "AverageDrop: expected score to be one of 'probability', got 'logit'"),
        ({"infill": 0.0}, TypeError, "AverageDrop: expected infill to be an Infill, got float, which has no 'name'"),
    ],
)
def test_bad_choices_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        AverageDrop(**({"infill": GREY} | options))
