"""The same method on random weights: what is drawn, what is kept, whose classes are asked."""

from __future__ import annotations

import pytest
import torch

from saliency_ext.attribution.adapters import as_method
from saliency_ext.attribution.controls import RandomControl
from saliency_ext.attribution.gradient import Gradient, InputXGradient
from saliency_ext.attribution.integrated_gradients import IntegratedGradients
from saliency_ext.attribution.random_weights import RandomWeights, reinitialised_copy
from saliency_ext.infill import DatasetMean
from tests.attribution.gradient_nets import left_as_it_was, make_images, relu_net, smooth_net


def test_it_is_the_method_on_the_redrawn_copy():
    model, images, classes = relu_net(), make_images(), torch.tensor([[0, 1], [4, 4], [2, 3], [1, 0]])
    copied = reinitialised_copy(model, 3)
    for factory in (
        Gradient,
        lambda m: InputXGradient(m, channels="max"),
        lambda m: IntegratedGradients(m, DatasetMean(), steps=5),
    ):
        control = RandomWeights(factory, model, seed=3)
        assert torch.equal(control(images, classes), factory(copied)(images, classes))
        assert torch.equal(control(images, classes[:, 1]), factory(copied)(images, classes[:, 1]))
        assert not torch.allclose(control(images, classes), factory(model)(images, classes))
        assert not torch.equal(control(images, classes), RandomWeights(factory, model, seed=4)(images, classes))


def test_parameters_are_drawn_with_their_own_moments():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 40, 5), torch.nn.BatchNorm2d(40), torch.nn.Linear(50, 60)).double()
    with torch.no_grad():
        model[0].weight.mul_(7).add_(2)
        model[1].running_mean.fill_(5.0)
    copied = reinitialised_copy(model, 0)
    for old, new in ((model[0].weight, copied[0].weight), (model[2].weight, copied[2].weight)):
        deviation = old.std().item()
        assert new.mean().item() == pytest.approx(old.mean().item(), abs=4 * deviation / old.numel() ** 0.5)
        assert new.std().item() == pytest.approx(deviation, rel=4 / (2 * old.numel()) ** 0.5)
        correlation = torch.corrcoef(torch.stack([old.flatten(), new.flatten()]))[0, 1]
        assert abs(correlation) < 4 / old.numel() ** 0.5
    assert torch.equal(copied[1].weight, model[1].weight) and torch.equal(copied[1].bias, model[1].bias)  # all ones, all zeros
    assert torch.equal(copied[1].running_mean, model[1].running_mean) and torch.equal(copied[1].running_var, model[1].running_var)
    again = reinitialised_copy(model, 0)
    assert all(torch.equal(a, b) for a, b in zip(copied.parameters(), again.parameters(), strict=True))
    assert not torch.equal(copied[0].bias[:20], copied[2].bias[:20])  # parameters draw apart


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_shared_half_frozen_and_integer_parameters():
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(4, 4), "b": torch.nn.Linear(4, 4), "c": torch.nn.Linear(0, 3)})
    model["b"].weight = model["a"].weight
    model["a"].weight.grad = torch.ones(4, 4)
    model["table"] = torch.nn.ParameterDict({"ids": torch.nn.Parameter(torch.arange(3), requires_grad=False)})
    model["wide"] = torch.nn.Linear(30, 30).to(torch.bfloat16)
    copied = reinitialised_copy(model, 0)
    assert copied["b"].weight is copied["a"].weight and not torch.equal(copied["a"].weight, model["a"].weight)
    assert copied["table"]["ids"].tolist() == [0, 1, 2] and copied["wide"].weight.dtype == torch.bfloat16
    assert not any(each.requires_grad or each.grad is not None for each in copied.parameters())
    assert model["a"].weight.requires_grad and model["a"].weight.grad.sum() == 16


def test_the_answers_of_the_copy_still_depend_on_the_image():
    """Batch statistics that are kept do not silence the random channels."""
    model, images = relu_net(), make_images(16)
    model.train()
    for _ in range(50):
        model(images.clone())
    model.eval()
    for seed in range(5):
        with torch.no_grad():
            trained, random = (net(images.clone()).std(0).mean() for net in (model, reinitialised_copy(model, seed)))
        assert 0.01 < random / trained < 10
        maps = RandomWeights(Gradient, model, seed)(images, 1)
        assert (maps.flatten(1).std(1) > 0).all()


def test_named_targets_are_those_of_the_given_model():
    model, images = relu_net(), make_images(16)
    with torch.no_grad():
        own, copied = model(images.clone()).argmax(1), reinitialised_copy(model, 0)(images.clone()).argmax(1)
    assert not torch.equal(own, copied)
    control = RandomWeights(Gradient, model, seed=0)
    assert torch.equal(control(images, "predicted"), control(images, own))
    assert control(images, "top-3").shape == (16, 3, 8, 6)


def test_the_model_is_not_changed_and_not_followed():
    model, images = relu_net(), make_images()
    with left_as_it_was(model, images):
        control = RandomWeights(Gradient, model, seed=1)
        expected = control(images, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert torch.equal(control(images, 1), expected)
    model.train()
    trained = RandomWeights(Gradient, relu_net().train(), seed=1)
    assert not trained.method.model.training and torch.equal(trained(images, 1), expected)
    with torch.inference_mode():
        inside = RandomWeights(Gradient, relu_net(), seed=1)
    assert torch.equal(inside(images, 1), expected)


def test_info_and_sample_ids_pass_through():
    model, images = relu_net(), make_images(3)
    info = RandomWeights(Gradient, model).info
    assert (info.name, info.family, info.signed, info.cost) == ("gradient_random_weights", "control", False, "1 F + T B")
    ids = torch.tensor([5, 0, 9])
    passed = RandomWeights(lambda m: RandomControl(2), model)(images, 0, sample_ids=ids)
    assert torch.equal(passed, RandomControl(2)(images, 0, sample_ids=ids))
    foreign = RandomWeights(lambda m: as_method(lambda x, c: x, name="copy", channels="sum"), model)
    assert foreign.info.name == "copy_random_weights" and torch.equal(foreign(images, 1), images.sum(1))
    assert RandomWeights(lambda m: lambda x, c: x[:, 0], model)(images, 1).shape == (3, 8, 6)
    assert RandomWeights(Gradient, model)(images[:0], 1).shape == (0, 8, 6)


def test_errors():
    model = smooth_net()
    with pytest.raises(TypeError, match="RandomWeights: expected method_factory to be callable, got int"):
        RandomWeights(3, model)
    with pytest.raises(TypeError, match="RandomWeights: expected model to be a torch.nn.Module, got function; only a module has"):
        RandomWeights(Gradient, lambda x: x)
    with pytest.raises(ValueError, match=r"RandomWeights: expected seed in \[0, .*\], got -1"):
        RandomWeights(Gradient, model, -1)
    with pytest.raises(
        ValueError, match="expected method_factory to use the model that it is called with, got a method on the given"
    ):
        RandomWeights(lambda m: Gradient(model), model)
