"""Gradients: closed forms on linear models, several targets, and a model left as it was."""

from functools import partial

import pytest
import torch

from saliency_ext.attribution import Gradient, InputXGradient
from saliency_ext.attribution.base import reduce_channels
from tests.helpers import tensors as random_tensor

tensors = partial(random_tensor, low=-0.4)


def make_model():
    torch.manual_seed(0)
    layers = [torch.nn.ReLU(inplace=True), torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(inplace=True)]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(4 * 6 * 4, 5)).eval()


def test_linear_model_is_its_weights_and_its_terms():
    torch.manual_seed(0)
    linear, images = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(24, 3, bias=False)), tensors(2, 2, 3, 4)
    weights = linear[1].weight.detach().view(3, 2, 3, 4)
    target = torch.tensor([2, 0])
    assert torch.equal(Gradient(linear, channels="sum")(images, target), weights[target].sum(1))
    assert torch.equal(Gradient(linear, channels="max_abs")(images, target), weights[target].abs().amax(1))
    terms = InputXGradient(linear)(images, target)
    torch.testing.assert_close(terms.sum((1, 2)), linear(images).gather(1, target[:, None])[:, 0].detach())


def test_several_targets_are_the_single_ones():
    model, images = make_model(), tensors(5, 3, 8, 6)
    classes = torch.tensor([[0, 4], [1, 1], [2, 3], [3, 0], [4, 2]])
    for method in (Gradient(model, max_batch=2), InputXGradient(model, score="probability", max_batch=3)):
        both = method(images, classes)
        assert both.shape == (5, 2, 8, 6)
        for t in range(2):
            torch.testing.assert_close(both[:, t], method(images, classes[:, t]), rtol=1e-5, atol=1e-7)
    with torch.no_grad():
        best = model(images).topk(3, 1).indices
    assert torch.equal(Gradient(model)(images, "top-3"), Gradient(model)(images, best))
    assert torch.equal(Gradient(model)(images, "predicted"), Gradient(model)(images, best[:, 0]))


def test_scores_differ_by_the_softmax_rule():
    model, images = make_model(), tensors(2, 3, 8, 6)
    probability = model(images).softmax(1)[:, 1].detach()
    log, plain = (Gradient(model, score=score)(images, 1) for score in ("log_probability", "probability"))
    torch.testing.assert_close(plain, log * probability[:, None, None])


def test_works_inside_no_grad_and_inference_mode():
    model, images = make_model(), tensors(2, 3, 8, 6)
    expected = Gradient(model)(images, 1)
    with torch.no_grad():
        assert torch.equal(Gradient(model)(images, 1), expected)
    with torch.inference_mode():
        assert torch.equal(Gradient(model)(images.clone(), 1), expected)


def test_the_model_and_the_images_are_left_as_they_were():
    model, images = make_model().train(), tensors(2, 3, 8, 6)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    before, kept = {name: value.clone() for name, value in model.state_dict().items()}, images.clone()
    with pytest.warns(RuntimeWarning, match="training mode"):
        Gradient(model)(images, 1)
    with (
        pytest.warns(RuntimeWarning, match="training mode"),
        pytest.raises(ValueError, match=r"target in \[0, 5\), got 7 at index"),
    ):
        Gradient(model)(images, 7)
    assert model.training and torch.equal(images, kept) and not images.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.parameters())


def test_empty_batch_and_bad_arguments():
    model = make_model()
    assert Gradient(model)(torch.zeros(0, 3, 8, 6), 1).shape == (0, 8, 6)
    assert Gradient(model)(torch.zeros(0, 3, 8, 6), torch.zeros(0, 2, dtype=torch.int64)).shape == (0, 2, 8, 6)
    with pytest.raises(TypeError, match="Gradient: expected inputs of dtype float32 or float64, got uint8"):
        Gradient(model)(torch.zeros(1, 3, 8, 6, dtype=torch.uint8), 1)
    with pytest.raises(ValueError, match="Gradient: expected target >= 0, got -1"):
        Gradient(model)(torch.zeros(1, 3, 8, 6), -1)
    with pytest.raises(ValueError, match="Gradient: expected channels to be one of 'sum'"):
        Gradient(model, channels="mean")
    with pytest.raises(TypeError, match="Gradient: expected model to be callable, got int"):
        Gradient(3)
    with pytest.raises(RuntimeError, match="Gradient: the logits do not depend differentiably"):
        Gradient(lambda x: x.detach().flatten(1))(torch.zeros(1, 3, 8, 6), 1)


def test_channel_reductions():
    values = torch.tensor([[[[1.0]], [[-3.0]], [[1.5]]]])
    expected = {"sum": -0.5, "abs_sum": 5.5, "max": 1.5, "max_abs": 3.0}
    assert {name: reduce_channels("test", values, name).item() for name in expected} == expected


def test_defaults_are_as_published_and_a_variant_says_that_it_is_one():
    """Simonyan takes the largest absolute channel; a signed sum is not theirs, and a report must not say so."""
    model, images = make_model(), tensors(2, 3, 8, 6)
    assert torch.equal(Gradient(model)(images, 1), Gradient(model, channels="max_abs")(images, 1))
    plain, signed = Gradient(model), Gradient(model, channels="sum")
    assert (plain.info.reference, plain.info.signed) == ("Simonyan 2014", False) and bool((plain(images, 1) >= 0).all())
    assert signed.info.signed and signed.info.reference == "variant of Simonyan 2014: channels sum, published max_abs"
    assert Gradient(model).info is Gradient.info, "the class is not changed"
    assert InputXGradient(model).channels == "sum" and not InputXGradient(model, channels="abs_sum").info.signed
