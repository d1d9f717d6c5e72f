"""Metrics and methods in the call shape of Quantus: against a naive reference, and inside Quantus where it is installed."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch

from saliency_ext.attribution import Gradient
from saliency_ext.evaluation import evaluate
from saliency_ext.infill import Constant
from saliency_ext.integrations.quantus import ExplainFunc, QuantusMetric, pixel_flipping
from saliency_ext.metrics import AverageDrop, Fidelity, MaxSensitivity, PointingGame
from tests.integrations.torchmetrics_cases import GREY, Net, batch


def arrays(side=6):
    images, target, _, truth = batch()
    maps = np.random.default_rng(0).permuted(np.arange(7 * side * side, dtype=np.float32)).reshape(7, side, side)
    return images.numpy(), target.numpy(), maps, truth.numpy()


def naive_flipping(model, x, y, a, step):
    """One image, one value at a time; the most relevant channel values become the image's smallest value."""
    curves = []
    for image, label, saliency in zip(x, y, a, strict=True):
        order = np.argsort(-np.broadcast_to(saliency, image.shape).ravel(), kind="stable")
        flipped, curve = image.ravel().copy(), []
        for start in range(0, len(order), step):
            flipped[order[start : start + step]] = image.min()
            with torch.no_grad():
                curve.append(model(torch.from_numpy(flipped.reshape(image.shape)[None])).softmax(1)[0, label].item())
        curves.append(curve)
    return np.array(curves)


@pytest.mark.parametrize("step", [3, 12, 50])
def test_pixel_flipping(step):
    model, (x, y, a, _) = Net(), arrays()
    expected = naive_flipping(model, x, y, a, step)
    result = pixel_flipping(step)(model=model, x_batch=x, y_batch=y, a_batch=a, softmax=True)
    assert isinstance(result, list) and len(result[0]) == math.ceil(108 / step)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-7)
    last = pixel_flipping(step)
    last.engine = {"channels_last": True, "max_batch": 5}
    np.testing.assert_allclose(last(model=model, x_batch=x, y_batch=y, a_batch=a, softmax=True), expected, rtol=1e-5, atol=1e-7)
    areas = pixel_flipping(step, return_auc_per_sample=True)(model=model, x_batch=x, y_batch=y, a_batch=a[:, None], softmax=True)
    np.testing.assert_allclose(areas, (expected[:, 1:] + expected[:, :-1]).sum(1) / 2, rtol=1e-5)


def test_softmax_is_the_score_and_batches_change_nothing():
    model, (x, y, a, _) = Net(), arrays()
    for softmax, score in ((True, "probability"), (False, "logit"), (None, "log_probability")):
        metric = QuantusMetric(Fidelity(GREY, score="log_probability"))
        result = metric(model, x, y, a, softmax=softmax, batch_size=2)
        given = [torch.from_numpy(each) for each in (x, y, a)]
        ours = evaluate(model, *given, [Fidelity(GREY, score=score)])["map", "fidelity"]
        np.testing.assert_allclose(result, ours.values.numpy(), rtol=1e-5, atol=1e-7)
        assert metric.result is not None and metric.result.parameters["score"] == score


def test_truth_absolute_and_status():
    model, (x, y, a, truth) = Net(), arrays()
    at_truth = truth * np.arange(1, 37, dtype=np.float32).reshape(6, 6)
    metric = QuantusMetric(PointingGame(), absolute=True)
    assert metric(model, x, y, -at_truth, truth[:, None].astype(np.uint8), softmax=False) == [1.0] * 7
    assert QuantusMetric(PointingGame())(model, x, y, -at_truth - 1, truth) != [1.0] * 7
    broken = a.copy()
    broken[2, 0, 0] = np.nan
    values = QuantusMetric(metric := Fidelity(GREY))(model, x, y, broken)
    assert np.isnan(values).tolist() == [False, False, True, False, False, False, False] and metric.info.name == "fidelity"


