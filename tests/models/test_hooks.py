"""A captured activation is what the layer returned, and the model keeps no trace of it."""

from collections import namedtuple

import pytest
import torch
from torch import nn

from saliency_ext.models.hooks import captured, first_tensor, with_first
from tests.models.networks import hooks_of, images, resnet, vgg_like


def test_the_activation_is_not_touched_by_what_is_written_into_it_later():
    model, inputs = vgg_like(), images()
    conv = model[0][3]
    with captured("test", conv, "0.3") as capture:
        logits = model(inputs)
    plain = conv(model[0][:3](inputs)).detach()
    assert (plain < 0).any(), "without negative values the in-place rectifier would change nothing"
    assert torch.equal(capture.activation, plain)
    assert torch.equal(logits, model(inputs)), "the copy that goes on changes no number"


def test_gradients_are_those_of_autograd_for_every_target():
    model, inputs = vgg_like(), images()
    rest = nn.Sequential(*model[0][4:], *model[1:])
    leaf = model[0][:4](inputs).detach().requires_grad_()
    expected = [torch.autograd.grad(rest(leaf.clone())[:, t].sum(), leaf)[0] for t in range(5)]
    with captured("test", model[0][3], "0.3", differentiable=True) as capture:
        logits = model(inputs)
        result = list(capture.gradients(logits))
    assert len(result) == 5
    for one, other in zip(result, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_frozen_parameters_and_a_frozen_trunk_do_not_matter():
    model, inputs = vgg_like(), images()
    with captured("test", model[0][3], "0.3", differentiable=True) as capture:
        expected = next(capture.gradients(model(inputs)))
    model.requires_grad_(False)
    with captured("test", model[0][3], "0.3", differentiable=True) as capture:
        assert torch.equal(next(capture.gradients(model(inputs))), expected)

    def trunk_without_gradients(x):
        with torch.no_grad():
            x = model[0][:4](x)
        return model[1:](model[0][4:](x))

    with captured("test", model[0][3], "0.3", differentiable=True) as capture:
        assert torch.equal(next(capture.gradients(trunk_without_gradients(inputs))), expected)


def test_a_reused_module_is_captured_at_the_call_asked_for():
    model, inputs = resnet(), images()
    block = model.blocks[0]
    start = model.stem(inputs)
    first = block.relu(block.conv1(start))
    last = block(start)
    for call, expected in ((0, first), (1, last), (None, last)):
        with captured("test", block.relu, "relu", call=call, differentiable=True) as capture:
            logits = model(inputs)
            gradient = next(capture.gradients(logits))
        assert capture.calls == 2
        torch.testing.assert_close(capture.activation.detach(), expected.detach())
        # The partial derivative of the first call runs through the second.
        assert gradient.shape == expected.shape and gradient.abs().sum() > 0
    with captured("test", block.relu, "relu", call=2) as capture:
        model(inputs)
    with pytest.raises(RuntimeError, match="test: layer 'relu' ran 2 times, and call 2 was asked"):
        _ = capture.activation


def test_no_hook_is_left_also_after_an_exception_and_others_stay():
    model, inputs = vgg_like(), images()
    seen = []
    model[0][3].register_forward_hook(lambda *_: seen.append(1))
    before = hooks_of(model)
    with captured("test", model[0][3], "0.3") as capture:
        assert hooks_of(model) == before + 1
        model(inputs)
    assert hooks_of(model) == before and seen == [1]
    with pytest.raises(KeyError), captured("test", model[0][3], "0.3"):
        raise KeyError
    with pytest.raises(RuntimeError), captured("test", model[0][3], "0.3"):
        model(inputs[:, :2])
    assert hooks_of(model) == before
    kept = capture.activation.clone()
    model(inputs + 1)
    assert torch.equal(capture.activation, kept), "after the block nothing is captured any more"


def test_the_callers_own_hook_comes_first():
    model, inputs = vgg_like(), images()
    model[0][3].register_forward_hook(lambda _module, _inputs, output: output * 2)
    with captured("test", model[0][3], "0.3") as capture:
        model(inputs)
    torch.testing.assert_close(capture.activation, model[0][3](model[0][:3](inputs)).detach())  # runs the hook as well
    assert not torch.allclose(capture.activation, nn.functional.conv2d(model[0][:3](inputs), model[0][3].weight, padding=1))


def test_tuples_keep_their_type_and_their_other_items():
    pair = namedtuple("pair", "hidden extra")
    a, b = torch.zeros(1), torch.ones(1)
    assert with_first(pair(a, "x"), b) == pair(b, "x") and type(with_first(pair(a, "x"), b)) is pair
    assert with_first((a, 3), b) == (b, 3) and with_first([a], b) == [b] and with_first(a, b) is b
    assert first_tensor((a, 3)) is a and first_tensor(("x", a)) is None and first_tensor({"a": a}) is None

    class Layer(nn.Module):
        def forward(self, x):
            return x * 2, "extra"

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = Layer()

        def forward(self, x):
            y, extra = self.layer(x)
            return y.flatten(1) if extra == "extra" else None

    model = Net()
    with captured("test", model.layer, "layer") as capture:
        model(images())
    assert torch.equal(capture.activation, images() * 2)


def test_layers_that_cannot_be_captured_are_named():
    model, inputs = vgg_like(), images()
    with captured("test", nn.Conv2d(3, 3, 1), "spare") as capture:
        model(inputs)
    with pytest.raises(RuntimeError, match="test: layer 'spare' did not run in the forward; layers whose .forward is called"):
        _ = capture.activation
    with captured("test", model[0][0], "conv") as capture:
        model[0][0].forward(inputs)  # past the hooks
    with pytest.raises(RuntimeError, match="layer 'conv' did not run"):
        _ = capture.activation

    class Mapping(nn.Module):
        def forward(self, x):
            return {"x": x}

    mapping = Mapping()
    with (
        pytest.raises(TypeError, match="test: expected layer 'm' to return a tensor, or a tuple that begins with one, got dict"),
        captured("test", mapping, "m"),
    ):
        mapping(inputs)
    assert hooks_of(mapping) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype):
    layer = nn.Identity()
    message = f"test: expected the activation of layer 'i' of dtype float32 or float64, got {str(dtype)[6:]}; run the model in"
    with pytest.raises(TypeError, match=message), captured("test", layer, "i"):
        layer(images().to(dtype))


def test_scores_that_do_not_depend_on_the_layer_are_refused():
    model, inputs = vgg_like(), images()
    message = "test: the logits do not depend differentiably on layer 'conv'; choose a layer on the way"
    with captured("test", model[0][0], "conv", differentiable=True) as capture:
        logits = model(inputs)
        with pytest.raises(RuntimeError, match=message):
            next(capture.gradients(logits.detach()))
        other = model(inputs) * 0 + inputs.sum()
    with captured("test", model[0][0], "conv", differentiable=True) as capture:
        model[0][0](inputs)
        with pytest.raises(RuntimeError, match=message):  # its graph has parameters, but not this layer
            next(capture.gradients(model[2][1](torch.ones(1, 96))))
    assert other.requires_grad
