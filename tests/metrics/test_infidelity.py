"""Infidelity against a loop per square, its closed forms and scale, squares clipped at the border, captum."""

import pytest
import torch

from saliency_ext.infill import Constant, UniformNoise
from saliency_ext.metrics import Fidelity
from saliency_ext.metrics.infidelity import Infidelity, random_squares
from saliency_ext.perturbation import EqualFractions
from tests.helpers import tensors
from tests.metrics.perturbation_cases import GREY, check_company_changes_no_bit, linear, make_model, requested, run

SIZE = (4, 5)


def only(results, name="map"):
    return results[name, "infidelity"]


def naive(model, image, saliency, metric, target):
    """(raw, normalised) of one image: one square, one pixel at a time."""
    pairs = []
    with torch.no_grad():
        clean = float(model(image[None])[0].double()[target])
        for top, left, bottom, right in random_squares(SIZE, metric.squares, metric.sides, metric.seed).tolist():
            masked, total = image.clone(), 0.0
            for y in range(top, bottom):
                for x in range(left, right):
                    masked[:, y, x] = 0.5
                    total += float(saliency[y, x])
            pairs.append((total, clean - float(model(masked[None])[0].double()[target])))
    raw = sum((s - d) ** 2 for s, d in pairs) / len(pairs)
    best = min(sum((step / 200 * s - d) ** 2 for s, d in pairs) for step in range(1001))
    return raw, best / sum(d * d for _, d in pairs)


def test_equals_the_naive_loop():
    model, images = make_model(), tensors(3, 3, *SIZE)
    target, metric = torch.tensor([0, 3, 5]), Infidelity(GREY, score="logit", squares=15, sides=(0.2, 0.9), seed=4)
    leaf = images.clone().requires_grad_()
    gradients = torch.autograd.grad(model(leaf).gather(1, target[:, None]).sum(), leaf)[0]
    saliency = ((images - 0.5) * gradients).sum(1) * torch.tensor([1.0, 0.7, -1.0]).view(3, 1, 1)
    result = only(run(model, images, saliency, [metric], target=target)[0])
    for i in range(3):
        raw, normalised = naive(model, images[i], saliency[i], metric, int(target[i]))
        assert result.extras["raw"][i].item() == pytest.approx(raw, rel=1e-4)
        assert result.values[i].item() == pytest.approx(normalised, rel=1e-3, abs=1e-4)
    factor, any_sign = result.extras["factor"], result.extras["normalised_any_sign"]
    assert (factor[:2] > 0.2).all() and (factor[:2] < 5).all() and factor[2] < -0.2  # the search looked where it is
    assert torch.equal(any_sign[:2], result.values[:2]) and any_sign[2] < 0.9 and result.values[2] == 1


def test_true_terms_of_a_linear_model_have_none():
    images, weights = tensors(2, 3, *SIZE), tensors(1, 3, *SIZE, seed=1) - 0.3
    terms = (weights * (images - 0.5)).sum(1).double()
    maps = {"terms": terms, "twice": 2 * terms, "negated": -terms, "zero": 0 * terms, "random": tensors(2, *SIZE, seed=3)}
    results, _ = run(linear(weights), images, maps, [Infidelity(GREY, score="logit", squares=40)])
    size = only(results, "zero").extras["raw"]  # of the zero map: mean d^2
    expected = {"terms": (0, 0, 0, 1), "twice": (1, 0, 0, 0.5), "negated": (4, 1, 0, -1), "zero": (1, 1, 1, 0)}
    for name, (raw, normalised, any_sign, factor) in expected.items():
        result = only(results, name)
        torch.testing.assert_close(result.extras["raw"], raw * size, rtol=1e-5, atol=1e-9)
        for values, wanted in ((result.values, normalised), (result.extras["normalised_any_sign"], any_sign)):
            torch.testing.assert_close(values, torch.full((2,), wanted).double(), rtol=0, atol=1e-6)
        torch.testing.assert_close(result.extras["factor"], torch.full((2,), factor).double(), rtol=1e-4, atol=1e-9)
    assert ((only(results, "random").values > 0.1) & (only(results, "random").values <= 1)).all()


