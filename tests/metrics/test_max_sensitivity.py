"""Max-sensitivity against a loop, its noise, zero and constant maps, refusal of tensors, captum."""

import pytest
import torch

from saliency_ext.attribution import Gradient, InputXGradient
from saliency_ext.attribution.smooth_grad import SmoothGrad
from saliency_ext.evaluation import evaluate
from saliency_ext.infill import Constant
from saliency_ext.metrics import Deletion
from saliency_ext.metrics.context import MetricContext
from saliency_ext.metrics.max_sensitivity import MaxSensitivity
from saliency_ext.perturbation import Engine
from tests.helpers import tensors
from tests.metrics.perturbation_cases import check_company_changes_no_bit, make_model, requested, run

SIZE = (4, 5)


def only(results, name="map"):
    return results[name, "max_sensitivity"]


def squares(inputs, target):
    """A method made of the image alone, bit-equal in any batch."""
    return inputs.square().sum(1) * (1 + target[:, None, None])


def context_of(images, ids=None, explain=squares, target=0):
    sample_ids = torch.arange(len(images)) if ids is None else ids
    classes = torch.full((len(images),), target)
    return MetricContext(images, explain(images, classes), classes, sample_ids, explain=explain)


def test_equals_the_naive_loop():
    model, images, ids = make_model(), tensors(3, 3, *SIZE) * 4 - 1, torch.tensor([7, 0, 4])
    target, metric, method = torch.tensor([0, 3, 5]), MaxSensitivity(radius=0.1, draws=4, seed=5), InputXGradient(model)
    result = only(run(model, images, method, [metric], target=target, sample_ids=ids)[0])
    for i in range(3):
        image, changes = images[i : i + 1], []
        clean = method(image, target[i : i + 1])[0]
        for draw in range(4):
            noisy = metric.noisy(context_of(image, ids[i : i + 1]), draw)
            changes.append(float((method(noisy, target[i : i + 1])[0] - clean).norm() / clean.norm()))
        assert result.values[i].item() == pytest.approx(max(changes), rel=1e-5)
        assert result.extras["mean_change"][i].item() == pytest.approx(sum(changes) / 4, rel=1e-5)
        assert result.extras["norm"][i].item() == pytest.approx(float(clean.norm()), rel=1e-5)
    assert result.status == ["ok"] * 3 and result.info.direction == "lower"


def test_noise_fills_the_ball_and_is_keyed_by_the_sample():
    images = tensors(3, 3, 32, 32) * torch.tensor([1.0, 10.0, 0.1]).view(3, 1, 1, 1) + 5
    metric, case = MaxSensitivity(radius=0.1, seed=1), context_of(images, torch.tensor([4, 9, 2]))
    noise = metric.noisy(case, 0) - images
    ranges = images.amax((1, 2, 3)) - images.amin((1, 2, 3))
    shares = noise / ranges.view(3, 1, 1, 1)
    assert (shares.abs() <= 0.1 + 1e-4).all()
    # Uniform: mean 0, deviation r / sqrt(3), over 3072 values.
    assert (shares.mean((1, 2, 3)).abs() < 5 * 0.1 / 3**0.5 / 3072**0.5).all()
    torch.testing.assert_close(shares.std((1, 2, 3)), torch.full((3,), 0.1 / 3**0.5), rtol=0.05, atol=0)
    alone = metric.noisy(context_of(images[1:2], torch.tensor([9])), 0)
    assert torch.equal(alone[0], metric.noisy(case, 0)[1])
    others = (metric.noisy(case, 1), MaxSensitivity(radius=0.1, seed=2).noisy(case, 0))
    assert not any(torch.equal(other, metric.noisy(case, 0)) for other in others)
    assert torch.equal(images, tensors(3, 3, 32, 32) * torch.tensor([1.0, 10.0, 0.1]).view(3, 1, 1, 1) + 5)


def test_more_draws_and_a_wider_ball_change_more():
    model, images = make_model(), tensors(2, 3, *SIZE)
    metrics = [MaxSensitivity(draws=2), MaxSensitivity(draws=8), MaxSensitivity(draws=2, radius=0.2)]
    results, _ = run(model, images, squares, metrics)
    few, many, wide = (results["map", f"max_sensitivity{end}"].values for end in ("", "_2", "_3"))
    assert (many >= few).all() and (many > few).any() and (wide > 5 * few).all()


def test_a_map_that_ignores_the_image_has_none():
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(60, 2)).eval()
    result = only(run(linear, tensors(2, 3, *SIZE), Gradient(linear), [MaxSensitivity()])[0])
    assert result.values.tolist() == [0.0, 0.0] and result.status == ["ok"] * 2


