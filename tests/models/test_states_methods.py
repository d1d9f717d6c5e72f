"""Every method, on a model in every state that it is brought in: right, or refused in words, and nothing is left changed.

The states: one output, NaN logits or images, training mode behind `forward`, autocast around the call, half weights, float64
images, several threads, hooks, an exception in the middle. What is found is held against the plain network.
"""

import contextlib
import copy
import pickle
import warnings

import pytest
import torch

from saliency_ext.attribution.registry import controls

from .states import MAPS, OF_THE_MODEL, Stops, alike, explained, hooked, images, in_threads, made, network, same, snapshot


@pytest.mark.parametrize("name", MAPS)
def test_one_output_is_refused_or_read_as_a_logit(name):
    net = network(1)
    try:
        result = explained(name, net, target=0)
    except (TypeError, ValueError) as error:
        assert any(word in str(error) for word in ("sigmoid", "two logits")), error
        return
    if name in OF_THE_MODEL and "random" not in name:
        two = network(2)
        with torch.no_grad():
            two[:7].load_state_dict(net[:7].state_dict())
            two[7].weight.copy_(torch.cat([net[7].weight, 0 * net[7].weight]))
            two[7].bias.copy_(torch.cat([net[7].bias, 0 * net[7].bias]))
        assert alike(result, explained(name, two, target=0))


@pytest.mark.parametrize("broken", ["all", "other"])
@pytest.mark.parametrize("name", OF_THE_MODEL)
def test_nan_logits_have_no_map(name, broken):
    net = network()
    with torch.no_grad():
        net[7].bias[slice(None) if broken == "all" else 0] = torch.nan
    if name in ("occlusion", "rise", "lime", "kernel_shap") and broken == "other":
        return  # the softmax makes it NaN; a logit of another class is not read by those that ask for logits
    if "random" in name:
        return  # on other weights
    try:
        result = explained(name, net)
    except (RuntimeError, ValueError, TypeError) as error:
        assert "finite" in str(error) or "NaN" in str(error), error
        return
    assert result.isnan().all()


@pytest.mark.parametrize("name", MAPS)
def test_an_image_with_nan_has_no_map_and_leaves_the_others_alone(name):
    inputs, net = images(), network()
    right = explained(name, net)
    inputs[0, 1, 3, 4] = torch.nan
    result = explained(name, net, inputs)
    assert result[0].isnan().all() and alike(result[1], right[1], 1e-5)


@pytest.mark.parametrize("name", MAPS)
def test_training_mode_behind_forward(name):
    net, plain = network(), network()
    net.train()
    net[0].eval()  # modes of its own
    modes, state = [module.training for module in net.modules()], copy.deepcopy(net.state_dict())
    for forward in (net, net.forward, lambda inputs: net(inputs)):
        try:
            result = explained(name, forward)
        except (TypeError, ValueError) as error:
            assert forward is not net and "model" in str(error), error
        else:
            assert alike(result, explained(name, plain), 1e-6)
        assert [module.training for module in net.modules()] == modes
        assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("name", MAPS)
def test_autocast_around_the_call_changes_nothing(name):
    net = network()
    right = explained(name, net)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = explained(name, net)
        assert torch.is_autocast_enabled("cpu")
    assert torch.equal(result, right)


@pytest.mark.parametrize("name", MAPS)
def test_half_weights_are_run_or_refused(name):
    net = network().to(torch.bfloat16)
    try:
        result = explained(name, net)
    except TypeError as error:
        assert "float32" in str(error), error
        return
    assert result.dtype == torch.float32 and result.isfinite().all()


@pytest.mark.parametrize("copied", [lambda each: pickle.loads(pickle.dumps(each)), copy.deepcopy], ids=["pickle", "deepcopy"])
@pytest.mark.parametrize("name", MAPS)
def test_a_copy_of_a_method_makes_the_same_map(name, copied):
    method = made(name, network())
    method(images(), 1)  # also after a call, with what it remembers
    assert torch.equal(copied(method)(images(), 1), method(images(), 1))


@pytest.mark.parametrize("name", MAPS)
def test_float64_images_are_those_of_float32(name):
    net = network()
    result, right = explained(name, net, images().double()), explained(name, net)
    assert result.dtype == torch.float64
    if name not in controls():
        assert alike(result.float(), right, 1e-4)


@pytest.mark.parametrize("name", MAPS)
def test_threads_with_methods_of_their_own_on_one_model(name):
    net = network().train()
    state = copy.deepcopy(net.state_dict())
    several = [images(1 + index) for index in range(4)]
    right = [explained(name, copy.deepcopy(net), each) for each in several]
    methods = [[made(name, net) for _ in range(3)] for _ in range(4)]
    result, errors = in_threads(lambda index: methods[index].pop()(several[index], 1))
    assert not errors, errors[0]
    assert all(alike(saliency, right[index], 1e-5) for index, saliency in result)
    assert all(module.training for module in net.modules()) and not any(module._forward_hooks for module in net.modules())
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("name", [name for name in OF_THE_MODEL if "random" not in name])
def test_hooks_on_the_model_are_part_of_it(name):
    net, whole = hooked()
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules()]
    try:
        result = explained(name, net)
    except (TypeError, ValueError) as error:
        assert "hook" in str(error), error
        return
    finally:
        assert [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules()] == hooks
    assert alike(result, explained(name, whole), 1e-4)


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("name", OF_THE_MODEL)
def test_an_exception_in_the_middle_leaves_everything_as_it_was(name, after):
    net = network().train()
    net.insert(4, Stops(10**9))
    method, before, inputs = made(name, net), snapshot(net), images()
    modules = [net] if getattr(method, "method", None) is None else [net, method.method.model]
    for module in modules:
        next(part for part in module.modules() if isinstance(part, Stops)).left = after
    given = inputs.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(KeyboardInterrupt, ValueError, RuntimeError):
            method(inputs, 1)
    assert same(snapshot(net), before) and torch.equal(inputs, given)