def test_explain_func_where_maps_are_missing_or_made_again():
    model, (x, y, _, _) = Net(), arrays()
    explain = ExplainFunc(lambda model: Gradient(model, channels="abs_sum"))
    maps = explain(model=model, inputs=x, targets=y, method="ours", device="cpu")
    assert maps.shape == (7, 1, 6, 6) and maps.dtype == np.float32
    own = Gradient(model, channels="abs_sum")(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_array_equal(maps[:, 0], own.numpy())
    given = QuantusMetric(Fidelity(GREY))(model, x, y, maps)
    assert QuantusMetric(Fidelity(GREY))(model, x, y, explain_func=explain) == given
    again = QuantusMetric(MaxSensitivity(draws=2))(model, x, y, maps, explain_func=explain, explain_func_kwargs={"method": "m"})
    assert all(value > 0 for value in again)


def test_nothing_of_the_callers_is_changed():
    model, (x, y, a, _) = Net().train(), arrays()
    kept = [each.copy() for each in (x, y, a)]
    x.flags.writeable = False
    with pytest.warns(RuntimeWarning, match="training mode"):
        QuantusMetric(Fidelity(GREY))(model, x, y, a)
    assert model.training and all((one == two).all() for one, two in zip(kept, (x, y, a), strict=True))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (
            {"x_batch": np.zeros((7, 6, 6, 3), np.float32)},
            ValueError,
            r"x_batch of shape .*reads like \(N, H, W, C\)",
        ),
        ({"channel_first": False}, ValueError, "numpy.moveaxis"),
        ({"x_batch": np.zeros((7, 3, 6, 6), np.uint8)}, TypeError, "x_batch of a floating dtype, got uint8"),
        ({"x_batch": [[1.0]]}, TypeError, "x_batch to be a numpy array, got list"),
        ({"x_batch": np.zeros((3, 6, 6), np.float32)}, ValueError, r"x_batch of shape \(N, C, H, W\), got \(3, 6, 6\)"),
        ({"y_batch": np.zeros((7, 5), np.int64)}, ValueError, r"y_batch of shape \(N,\) = \(7,\), got \(7, 5\)"),
        ({"y_batch": np.zeros(7)}, TypeError, "y_batch of an integer dtype, got float64"),
        ({"a_batch": np.zeros((7, 3, 6, 6))}, ValueError, r"a_batch of shape .*got \(7, 3, 6, 6\); sum it over the channels"),
        ({"s_batch": np.zeros((7, 6))}, ValueError, "s_batch of shape"),
        ({"a_batch": None}, ValueError, "explain_func a function, got None"),
    ],
)
def test_bad_arrays_are_named(change, error, text):
    x, y, a, _ = arrays()
    call = {"model": Net(), "x_batch": x, "y_batch": y, "a_batch": a} | change
    with pytest.raises(error, match=f"QuantusMetric: expected {text}" if "moveaxis" not in text else text):
        QuantusMetric(Fidelity(GREY))(**call)


def test_bad_choices():
    x, y, a, _ = arrays()
    with pytest.raises(ValueError, match="expected curve to be one of 'mif', 'lif', 'artifact', got 'morf'"):
        QuantusMetric(Fidelity(GREY), curve="morf")(Net(), x, y, a)
    with pytest.raises(ValueError, match="AverageDrop: expected score to be one of 'probability', got 'logit'"):
        QuantusMetric(AverageDrop(GREY))(Net(), x, y, a, softmax=False)
    with pytest.raises(TypeError, match="ExplainFunc: expected make a function"):
        ExplainFunc(3)


def test_inside_quantus():
    """Its `evaluate` with our metrics and methods, its own metric on our maps, and its pixel flipping against ours."""
    quantus = pytest.importorskip("quantus", reason="quantus is not installed (it needs a torchvision that imports, or a stub)")
    model, (x, y, a, _) = Net(), arrays()
    explain = ExplainFunc(lambda model: Gradient(model, channels="abs_sum"))
    metrics = {"flipping": pixel_flipping(12), "fidelity": QuantusMetric(Fidelity(Constant(0.0)))}
    metrics["theirs"] = quantus.PixelFlipping(features_in_step=12, disable_warnings=True)
    given = {"x_batch": x, "y_batch": y, "explain_func_kwargs": {}, "call_kwargs": {"probability": {"softmax": True}}}
    results = quantus.evaluate(metrics, {"gradient": explain, "given": a[:, None]}, model, **given)
    for name in ("gradient", "given"):
        np.testing.assert_allclose(results[name]["flipping"], results[name]["theirs"], rtol=1e-5, atol=1e-6)
        assert len(results[name]["fidelity"]) == 7
    again = quantus.MaxSensitivity(nr_samples=2, disable_warnings=True)
    scores = again(model, x, y, explain(model, x, y), explain_func=explain, explain_func_kwargs={}, device="cpu", softmax=True)
    assert len(scores) == 7 and np.isfinite(scores).all()


def test_an_engine_is_kept_for_one_model_and_no_copy_has_it():
    (x, y, a, _), metric = arrays(), pixel_flipping(12)
    models = [Net(), Net().double()]
    with torch.no_grad():
        models[1].load_state_dict({name: -value for name, value in models[1].state_dict().items()})
    alone = [pixel_flipping(12)(model, x, y, a, softmax=True) for model in models]
    assert alone[0] != alone[1]
    for which in (0, 0, 1, 0):
        assert metric(models[which], x, y, a, softmax=True) == alone[which]
        assert copy.deepcopy(metric)(models[which], x, y, a, softmax=True) == alone[which]
    assert copy.copy(metric)._last is None and pickle.loads(pickle.dumps(metric))._last is None
    assert metric._last is not None and metric._last.forward is models[0]


def test_an_engine_is_kept_while_its_options_are():
    metric, y, sizes = pixel_flipping(12), np.array([0, 1]), []
    metric.engine = {"memory_budget": 2**16}
    net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    net.register_forward_pre_hook(lambda _, given: sizes.append(given[0].nbytes))
    engines = []
    for side in (4, 4, 32):
        image = np.random.default_rng(side).random((2, 3, side, side), dtype=np.float32)
        assert len(metric(net, image, y, image[:, 0], softmax=True)[0]) == side * side * 3 // 12
        engines.append(metric._last)
    assert engines[0] is engines[1] is engines[2] and max(sizes) <= 2**16
    metric.engine["max_batch"] = 5
    metric(net, image, y, image[:, 0], softmax=True)
    assert metric._last is not engines[2] and metric._last.max_batch == 5