def test_zero_maps_constant_images_and_scale():
    images = tensors(3, 1, *SIZE)
    images[1] = 0.25  # one colour: no range, no noise
    result = only(run(lambda x: x.flatten(1)[:, :2], images, squares, [MaxSensitivity()])[0])
    assert result.values[1] == 0 and (result.values[[0, 2]] > 0).all()
    assert result.status == ["ok", "degenerate_map", "ok"]
    clean = images.clone()

    def wakes_up(inputs, target):
        return (inputs != clean[: len(inputs)]).any(1).float()

    result = only(run(lambda x: x.flatten(1)[:, :2], images, wakes_up, [MaxSensitivity()])[0])
    assert result.status == ["undefined", "degenerate_map", "undefined"]
    assert result.values.isnan().tolist() == [True, False, True] and result.values[1] == 0
    methods = {str(s): lambda inputs, target, s=s: squares(inputs, target).double() * s for s in (1.0, 1e200, 1e-200)}
    results, _ = run(lambda x: x.flatten(1)[:, :2], images, methods, [MaxSensitivity()])
    for scale in ("1e+200", "1e-200"):
        torch.testing.assert_close(only(results, scale).values, only(results, "1.0").values)


def test_a_nonfinite_map_spoils_its_own_image_only():
    images, calls = tensors(3, 1, *SIZE), []

    def method(inputs, target):
        calls.append(len(inputs))
        maps = squares(inputs, target)
        if len(calls) == 3:
            maps[1, 0, 0] = torch.nan
        return maps

    result = only(run(lambda x: x.flatten(1)[:, :2], images, method, [MaxSensitivity(draws=4)])[0])
    assert result.status == ["ok", "nonfinite_score", "ok"] and result.values.isnan().tolist() == [False, True, False]
    assert calls == [3] * 5  # the map and four draws, all images at once


def test_company_changes_no_bit():
    model = make_model()
    maps = {"squares": squares, "noise": SmoothGrad(model, samples=3, seed=1, max_batch=5)}
    check_company_changes_no_bit(
        lambda x: x.flatten(1)[:, :2], tensors(5, 3, *SIZE), {"squares": squares}, [MaxSensitivity(draws=3)]
    )
    # Sample ids reach a method that draws: images in another company get the same noise.
    images, metric, order = tensors(5, 3, *SIZE), MaxSensitivity(draws=2), torch.tensor([4, 0, 1])
    whole, _ = run(model, images, maps, [metric])
    part, _ = run(model, images[order], maps, [metric], sample_ids=order)
    torch.testing.assert_close(only(part, "noise").values, only(whole, "noise").values[order], rtol=1e-4, atol=0)


def test_tensors_are_refused_before_any_work():
    model = make_model()
    engine = Engine(model, max_batch=4)
    text = (
        r"evaluate: expected maps\['map'\] to be a method, for metric 'max_sensitivity' explains other inputs too, got Tensor; "
        r"pass the method itself, a callable \(inputs, target\) -> \(N, H, W\)"
    )
    with pytest.raises(TypeError, match=text):
        metrics = [Deletion(Constant(0.5)), MaxSensitivity()]
        evaluate(model, tensors(2, 3, *SIZE), 0, tensors(2, *SIZE), metrics, engine=engine)
    assert engine.counters.forwards == 0
    case = context_of(tensors(2, 3, *SIZE))
    case.explain = None
    with pytest.raises(TypeError, match="MaxSensitivity: expected the map to be made by a method, which explains other inputs"):
        MaxSensitivity().request(case)


def test_it_asks_no_probes_and_changes_nothing():
    model, images = make_model(), tensors(2, 3, *SIZE)
    before, state = images.clone(), torch.get_rng_state()
    _, engine = run(model, images, Gradient(model), [MaxSensitivity()])
    assert requested(engine) <= 2  # the clean image at most
    assert torch.equal(images, before) and torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    result = only(run(model, images[:0], Gradient(model), [MaxSensitivity()])[0])
    assert result.values.shape == (0,)
    assert MaxSensitivity(radius=0.5).parameters == {"radius": 0.5, "draws": 10, "seed": 0}


def test_captum_agrees():
    captum = pytest.importorskip("captum.metrics")
    model, images = make_model(), tensors(2, 3, *SIZE)
    metric, method = MaxSensitivity(radius=0.1, draws=5), InputXGradient(model)
    case = context_of(images, explain=lambda inputs, target: method(inputs, target), target=2)
    noisy = torch.stack([metric.noisy(case, draw) for draw in range(5)], 1).flatten(0, 1)

    def explain(inputs):  # captum hands in a tuple or a tensor, and wants a tuple
        return (method(inputs[0] if isinstance(inputs, tuple) else inputs, 2),)

    found = captum.sensitivity_max(explain, images, lambda repeated: noisy, n_perturb_samples=5)
    result = only(run(model, images, method, [metric], target=2)[0])
    torch.testing.assert_close(result.values, found.double(), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"radius": 0}, ValueError, "MaxSensitivity: expected radius > 0, got 0; it is a share of the image's range"),
        ({"radius": float("nan")}, ValueError, "MaxSensitivity: expected radius > 0, got nan"),
        ({"radius": "0.1"}, TypeError, "MaxSensitivity: expected radius to be a number, got str"),
        ({"draws": 0}, ValueError, r"MaxSensitivity: expected draws in \[1, 65536\], got 0"),
        ({"seed": -1}, ValueError, "MaxSensitivity: expected seed in"),
    ],
)
def test_bad_choices_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        MaxSensitivity(**options)
