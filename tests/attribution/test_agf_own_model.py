"""AGF reads a model by a trace of its own: it must explain what the model computes, or refuse."""

import copy
import pickle
import threading

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from saliency_ext.attribution import AGF


def net(seed=0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)).eval()


def images(count=2):
    return torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def peak(values):
    return float(values.abs().max())


@pytest.mark.parametrize("place", ["model", "layer", "inner"])
@pytest.mark.parametrize("kind", ["forward", "pre"])
def test_hooks_that_change_the_outputs_are_refused_by_name(place, kind):
    model = net()
    module = {"model": model, "layer": model[2], "inner": model[6]}[place]
    if kind == "forward":
        module.register_forward_hook(lambda module, args, output: output * 3 + 1)
    else:
        module.register_forward_pre_hook(lambda module, args: (args[0] * 3 + 1,))
    name = {"model": "the model", "layer": "2", "inner": "6"}[place]
    method = AGF(model)
    for target in (0, "predicted"):
        with pytest.raises(
            ValueError, match=f"AGF: expected model to compute what its traced layers do, .*hooks on '{name}'.*; fold"
        ):
            method(images(), target)
    with pytest.raises(ValueError, match="traced layers"):
        method.from_features(images(), images().flip(0))


def test_hooks_that_only_look_are_run_and_change_nothing():
    model, seen = net(), []
    right = AGF(model)(images(), 1)
    model[2].register_forward_hook(lambda module, args, output: seen.append(output.shape))
    assert torch.equal(AGF(model)(images(), 1), right) and len(seen) == 1


def test_a_hook_that_comes_after_the_method_was_made_is_seen():
    model = net()
    method = AGF(model)
    handle = model[0].register_forward_hook(lambda module, args, output: output * 2)
    with pytest.raises(ValueError, match="hooks on '0'"):
        method(images(), 0)
    handle.remove()
    assert method(images(), 0).isfinite().all()


def test_layers_that_are_replaced_are_refused():
    model = net()
    method = AGF(model)
    model[2] = nn.Sequential(nn.Conv2d(6, 6, 1), nn.ReLU())
    with pytest.raises((ValueError, AttributeError)):
        method(images(), 0)


RECOMPUTED = {
    "prune": lambda layer: prune.l1_unstructured(layer, "weight", 0.4),
    "weight_norm": lambda layer: weight_norm(layer),
    "spectral_norm": lambda layer: spectral_norm(layer),
    "parametrized": lambda layer: parametrizations.weight_norm(layer),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", RECOMPUTED)
def test_recomputed_weights_are_those_of_now(kind):
    model = net()
    for module in model:
        if isinstance(module, nn.Conv2d | nn.Linear):
            RECOMPUTED[kind](module)
    model.eval()
    method = AGF(model)
    method(images(), 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5).add_(0.05)  # what is kept on the layers is stale until the next forward
    plain = net()
    model(images())
    for own, layer in zip(plain, model, strict=True):
        if isinstance(own, nn.Conv2d | nn.Linear):
            own.load_state_dict({"weight": layer.weight, "bias": layer.bias})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(0.05).div_(1.5).mul_(1.5).add_(0.05)
    result, right = method(images(), 0), AGF(plain)(images(), 0)
    assert torch.allclose(result, right, atol=1e-3 * peak(right))
    assert not parametrize.is_parametrized(plain)


@pytest.mark.parametrize("copied", [lambda each: pickle.loads(pickle.dumps(each)), copy.deepcopy])
def test_a_copy_reads_its_own_model(copied):
    model = net()
    method = AGF(model, no_m=True, max_batch=3)
    again = copied(method)
    assert (
        torch.equal(again(images(), 0), method(images(), 0))
        and again.max_batch == 3
        and again.convolutions == method.convolutions
    )
    with torch.no_grad():
        again.model[6].weight.neg_()
    assert not torch.equal(again(images(), 0), method(images(), 0))


def test_compiled_models_are_read_as_they_were_written():
    model = net()
    right = AGF(model)(images(), 2)
    result = AGF(torch.compile(model, backend="eager"))(images(), 2)
    assert torch.allclose(result, right, atol=1e-4 * peak(right))


def test_other_threads_run_modules_while_one_is_traced():
    model, shown, errors = net(), images(), []
    right, stop = model(shown), threading.Event()

    def run():
        while not stop.is_set():
            try:
                if not torch.equal(model(shown), right):
                    errors.append("other outputs")
            except Exception as error:
                errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    makers = [threading.Thread(target=lambda: [AGF(model) for _ in range(15)]) for _ in range(3)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    stop.set()
    thread.join()
    assert not errors, errors[0]
    assert nn.Module.__call__.__name__ == "_wrapped_call_impl", "torch.fx has put everything back"


def test_labelless_maps_of_images_with_nan():
    method, inputs = AGF(net()), images(3)
    right = method.from_features(inputs, inputs.flip(1))
    inputs[1, 0, 0, 0] = torch.nan
    result = method.from_features(inputs, images(3).flip(1))
    assert result[1].isnan().all() and torch.equal(result[[0, 2]], right[[0, 2]])
