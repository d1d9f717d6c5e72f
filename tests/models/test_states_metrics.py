"""Every metric that asks the model, on a model in every state: right, or refused in words, and nothing is left changed.

The states are those of test_states_methods.
"""

import contextlib
import copy
import pickle
import warnings

import pytest
import torch

from saliency_ext import evaluate
from saliency_ext.metrics.registry import METRICS

from .states import ASKING, OF_THE_MODEL, Stops, alike, hooked, images, in_threads, judged, made, metric, network, same, snapshot


@pytest.mark.parametrize("name", ASKING)
def test_metrics_of_one_output_are_refused_with_the_remedy(name):
    assert_refused_or_undefined(name)
    own = metric(name, "sigmoid") if getattr(metric(name), "score", None) == "probability" else None
    if own is not None and own.score == "sigmoid":
        result = judged(name, network(1), score="sigmoid")
        assert result.values.isfinite().any() or "ok" not in result.status


def assert_refused_or_undefined(name):
    if getattr(metric(name), "score", None) is None:
        return
    with pytest.raises(ValueError, match="sigmoid|two logits|top-k"):
        net = network(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explain = made("gradient", net) if METRICS[name].info.needs == "method" else images()[:, 0]
            evaluate(net, images(), 0, {"map": explain}, [metric(name)])


@pytest.mark.parametrize("name", ASKING)
def test_nan_logits_have_no_value(name):
    net = network()
    with torch.no_grad():
        net[7].bias.fill_(torch.nan)
    try:
        result = judged(name, net)
    except (RuntimeError, ValueError) as error:
        assert "finite" in str(error) or "NaN" in str(error), error
        return
    assert result.values.isnan().all() and "ok" not in result.status


@pytest.mark.parametrize("name", ASKING)
def test_training_mode_behind_forward_of_metrics(name):
    net, right = network().train(), judged(name, network())
    state = copy.deepcopy(net.state_dict())
    try:
        result = judged(name, net.forward)
    except (TypeError, ValueError) as error:
        assert "model" in str(error) or "module" in str(error), error
    else:
        assert alike(result.values, right.values, 1e-6)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("name", ASKING)
def test_autocast_around_the_call_changes_no_value(name):
    net = network()
    right = judged(name, net)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = judged(name, net)
    assert torch.equal(result.values, right.values)


@pytest.mark.parametrize("name", ASKING)
def test_float64_images_are_judged_as_float32(name):
    net = network()
    result, right = judged(name, net, images().double()).values, judged(name, net).values
    assert result.isnan().equal(right.isnan()) and alike(result, right)


@pytest.mark.parametrize("name", ASKING)
def test_half_weights_are_judged_or_refused(name):
    right = judged(name, network())
    try:
        result = judged(name, network().to(torch.bfloat16))
    except TypeError as error:
        assert "float32" in str(error), error
        return
    known = result.values.isfinite() & right.values.isfinite()
    if METRICS[name].info.role in ("order", "pair") and known.any():
        assert (result.values - right.values)[known].abs().max() < 0.1


@pytest.mark.parametrize("name", ASKING)
def test_threads_that_judge_one_model(name):
    net = network().train()
    state = copy.deepcopy(net.state_dict())
    right = judged(name, copy.deepcopy(net)).values
    result, errors = in_threads(lambda index: judged(name, net).values)
    assert all("thread" in str(error) for error in errors), errors
    assert all(alike(values, right, 1e-5) for _, values in result)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("name", ASKING)
def test_hooks_on_the_model_are_part_of_what_is_judged(name):
    net, whole = hooked()
    result, right = judged(name, net), judged(name, whole)
    if name != "model_randomisation":  # numbers its layers by their place
        assert alike(result.values, right.values, 1e-4)


@pytest.mark.parametrize("after", [0, 1, 4])
@pytest.mark.parametrize("name", ASKING)
def test_an_exception_in_the_middle_of_a_metric_leaves_everything_as_it_was(name, after):
    net = network().train()
    net.insert(4, Stops(10**9))
    before = snapshot(net)
    net[4].left = after
    with contextlib.suppress(KeyboardInterrupt, ValueError, RuntimeError):
        judged(name, net)
    assert same(snapshot(net), before)


@pytest.mark.parametrize("name", METRICS)
def test_a_copy_of_a_metric_is_the_metric(name):
    own = metric(name)
    assert pickle.loads(pickle.dumps(own)) == own and copy.deepcopy(own) == own


def test_the_catalogues_are_walked():
    """A list that lost its names would let every test above pass."""
    assert len(OF_THE_MODEL) >= 20 and len(ASKING) >= 15
