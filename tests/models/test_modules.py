"""Modules behind a forward, however it is wrapped; and modes that are given back."""

import copy
import functools
import threading
import warnings

import pytest
import torch
from torch import nn

from saliency_ext import evaluate
from saliency_ext.infill import Constant
from saliency_ext.metrics import Deletion
from saliency_ext.models import evaluation_mode
from saliency_ext.models._batch_dependence import measure_drift
from saliency_ext.models._modules import modules_behind, plain_module
from saliency_ext.models.eval_mode import weights_replaced
from saliency_ext.models.logits import logits_of, model_logits

NETS = {}


class Holder:
    """An object that keeps its net in a list, and calls it."""

    def __init__(self, net):
        self.nets = [net]

    def __call__(self, inputs):
        return self.nets[0](inputs)

    def answer(self, inputs):
        return self(inputs)


class Hidden(nn.Module):
    """A module that keeps another where .modules() does not look."""

    def __init__(self, net):
        super().__init__()
        self.others = [net]

    def forward(self, inputs):
        return self.others[0](inputs)


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)).train()


def by_default(inputs, model=None):
    return model(inputs)


def of_a_global(inputs):
    return NETS["net"](inputs)


def wrappings(model):
    NETS["net"] = model
    yield "forward", model.forward
    yield "partial", functools.partial(model)
    yield "partial of forward", functools.partial(model.forward)
    yield "partial argument", functools.partial(by_default, model=model)
    yield "lambda", lambda inputs: model(inputs)
    yield "object", Holder(model)
    yield "method of an object", Holder(model).answer
    yield "decorated", decorated(lambda inputs: model(inputs))
    yield "hidden", Hidden(model).eval()
    yield "global", of_a_global
    yield "cached", functools.lru_cache(lambda inputs: model(inputs))
    yield "compiled", torch.compile(model, backend="eager")
    yield "compiled forward", torch.compile(model.forward, backend="eager")


@pytest.mark.parametrize("place", range(13))
def test_training_modules_are_found_behind_every_wrapping(place):
    model, inputs = net(), torch.rand(4, 1, 4, 4)
    name, forward = list(wrappings(model))[place]
    state = copy.deepcopy(model.state_dict())
    assert model in modules_behind(forward), name
    with pytest.warns(RuntimeWarning, match="training mode"), evaluation_mode(forward):
        together = model_logits(forward, inputs)
        alone = model_logits(forward, inputs[:1])
    torch.testing.assert_close(together[:1], alone)
    assert all(module.training for module in model.modules()), name
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items()), name


def test_what_is_seen_nowhere_is_watched_as_it_runs():
    model, inputs = net(), torch.rand(4, 1, 4, 4)
    kept = model.state_dict()["1.running_mean"].clone()
    places = {"net": id(model)}

    def forward(inputs):
        import gc

        return next(each for each in gc.get_objects() if id(each) == places["net"])(inputs)

    assert modules_behind(forward) == []
    with pytest.warns(RuntimeWarning, match="training mode"), evaluation_mode(forward):
        together, alone = forward(inputs), forward(inputs[:1])
    torch.testing.assert_close(together[:1], alone)
    assert torch.equal(model.state_dict()["1.running_mean"], kept) and all(module.training for module in model.modules())


def test_plain_modules_are_seen_through_but_not_what_does_more():
    model = net()
    compiled = torch.compile(model, backend="eager")
    for forward in (model, compiled, model.forward, functools.partial(model), functools.partial(model.forward, x=1)):
        assert plain_module(forward) is model
    for forward in (lambda inputs: model(inputs), Holder(model), Holder(model).answer, None, len):
        assert plain_module(forward) is None
    compiled.register_forward_hook(lambda module, args, output: output * 2)
    assert plain_module(compiled) is compiled, "its hook would be skipped"


def test_a_search_in_a_large_object_ends():
    chain = None
    for _ in range(20000):
        chain = [chain]
    assert modules_behind(functools.partial(print, chain)) == []


def test_modes_that_the_forward_sets_are_given_back():
    class Sets(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = nn.Dropout()

        def forward(self, inputs):
            self.part.train()
            self.train()
            return inputs

    model = Sets().eval()
    with evaluation_mode(model):
        model(torch.rand(1))
    assert not model.training and not model.part.training


def test_a_buffer_that_the_forward_writes_is_said():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, inputs):
            self.seen += 1
            return inputs

    model = Counts().eval()
    with pytest.warns(RuntimeWarning, match=r"writes into its buffer\(s\) Counts.seen in eval mode"), evaluation_mode(model):
        model(torch.rand(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with evaluation_mode(net().eval()):
            pass


def test_the_last_of_several_threads_gives_the_mode_back():
    model, inside, leave = net(), threading.Event(), threading.Event()

    def other():
        with evaluation_mode(model, warn=False):
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait()
    with evaluation_mode(model, warn=False):
        pass
    assert not any(module.training for module in model.modules()), "the other thread still runs it"
    leave.set()
    thread.join()
    assert all(module.training for module in model.modules())


def test_replaced_weights_are_seen_by_no_other_thread():
    model, inside, leave, seen = net().eval(), threading.Event(), threading.Event(), []

    def other():
        with evaluation_mode(model):
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait()
    with (
        pytest.raises(RuntimeError, match="test: expected the model to be free.*; give each thread a copy"),
        weights_replaced("test", model),
    ):
        pass
    leave.set()
    thread.join()

    def late():
        with evaluation_mode(model):
            seen.append(float(model[3].bias[0]))

    own = float(model[3].bias[0])
    thread = threading.Thread(target=late)
    with weights_replaced("test", model), evaluation_mode(model), torch.no_grad():
        thread.start()
        model[3].bias += 100
        thread.join(0.05)
        model[3].bias -= 100
    thread.join()
    assert seen == [pytest.approx(own, abs=1e-4)]


def test_logits_of_a_wrong_kind_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"of shape \(N, K\) with N = 2, got \(2,\); return one output as \(N, 1\)"):
        logits_of(torch.zeros(2), 2)
    with pytest.raises(ValueError, match=r"got \(5,\); add the batch dimension"):
        logits_of(torch.zeros(5), 1)
    with pytest.raises(TypeError, match="its logits of a floating dtype, got int64; return scores, not classes"):
        logits_of(torch.zeros(2, 3, dtype=torch.int64), 2)
    with pytest.raises(ValueError, match=r"got \(2, 0\)"):
        logits_of(torch.zeros(2, 0), 2)


def test_a_model_whose_outputs_change_in_number_is_refused():
    outputs = iter([7] * 3 + [2] * 100)

    def forward(inputs):
        return torch.zeros(len(inputs), next(outputs))

    with pytest.raises(ValueError, match="its logits to be as many as before, K = 7, got K = 2; a model must return as many"):
        evaluate(forward, torch.rand(2, 1, 4, 4), 0, torch.rand(2, 4, 4), [Deletion(Constant(0.0))])
    outputs = iter([7, 2, 2])
    with pytest.raises(ValueError, match="K = 7, got K = 2"):
        measure_drift(forward, torch.rand(2, 1, 4, 4))


def test_a_dtype_that_does_not_fit_is_said_in_words():
    half = net().eval().bfloat16()
    with pytest.raises(
        TypeError, match="forward: expected inputs of the dtype of the model's parameters, got float32; convert one"
    ):
        model_logits(lambda inputs: half(inputs), torch.rand(1, 1, 4, 4))
    assert model_logits(half, torch.rand(1, 1, 4, 4)).dtype == torch.float32
