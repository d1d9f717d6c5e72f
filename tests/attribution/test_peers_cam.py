"""The same maps as torch-cam and pytorch-grad-cam, where they are installed: the same definition, or the difference stated."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from saliency_ext.attribution import EigenCAM, GradCAM, GradCAMPlusPlus, LayerCAM, ScoreCAM
from saliency_ext.infill import DatasetMean
from tests.models.networks import images, resnet, vgg_like

CLASSES = torch.tensor([1, 2, 3])
NETS = [(vgg_like, "0.4"), (resnet, "blocks.1"), (resnet, "stem")]


def up(coarse, size=(16, 16)):
    return interpolate(coarse[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


# ---- torch-cam: maps at the layer's resolution, not rescaled


@pytest.fixture(scope="module")
def torchcam():
    return pytest.importorskip("torchcam.methods", reason="torch-cam is not installed")


def of_torchcam(extractor, model, inputs):
    with extractor as made:
        return up(made(CLASSES.tolist(), model(inputs), normalized=False)[0].detach())


@pytest.mark.parametrize(("ours", "theirs"), [(GradCAM, "GradCAM"), (LayerCAM, "LayerCAM")])
@pytest.mark.parametrize(("net", "layer"), NETS)
def test_torchcam_gradient_methods(torchcam, net, layer, ours, theirs):
    model, inputs = net(), images()
    expected = of_torchcam(getattr(torchcam, theirs)(model, layer, input_shape=(3, 16, 16)), model, inputs)
    torch.testing.assert_close(ours(model, layer)(inputs, CLASSES), expected, rtol=1e-4, atol=1e-6)
    assert expected.any()


def test_torchcam_cam_is_grad_cam_times_the_number_of_cells(torchcam):
    model, inputs = resnet(), images()
    expected = of_torchcam(torchcam.CAM(model, "blocks.1", "fc", input_shape=(3, 16, 16)), model, inputs)
    ours = GradCAM(model, "blocks.1", relu=False, closed_form="always")(inputs, CLASSES)
    torch.testing.assert_close(ours * 8 * 8, expected, rtol=1e-4, atol=1e-5)
    assert expected.any()


def test_torchcam_score_cam(torchcam):
    """On a layer as large as the image: where maps are scaled up, it normalises before and we after, as the source does."""
    model, inputs = vgg_like(), images()
    with torch.no_grad():
        expected = of_torchcam(torchcam.ScoreCAM(model, "0.1", input_shape=(3, 16, 16)), model, inputs)
    torch.testing.assert_close(ScoreCAM(model, DatasetMean(), "0.1")(inputs, CLASSES), expected, rtol=1e-4, atol=1e-5)
    assert expected.any()


# ---- pytorch-grad-cam: maps rescaled to [0, 1], before and after they are scaled up


@pytest.fixture(scope="module")
def grad_cam():
    return pytest.importorskip("pytorch_grad_cam", reason="pytorch-grad-cam is not installed", exc_type=ImportError)


def of_grad_cam(library, name, model, layer, inputs):
    targets = [library.utils.model_targets.ClassifierOutputTarget(int(target)) for target in CLASSES]
    with getattr(library, name)(model=model, target_layers=[model.get_submodule(layer)]) as made:
        return torch.from_numpy(np.asarray(made(input_tensor=inputs.clone(), targets=targets)))


def rescaled(maps):
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return torch.where(high > low, (maps - low) / (high - low), 0)


@pytest.mark.parametrize(("ours", "theirs"), [(GradCAM, "GradCAM"), (LayerCAM, "LayerCAM"), (GradCAMPlusPlus, "GradCAMPlusPlus")])
@pytest.mark.parametrize(("net", "layer"), NETS)
def test_grad_cam_gradient_methods(grad_cam, net, layer, ours, theirs):
    model, inputs = net(), images()
    with torch.no_grad():  # large gradients: it adds 1e-6 to the denominator of Grad-CAM++, of the order of their squares
        [each for each in model.modules() if isinstance(each, torch.nn.Linear)][-1].weight.mul_(1000)
    expected = of_grad_cam(grad_cam, theirs, model, layer, inputs)
    torch.testing.assert_close(rescaled(ours(model, layer)(inputs, CLASSES)), expected, rtol=1e-3, atol=1e-4)
    assert expected.any()


@pytest.mark.parametrize(("net", "layer"), NETS)
def test_grad_cam_eigen_cam(grad_cam, net, layer):
    """Centred on its side; the sign of its component is left to the decomposition."""
    model, inputs = net(), images()
    with grad_cam.EigenCAM(model=model, target_layers=[model.get_submodule(layer)]) as made:
        made.activations_and_grads(inputs.clone())
        coarse = made.get_cam_image(inputs, None, None, made.activations_and_grads.activations[0].numpy(), None, False)
    peer = up(torch.from_numpy(coarse))
    ours = EigenCAM(model, layer, center=True)(inputs, 0)
    sign = (ours * peer).sum((1, 2), keepdim=True).sign()
    torch.testing.assert_close(ours, sign * peer, rtol=1e-4, atol=1e-5)