def test_raw_depends_on_the_scale_and_normalised_does_not():
    images, saliency = tensors(2, 3, *SIZE), tensors(2, *SIZE, seed=1).double() + 0.1
    maps = {"own": saliency, "4": 4 * saliency, "huge": 1e160 * saliency, "small": 1e-200 * saliency}
    results, _ = run(make_model(), images, maps, [Infidelity(GREY, squares=20), Infidelity(GREY, squares=20, normalised=False)])
    own = results["own", "infidelity"]
    assert torch.equal(results["4", "infidelity"].values, own.values)
    for name in ("huge", "small"):
        torch.testing.assert_close(results[name, "infidelity"].values, own.values)
    raw = results["own", "infidelity_2"]
    assert torch.equal(raw.values, own.extras["raw"]) and torch.equal(raw.extras["normalised"], own.values)
    assert (results["4", "infidelity_2"].values > 10 * raw.values).all()
    assert raw.info.direction == own.info.direction == "lower" and raw.info.unit != own.info.unit


def test_by_hand():
    # Three pixels 3, 1, 0 in a row, whole-image "squares" of one pixel: d is 3, 1 or 0; the map says 1, 1, 1.
    image, metric = torch.tensor([[[[3.0, 1.0, 0.0]]]]), Infidelity(Constant(0.0), squares=30, sides=(1, 1), score="logit")
    lefts = random_squares((1, 3), 30, (1, 1), 0)[:, 1]
    d = torch.tensor([3.0, 1.0, 0.0]).double()[lefts]
    result = only(run(linear(torch.ones(3)), image, torch.ones(1, 1, 3), [metric])[0])
    assert result.extras["raw"].item() == pytest.approx(float((1 - d).square().mean()), rel=1e-12)
    assert result.values.item() == pytest.approx(1 - float(d.mean() ** 2 / d.square().mean()), rel=1e-12)
    assert result.status == ["degenerate_map"]


@pytest.mark.parametrize("shape", [(6, 9), (1, 7), (5, 1), (1, 1)])
def test_squares_meet_the_image_and_cover_all_pixels_alike(shape):
    boxes = random_squares(shape, 16384, (0.3, 0.8), seed=2)
    top, left, bottom, right = boxes.unbind(1)
    assert (top >= 0).all() and (left >= 0).all() and (bottom <= shape[0]).all() and (right <= shape[1]).all()
    heights, widths = bottom - top, right - left
    assert (heights > 0).all() and (widths > 0).all()
    sides = {round(0.3 * min(shape)) or 1, round(0.8 * min(shape)) or 1}
    assert max(heights.max(), widths.max()) == max(sides)
    inside = [(y >= top) & (y < bottom) & (x >= left) & (x < right) for y in range(shape[0]) for x in range(shape[1])]
    coverage = torch.stack(inside).double().mean(1)
    # Side w covers a pixel with probability w^2 / ((H + w - 1) (W + w - 1)), the border too.
    chances = [w * w / ((shape[0] + w - 1) * (shape[1] + w - 1)) for w in range(min(sides), max(sides) + 1)]
    chance = sum(chances) / len(chances)
    assert (coverage - chance).abs().max() < 5 * (chance * (1 - chance) / 16384) ** 0.5 + 1e-12
    if min(shape) > 2:
        cut = (heights != widths) | (heights < min(sides))
        assert 0.1 < cut.double().mean() < 0.9  # some are clipped, some are whole


def test_squares_are_shared_by_images_and_maps():
    model, images, metric = make_model(), tensors(3, 3, *SIZE), Infidelity(GREY, squares=25)
    distinct = len({tuple(box) for box in random_squares(SIZE, 25, metric.sides, 0).tolist()})
    assert distinct < 25
    maps = {f"m{i}": tensors(3, *SIZE, seed=i) for i in range(4)}
    _, engine = run(model, images, maps, [metric])
    assert requested(engine) == 3 * (1 + distinct)
    assert not torch.equal(random_squares(SIZE, 25, metric.sides, 0), random_squares(SIZE, 25, metric.sides, 1))


