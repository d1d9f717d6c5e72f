"""Foreign methods: shapes and targets, what comes back is checked, what was there before is there afterwards."""

from __future__ import annotations

import functools
import random

import numpy
import pytest
import torch

from saliency_ext.attribution.adapters import as_method
from saliency_ext.attribution.base import Method
from saliency_ext.attribution.gradient import Gradient, InputXGradient
from saliency_ext.attribution.integrated_gradients import IntegratedGradients
from saliency_ext.infill import Constant
from tests.attribution.gradient_nets import left_as_it_was, make_images, relu_net, smooth_net

CLASSES = torch.tensor([[0, 4], [1, 1], [2, 3], [3, 0]])


class Slopes:
    """Captum's style: a model behind forward_func, and attribute(inputs, target)."""

    def __init__(self, model):
        self.forward_func = model
        self.requested = []

    def attribute(self, inputs, target=None):
        self.requested.append((inputs.requires_grad, tuple(inputs.shape), target.tolist()))
        scores = self.forward_func(inputs.clone()).gather(1, target[:, None])
        return torch.autograd.grad(scores.sum(), inputs)[0]


def slopes(model, inputs, classes):
    images = inputs.requires_grad_()
    model(images.clone()).gather(1, classes[:, None]).sum().backward()  # adds to every .grad
    return images.grad


# ---- shapes and targets


def test_an_object_with_attribute_in_the_common_call_shape():
    model, images = relu_net(), make_images()
    thing = Slopes(model)
    method = as_method(thing, channels="sum")
    assert isinstance(method, Method) and method.info.name == "Slopes" and method.info.family == "foreign"
    assert torch.equal(method(images, CLASSES[:, 1]), Gradient(model, channels="sum")(images, CLASSES[:, 1]))
    assert thing.requested == [(True, (4, 3, 8, 6), [4, 1, 3, 0])]
    assert torch.equal(method(images, CLASSES), Gradient(model, channels="sum")(images, CLASSES))
    assert torch.equal(method(images, "top-2"), Gradient(model, channels="sum")(images, "top-2"))  # its own model is asked
    assert torch.equal(method(images, "predicted"), Gradient(model, channels="sum")(images, "predicted"))
    assert method(images[:0], CLASSES[:0]).shape == (0, 2, 8, 6)


def test_a_function_in_the_common_call_shape():
    images, seen = make_images(5), []

    def terms(inputs, classes):
        seen.append((inputs.requires_grad, len(inputs), classes.tolist()))
        return inputs * (1 + classes).view(-1, 1, 1, 1)

    method = as_method(terms, channels="max", max_batch=3)
    classes = torch.tensor([[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]])
    expected = (images[:, None] * (1 + classes).view(5, 2, 1, 1, 1)).amax(2)
    assert torch.equal(method(images, classes), expected)
    assert seen == [(False, 3, [0, 2, 4]), (False, 3, [1, 3, 5]), (False, 2, [6, 8]), (False, 2, [7, 9])]
    assert method.info.name == "terms" and as_method(terms, name="mine").info.name == "mine"
    assert as_method(functools.partial(terms)).info.name == "partial"


def test_channels_are_reduced_where_there_are_some():
    images, grey = make_images(), make_images(shape=(1, 8, 6))
    plain = as_method(lambda x, c: x[:, 0])
    assert torch.equal(plain(images, 0), images[:, 0])
    assert torch.equal(as_method(lambda x, c: x[:, 0], channels="max_abs")(images, 0), images[:, 0])
    assert torch.equal(as_method(lambda x, c: x[:, :1])(images, 0), images[:, 0])
    assert torch.equal(as_method(lambda x, c: x)(grey, 0), grey[:, 0])
    assert torch.equal(as_method(lambda x, c: x, channels="abs_sum")(grey, 0), grey[:, 0].abs())
    for channels, expected in (("sum", images.sum(1)), ("abs_sum", images.abs().sum(1)), ("max_abs", images.abs().amax(1))):
        method = as_method(lambda x, c: x, channels=channels)
        assert torch.equal(method(images, 0), expected) and method.info.signed == (channels == "sum")


def test_maps_get_the_dtype_of_the_inputs():
    images = make_images(dtype=torch.float64)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        saliency = as_method(lambda x, c, dtype=dtype: x[:, 0].to(dtype))(images, 0)
        assert saliency.dtype == torch.float64 and torch.equal(saliency, images[:, 0].to(dtype).double())


def test_methods_are_left_alone():
    method = Gradient(smooth_net())
    assert as_method(method) is method
    for option in ({"name": "x"}, {"channels": "sum"}, {"model": smooth_net()}):
        with pytest.raises(ValueError, match="as_method: expected name, channels and model not to be given with a Method"):
            as_method(method, **option)


