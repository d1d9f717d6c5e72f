"""What every method of the catalogue makes of models and images with bad habits: the right result, or an error that says why."""

import warnings
from functools import cache, partial

import pytest
import torch

from saliency_ext.attribution import GradCAM
from saliency_ext.attribution.base import MethodOptions
from saliency_ext.attribution.registry import METHODS, controls, make_methods
from saliency_ext.segmentation import grid
from tests.attribution.agf_models import ByFunctions, ByModules, ResNet, images, seeded
from tests.attribution.gradient_nets import left_as_it_was

CLASSES = 7
CHOICES = MethodOptions(segmenter=partial(grid, cells=2), reference_images=images(2, 3, 32, 32, seed=1), max_batch=16)
MODEL_METHODS = tuple(name for name in METHODS if name not in controls())
CAM = tuple(name for name in MODEL_METHODS if METHODS[name].info.family == "cam")
FROM_SCORES = ("occlusion", "rise", "lime", "kernel_shap")
FROM_GRADIENTS = tuple(name for name in MODEL_METHODS if name not in (*CAM, *FROM_SCORES, "agf"))

every_method = pytest.mark.parametrize("name", MODEL_METHODS)


def network():
    """One rectifier module in place at every use, and `+=` between them."""
    return seeded(ResNet(18))


def quick(name, model):
    """The method with few samples, or steps."""
    method = make_methods([name], model, CHOICES)[name]
    for count in ("samples", "masks", "steps"):
        if isinstance(getattr(method, count, None), int):
            setattr(method, count, 8)
    if name == "integrated_gradients":
        method.nodes = method.nodes[:4]
    return method


@cache
def expected(name):
    return quick(name, network())(images(2, 3, 32, 32), 1)


@every_method
def test_training_mode_and_frozen_weights_change_nothing(name):
    wanted, inputs = expected(name), images(2, 3, 32, 32)
    for model in (network().train(), network().requires_grad_(False)):
        with left_as_it_was(model, inputs), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of the training mode
            torch.testing.assert_close(quick(name, model)(inputs, 1), wanted, rtol=1e-4, atol=1e-6)


@every_method
def test_a_class_that_there_is_not_is_named_and_nothing_stays(name):
    model, inputs = network(), images(2, 3, 32, 32)
    with left_as_it_was(model, inputs), pytest.raises(ValueError, match=rf"(target|classes) in \[0, {CLASSES}\), got 99"):
        quick(name, model)(inputs, 99)
    with left_as_it_was(model, inputs), pytest.raises(ValueError, match="expected target >= 0, got -1"):
        quick(name, model)(inputs, -1)


@every_method
def test_an_exception_inside_the_model_leaves_it_as_it_was(name):
    model, inputs = network(), images(2, 3, 32, 32)
    method = quick(name, model)
    method(inputs, 1)  # what is looked at once has been looked at

    class Broken(Exception):
        pass

    def fail(*_):
        raise Broken

    if name == "agf":
        pytest.skip("it runs the layers by itself: no hook of the model is called")
    with model.fc.register_forward_hook(fail), left_as_it_was(model, inputs), pytest.raises(Broken):
        method(inputs, 1)


@every_method
def test_constant_images_give_finite_maps(name):
    maps = quick(name, network())(torch.full((2, 3, 32, 32), 0.3), torch.tensor([[0, 1]] * 2))
    assert maps.shape == (2, 2, 32, 32) and maps.isfinite().all()


@every_method
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_rendered_for_or_refused(name, half):
    model, inputs = network().to(half), images(2, 3, 32, 32)
    if name in FROM_SCORES:
        maps = quick(name, model)(inputs, 1)
        assert maps.dtype == torch.float32
        both = torch.stack([maps.flatten(), expected(name).flatten()])
        assert torch.corrcoef(both)[0, 1] > 0.9
    elif name == "agf":
        assert quick(name, model)(inputs, 1).isfinite().all()  # it computes in the dtype of the images
    else:
        text = f"expected model to have parameters of float32 or float64, got {str(half).removeprefix('torch.')}; convert it"
        with left_as_it_was(model, inputs), pytest.raises(TypeError, match=text):
            quick(name, model)(inputs, 1)
        if name not in CAM:
            with pytest.raises(TypeError, match=text):
                quick(name, model)(inputs, "predicted")


@pytest.mark.parametrize("name", [*FROM_SCORES, "agf"])
def test_a_functional_model_is_the_same_as_one_of_modules(name):
    modules, functions = seeded(ByModules()), seeded(ByFunctions())
    inputs = images(2, 3, 32, 32)
    torch.testing.assert_close(quick(name, functions)(inputs, 1), quick(name, modules)(inputs, 1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", CAM)
def test_without_modules_a_layer_is_asked_for(name):
    with pytest.raises(ValueError, match="expected layer to be given, as no module returned feature maps"):
        quick(name, seeded(ByFunctions()))(images(2, 3, 32, 32), 1)


@pytest.mark.parametrize("name", FROM_GRADIENTS)
def test_a_model_that_has_no_gradient_says_so_and_is_left_alone(name):
    """It adds in place to what its rectifier needs for the gradient: not even its own training would work."""
    model, inputs = seeded(ByFunctions()), images(2, 3, 32, 32)
    with left_as_it_was(model, inputs), pytest.raises(RuntimeError, match="modified by an inplace operation"):
        quick(name, model)(inputs, 1)


def test_an_unknown_layer_is_refused_with_the_nearest_names():
    with pytest.raises(ValueError, match=r"GradCAM: expected layer .*'layer4'"):
        GradCAM(network(), "layr4")