def test_a_model_that_never_moves_has_no_normalised_value():
    images, saliency = tensors(2, 3, *SIZE), tensors(2, *SIZE)
    metrics = [Infidelity(GREY), Infidelity(GREY, normalised=False)]
    results, _ = run(lambda x: torch.ones(len(x), 3), images, saliency, metrics)
    assert results["map", "infidelity"].status == ["undefined"] * 2
    raw = results["map", "infidelity_2"]
    assert raw.status == ["ok"] * 2 and (raw.values > 0).all() and raw.extras["normalised"].isnan().all()
    results, _ = run(lambda x: x.flatten(1)[:, :2] * torch.nan, images, saliency, metrics)
    assert results["map", "infidelity"].status == results["map", "infidelity_2"].status == ["nonfinite_score"] * 2


def test_company_changes_no_bit():
    maps = {"a": tensors(5, *SIZE, seed=1), "b": tensors(5, *SIZE, seed=2) - 0.5}
    noise = UniformNoise(0.0, 1.0, seed=3, draws=2)
    metrics = [Infidelity(noise, squares=12), Fidelity(GREY, EqualFractions(4))]
    check_company_changes_no_bit(make_model(), tensors(5, 3, *SIZE), maps, metrics)


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 1, 1, 1), (1, 2, 1, 3)])
def test_no_images_and_tiny_ones(shape):
    model = lambda x: x.flatten(1).sum(1)[:, None].repeat(1, 2)  # noqa: E731
    metric = Infidelity(Constant(-1.0), score="logit")
    result = only(run(model, tensors(*shape), tensors(shape[0], *shape[2:], seed=1), [metric])[0])
    assert result.values.shape == shape[:1] and result.values.isfinite().all()


@pytest.mark.parametrize("normalised", [False, True])
def test_captum_agrees(normalised):
    captum = pytest.importorskip("captum.metrics")
    model, images, saliency = make_model(), tensors(2, 3, *SIZE), tensors(2, *SIZE, seed=1) - 0.5
    metric = Infidelity(GREY, score="logit", squares=10, sides=(0.3, 0.7))
    result = only(run(model, images, saliency, [metric], target=2)[0])
    gone = torch.zeros(10, *SIZE)
    for mask, (top, left, bottom, right) in zip(gone, random_squares(SIZE, 10, metric.sides, 0).tolist(), strict=True):
        mask[top:bottom, left:right] = 1

    def perturb(repeated):
        masks = gone.repeat(len(repeated) // 10, 1, 1)[:, None].expand_as(repeated)
        return masks, torch.where(masks > 0, 0.5, repeated)

    given = torch.stack([saliency, 0 * saliency, 0 * saliency], 1)  # the map once, not once per channel
    found = captum.infidelity(model, perturb, images, given, target=2, n_perturb_samples=10, normalize=normalised).double()
    if normalised:
        zero = captum.infidelity(model, perturb, images, 0 * given, target=2, n_perturb_samples=10).double()
        torch.testing.assert_close(result.extras["normalised_any_sign"], found / zero, rtol=1e-3, atol=1e-5)
    else:
        torch.testing.assert_close(result.extras["raw"], found, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"squares": 0}, ValueError, r"Infidelity: expected squares in \[1, 16384\], got 0"),
        (
            {"sides": (0.4, 0.1)},
            ValueError,
            "Infidelity: expected sides 0 < smallest <= largest <= 1, got .0.4, 0.1.; they are sh",
        ),
        ({"sides": (2, 10)}, ValueError, "Infidelity: expected sides 0 < smallest <= largest <= 1"),
        ({"sides": 3}, TypeError, "Infidelity: expected sides to be two numbers, got 3"),
        ({"sides": (None, 1)}, TypeError, "Infidelity: expected sides to be numbers, got NoneType"),
        ({"normalised": 1}, TypeError, "Infidelity: expected normalised to be a bool, got int"),
        ({"seed": 2**63}, ValueError, "Infidelity: expected seed in"),
    ],
)
def test_bad_choices_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        Infidelity(**({"infill": GREY} | options))