def test_named_targets_need_a_model():
    images, model = make_images(), smooth_net()

    def thing(inputs, classes):
        return inputs[:, 0] * classes.view(-1, 1, 1)

    with pytest.raises(ValueError, match=r"mine: expected target to be class indices, got a named target; .*as_method\(.*model="):
        as_method(thing, name="mine")(images, "predicted")
    with torch.no_grad():
        best = model(images).topk(2, 1).indices
    assert torch.equal(as_method(thing, model=model)(images, "top-2"), images[:, None, 0] * best[..., None, None])

    class Explainer:
        def __init__(self, model):
            self.model = model

        def explain(self, inputs, classes):
            return thing(inputs, classes)

    assert torch.equal(as_method(Explainer(model).explain)(images, "predicted"), images[:, 0] * best[:, :1, None])


# ---- manners


@pytest.mark.parametrize("reach", ["forward_func", "bound", "partial", "given"])
def test_a_reached_module_is_left_as_it_was(reach):
    model, images = relu_net(), make_images()
    model[3].train()
    parameters = list(model.parameters())
    parameters[0].grad = torch.ones_like(parameters[0])
    parameters[1].requires_grad_(False)

    def careless(inputs, classes):
        assert not any(part.training for part in model.modules()) and all(each.grad is None for each in parameters)
        model.requires_grad_(True)
        maps = slopes(model, inputs, classes)
        assert all(each.grad is not None for each in parameters)
        model.requires_grad_(False)
        for part in model.modules():
            part.training = not part.training
        torch.manual_seed(1)
        random.seed(1)
        numpy.random.seed(1)
        if classes[0] == 3:
            raise KeyError("theirs")
        return maps

    class Behind:
        forward_func = {"forward_func": model, "bound": model.forward, "partial": functools.partial(model.forward)}.get(reach)

        def attribute(self, inputs, target):
            return careless(inputs.detach(), target)

    method = as_method(careless, channels="sum", model=model) if reach == "given" else as_method(Behind(), channels="sum")
    others = random.getstate(), numpy.random.get_state()[1].tolist()
    with left_as_it_was(model, images), pytest.warns(RuntimeWarning, match="training mode"):
        saliency = method(images, CLASSES)
    with (
        left_as_it_was(model, images),
        pytest.raises(KeyError, match="theirs"),
        pytest.warns(RuntimeWarning, match="training mode"),
    ):
        method(images, 3)
    assert (random.getstate(), numpy.random.get_state()[1].tolist()) == others
    assert parameters[0].grad.sum() == parameters[0].numel()
    assert torch.equal(saliency, Gradient(relu_net(), channels="sum")(images, CLASSES))


def test_inputs_are_copies_and_surroundings_do_not_matter():
    model, images = relu_net(), make_images()

    def greedy(inputs, classes):
        maps = slopes(model, inputs, classes).clone()
        with torch.no_grad():
            inputs.zero_()
            classes.zero_()
        return maps

    method, before, classes = as_method(greedy, channels="sum", model=model), images.clone(), CLASSES.clone()
    expected = method(images, classes)
    assert torch.equal(images, before) and torch.equal(classes, CLASSES) and not images.requires_grad
    assert torch.equal(expected, Gradient(model, channels="sum")(images, classes))
    with torch.no_grad():
        assert torch.equal(method(images, classes), expected)
    with torch.inference_mode():
        assert torch.equal(method(images.clone(), classes.clone()), expected)
    wanted = images.clone().requires_grad_()
    assert torch.equal(method(wanted, classes), expected) and wanted.requires_grad and wanted.grad is None
    kept = as_method(lambda inputs, classes: images[:, 0])(images, 0)  # a map that is somebody's memory
    kept += 1
    assert torch.equal(images, before)


def test_a_method_that_draws_leaves_the_generator_alone():
    method, images = as_method(lambda x, c: torch.rand(x.shape)[:, 0]), make_images()
    state = torch.get_rng_state()
    first = method(images, 0)
    assert torch.equal(method(images, 0), first) and torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert not torch.equal(method(images, 0), first)


# ---- errors


def test_what_comes_back_is_checked_by_name():
    images = make_images()

    def call(result, **options):
        return as_method(lambda x, c: result, name="mine", **options)(images, 0)

    with pytest.raises(TypeError, match="mine: expected its maps to be a torch.Tensor, got tuple"):
        call((images[:, 0],))
    with pytest.raises(TypeError, match="mine: expected its maps of a floating dtype, got bool"):
        call(images[:, 0] > 0)
    shapes = r"mine: expected its maps of shape \(N, H, W\) = \(4, 8, 6\), \(N, 1, H, W\) or \(N, C, H, W\) with C = 3, got "
    for wrong in ((4, 4, 3), (3, 8, 6), (4, 2, 8, 6), (4, 3, 6, 8), (4,), (8, 6), (4, 1, 3, 8, 6), ()):
        with pytest.raises(ValueError, match=shapes + r"\(" + ", ".join(map(str, wrong))):
            call(torch.zeros(wrong), channels="sum")
    with pytest.raises(ValueError, match=r"mine: expected its maps without channels, got 3 channels; .*channels='sum'"):
        call(images)
    with pytest.raises(ValueError, match=r"mine: expected its maps on the device of the inputs \(cpu\), got meta"):
        call(torch.zeros(4, 8, 6, device="meta"))


