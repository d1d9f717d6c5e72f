"""Every method by name: complete, named as its info, made with the choices it was given."""

import inspect

import pytest
import torch

from saliency_ext import attribution
from saliency_ext.attribution.base import MethodOptions
from saliency_ext.attribution.registry import METHODS, controls, make_methods
from saliency_ext.infill import Constant
from saliency_ext.segmentation import grid

# Bases, and what is made of other methods.
NOT_LISTED = {"Method", "Control", "MaskMethod", "SampledGradientMethod", "RandomWeights"}


def net():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(4, 3)).eval()


def choices(**options):
    reference_images = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    return MethodOptions(Constant(0.0), lambda images: grid(images, 3), reference_images, **options)


def images():
    return torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(2))


def test_names_are_those_of_the_methods():
    assert all(name == entry.info.name and entry.info.summary for name, entry in METHODS.items())
    assert [name for name in METHODS if METHODS[name].info.family == "control"] == list(controls())


def test_every_public_method_is_listed():
    public = [getattr(attribution, name) for name in attribution.__all__ if name not in NOT_LISTED]
    names = {each.info.name for each in public if inspect.isclass(each) and issubclass(each, attribution.Method)}
    assert names <= set(METHODS), names - set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_makes_a_map(name):
    if name in ("rise", "xrai"):
        pytest.skip("thousands of forwards; its own tests run it")
    inputs = images()
    saliency = make_methods([name], net(), choices())[name](inputs, torch.tensor([0, 2]))
    assert saliency.shape == (2, 12, 12) and saliency.isfinite().all()


@pytest.mark.parametrize("name", ["rise", "xrai"])
def test_the_costly_ones_are_made(name):
    assert make_methods([name], net(), choices())[name].info.name == name


def test_choices_arrive():
    model, inputs = net(), images()
    made = make_methods(["smooth_grad", "random", "integrated_gradients", "occlusion"], model, choices(seed=5, max_batch=3))
    assert made["smooth_grad"].seed == made["random"].seed == 5 and made["occlusion"].max_batch == 3
    other = make_methods(["random"], model, choices(seed=6))["random"]
    assert not torch.equal(other(inputs, 0), made["random"](inputs, 0))
    black = MethodOptions(Constant(-3.0))
    moved = make_methods(["integrated_gradients"], model, black)["integrated_gradients"]
    assert not torch.allclose(moved(inputs, 0), made["integrated_gradients"](inputs, 0)), "the infill is the baseline"


def test_every_method_that_draws_takes_fewer_draws():
    """Whatever has a number of draws among its arguments, so that a new method cannot be forgotten."""
    counted = {"rise": "masks"} | {name: "samples" for name in ("lime", "kernel_shap", "expected_gradients")}
    counted |= {name: "samples" for name in ("smooth_grad", "smooth_grad_squared", "var_grad")}
    model = net()
    usual, fewer, many = (make_methods(list(METHODS), model, choices(samples=count)) for count in (None, 3, 10**6))
    for name, method in usual.items():
        arguments = inspect.signature(type(method)).parameters
        assert {"masks", "samples"} & set(arguments) == ({counted[name]} if name in counted else set())
        if name in counted:
            own = arguments[counted[name]].default
            wanted = [own, 4 if name == "kernel_shap" else 3, own]  # Kernel SHAP draws pairs
            assert [getattr(each[name], counted[name]) for each in (usual, fewer, many)] == wanted
    redrawn = make_methods(["smooth_grad_random_weights"], model, choices(samples=3))["smooth_grad_random_weights"]
    assert redrawn.method.samples == 3


def test_random_weights_of_any_method():
    model, inputs = net(), images()
    made = make_methods(["gradient", "gradient_random_weights"], model, choices())
    assert list(made) == ["gradient", "gradient_random_weights"]
    assert made["gradient_random_weights"].info.family == "control"
    assert not torch.allclose(made["gradient"](inputs, 1), made["gradient_random_weights"](inputs, 1))


def test_what_is_refused():
    with pytest.raises(ValueError, match="make_methods: expected names to be one of .*'grad_cam', .*, got 'gradcam'"):
        make_methods(["gradcam"], net(), choices())
    with pytest.raises(ValueError, match="options.reference_images images .* for expected_gradients, got None; pass images"):
        make_methods(["expected_gradients"], net(), MethodOptions())