def test_what_goes_in_is_checked():
    with pytest.raises(TypeError, match="as_method: expected thing to be a method, got int; pass an object with .attribute"):
        as_method(3)
    with pytest.raises(TypeError, match="as_method: expected thing to be an object or a function, got the class Slopes"):
        as_method(Slopes)
    with pytest.raises(ValueError, match="as_method: expected channels to be one of 'sum'"):
        as_method(lambda x, c: x, channels="mean")
    with pytest.raises(TypeError, match="ForeignMethod: expected inputs of dtype float32 or float64, got uint8"):
        as_method(lambda x, c: x[:, 0])(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), 0)
    with pytest.raises(ValueError, match=r"ForeignMethod: expected max_batch in \[1, 2147483647\], got 0"):
        as_method(lambda x, c: x, max_batch=0)
    with pytest.raises(TypeError, match="ForeignMethod: expected model to be callable, got int"):
        as_method(lambda x, c: x, model=3)


# ---- captum


@pytest.mark.parametrize("batch", [64, 3])
def test_captum_objects_give_the_numbers_of_ours(batch, recwarn):
    captum = pytest.importorskip("captum.attr", reason="captum is not installed")
    model, images = smooth_net(), make_images()
    pairs = [
        (as_method(captum.Saliency(model), channels="abs_sum", max_batch=batch), Gradient(model, channels="abs_sum")),
        (as_method(captum.InputXGradient(model), channels="sum", max_batch=batch), InputXGradient(model)),
        (
            as_method(captum.IntegratedGradients(model), channels="sum", max_batch=batch),
            IntegratedGradients(model, Constant(0.0)),
        ),
    ]
    for theirs, ours in pairs:
        for target in (1, "predicted", CLASSES, "top-3"):
            with left_as_it_was(model, images):
                torch.testing.assert_close(theirs(images, target), ours(images, target), rtol=1e-4, atol=1e-6)
    assert [pair[0].info.name for pair in pairs] == ["Saliency", "InputXGradient", "IntegratedGradients"]
    assert not [warning for warning in recwarn if "did not already require gradients" in str(warning.message)]


def test_captum_hooks_and_noise_leave_no_trace():
    captum = pytest.importorskip("captum.attr", reason="captum is not installed")
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(96, 5)).eval()
    images, things = make_images(), [captum.NoiseTunnel(captum.Saliency(model)), captum.GuidedBackprop(model)]
    for thing in things:
        method = as_method(thing, channels="sum")
        with left_as_it_was(model, images):
            several = method(images, "top-2")
        assert several.shape == (4, 2, 8, 6) and torch.equal(several[:, 0], method(images, "predicted"))
        with left_as_it_was(model, images), pytest.raises(Exception, match="out of bounds|index"):
            method(images, 99)


class Dropping(torch.nn.Module):
    """Scores that depend on the mode, with weights that a backward reaches."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3), torch.nn.Dropout(0.5))

    def forward(self, inputs):
        return self.layers(inputs)


@pytest.mark.parametrize("known", ["evaluate", "closure"])
def test_a_plain_function_leaves_the_model_as_it_was(known):
    """It may leave the training mode on, free or freeze weights, and call backward; whoever comes next does not notice."""
    from saliency_ext.evaluation import evaluate
    from saliency_ext.infill import Constant
    from saliency_ext.metrics import Deletion

    model, images = Dropping().eval(), torch.rand(3, 1, 4, 4)
    hidden = [model]  # where nothing finds it, but evaluate knows it

    def careless(inputs, target, model=None):
        net = hidden[0] if model is None else model
        net.train()
        net(inputs.requires_grad_()).sum().backward()
        net.layers[1].weight.requires_grad_(False)
        return inputs.grad.sum(1)

    def result(maps):
        return evaluate(model, images, 0, maps, [Deletion(Constant(0.0))])["given", "deletion"].values

    if known == "closure":
        as_method(lambda inputs, target: careless(inputs, target, model))(images, torch.zeros(3, dtype=torch.int64))
    else:
        expected = result({"given": images[:, 0]})
        assert torch.equal(result({"careless": careless, "given": images[:, 0]}), expected)
    assert not any(part.training for part in model.modules())
    assert all(weights.grad is None and weights.requires_grad for weights in model.parameters())
