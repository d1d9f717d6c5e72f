"""The same numbers as captum, where it is installed: the same definition on both sides, or the difference stated."""

import pytest
import torch

from saliency_ext.attribution import LIME, GradCAM, Gradient, InputXGradient, IntegratedGradients, KernelSHAP, Occlusion
from saliency_ext.attribution.kernel_shap import all_coalitions, kernel_weights
from saliency_ext.attribution.lime import cosine_weights
from saliency_ext.infill import Constant, DatasetMean
from tests.attribution.games import MIXED, NOTHING, game_model, images_with_labels, painted_labels, pixels, players, shapley
from tests.attribution.games import smooth_model as segment_model
from tests.attribution.games import tensors as game_tensors
from tests.attribution.gradient_nets import make_images, relu_net, smooth_net
from tests.models.networks import images as photographs
from tests.models.networks import resnet, vgg_like

CLASSES = torch.tensor([0, 3, 1, 4])


@pytest.fixture(scope="module")
def captum():
    return pytest.importorskip("captum.attr", reason="captum is not installed")


def spared(model):
    """The model on a copy: captum does not guard against one that begins in place."""
    return lambda inputs: model(inputs.clone())


@pytest.mark.parametrize("channels", ["abs_sum", "max_abs"])
@pytest.mark.parametrize("net", [smooth_net, relu_net])
def test_saliency_is_the_absolute_gradient(captum, net, channels):
    model, images = net(), make_images()
    peer = captum.Saliency(spared(model)).attribute(images.clone().requires_grad_(), target=CLASSES)
    expected = peer.sum(1) if channels == "abs_sum" else peer.amax(1)
    torch.testing.assert_close(Gradient(model, channels=channels)(images, CLASSES), expected)


def test_input_x_gradient(captum):
    model, images = smooth_net(), make_images()
    peer = captum.InputXGradient(model).attribute(images.clone().requires_grad_(), target=CLASSES).sum(1).detach()
    torch.testing.assert_close(InputXGradient(model)(images, CLASSES), peer)


@pytest.mark.parametrize(
    ("rule", "theirs"), [("gauss_legendre", "gausslegendre"), ("midpoint", "riemann_middle"), ("right_riemann", "riemann_right")]
)
@pytest.mark.parametrize("net", [smooth_net, relu_net])
def test_integrated_gradients(captum, net, rule, theirs):
    model, images = net().double(), make_images(dtype=torch.float64)
    peer = captum.IntegratedGradients(spared(model))
    peer = peer.attribute(images, baselines=0.25, target=CLASSES, n_steps=20, method=theirs)
    ours = IntegratedGradients(model, Constant(0.25), steps=20, rule=rule)(images, CLASSES)
    torch.testing.assert_close(ours, peer.sum(1).detach(), rtol=1e-5, atol=1e-6)  # its weights are float32


def test_its_trapezoid_loses_a_share(captum):
    """Its weights sum to (n - 1) / n: the definitions differ, ours is complete for a linear model."""
    weights, images = torch.linspace(-1, 2, 288, dtype=torch.float64).view(2, 3, 8, 6), make_images(dtype=torch.float64)
    model = lambda inputs: torch.einsum("nchw,kchw->nk", inputs, weights)  # noqa: E731
    peer = captum.IntegratedGradients(model).attribute(images, target=1, n_steps=10, method="riemann_trapezoid")
    ours = IntegratedGradients(model, DatasetMean(), steps=10, rule="trapezoid")(images, 1)
    torch.testing.assert_close(peer.sum(1).detach(), ours * 0.9)


@pytest.mark.parametrize(("window", "stride"), [((4, 5), (3, 2)), ((8, 6), (1, 1)), ((1, 1), (1, 1)), ((3, 2), (3, 2))])
def test_occlusion(captum, window, stride):
    model, images = relu_net(), make_images()
    ours = Occlusion(model, Constant(0.2), window=window, stride=stride, score="logit")(images, CLASSES)
    theirs = captum.Occlusion(spared(model)).attribute(images, (3, *window), strides=(3, *stride), target=CLASSES, baselines=0.2)
    torch.testing.assert_close(ours, theirs[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("net", "layer"), [(vgg_like, "0.4"), (resnet, "blocks.1"), (resnet, "stem")])
def test_grad_cam(captum, net, layer):
    model, inputs, classes = net(), photographs(), torch.tensor([1, 4, 3])
    coarse = captum.LayerGradCam(model, model.get_submodule(layer)).attribute(inputs, target=classes, relu_attributions=True)
    expected = torch.nn.functional.interpolate(coarse.detach(), size=inputs.shape[2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(GradCAM(model, layer)(inputs, classes), expected[:, 0], rtol=1e-4, atol=1e-6)
    assert expected.any()


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_kernel_shap_on_all_coalitions(captum, count):
    """Its regression on every coalition with the kernel's weight, by weights of 1e6 for its two constraints, against ours."""
    table = game_tensors(2**count, 2)
    explainer = captum.KernelShap(game_model(table))

    def every_coalition(_, **kwargs):
        ends = torch.tensor([[False], [True]]).expand(2, count)
        yield from torch.cat([ends, all_coalitions(count)]).long()[:, None]

    def weight(_original, _perturbed, coalition, **kwargs):
        size = int(coalition.sum())
        return torch.tensor(1e6 if size in (0, count) else float(kernel_weights(count)[size - 1]))

    explainer.perturb_func, explainer.similarity_func = every_coalition, weight
    image, mask = players(count), torch.arange(count).view(1, 1, 1, count)
    ours = KernelSHAP(game_model(table), NOTHING, pixels, score="logit")(image, torch.tensor([[0, 1]]))[0, :, 0]
    for target in (0, 1):
        peer = explainer.attribute(image, target=target, feature_mask=mask, n_samples=2**count)[0, 0, 0].double()
        torch.testing.assert_close(ours[target], peer, rtol=0, atol=1e-4)
        torch.testing.assert_close(ours[target], shapley(table)[:, target], rtol=0, atol=1e-10)


def test_kernel_shap_as_shipped(captum):
    torch.manual_seed(0)
    images = images_with_labels(MIXED[4:])
    explainer = captum.KernelShap(lambda x: segment_model(x).softmax(1))
    mask = torch.stack([torch.zeros_like(MIXED[4:]), MIXED[4:]], 1)
    blank = torch.stack([images[:, 0], torch.zeros_like(images[:, 1])], 1)
    peer = explainer.attribute(images, baselines=blank, target=1, feature_mask=mask, n_samples=4000)[:, 1]
    ours = KernelSHAP(segment_model, NOTHING, painted_labels)(images, 1)
    torch.testing.assert_close(ours, peer.double(), rtol=0, atol=0.03)  # it draws its coalitions


@pytest.mark.parametrize("ridge", [1.0, 0.01])
@pytest.mark.parametrize("kernel", ["cosine", "none"])
def test_lime_on_our_coalitions(captum, kernel, ridge):
    """The same coalitions and weights on both sides: its regression against ours."""
    models = pytest.importorskip("captum._utils.models.linear_model", reason="captum's linear models need scikit-learn")
    model, requested = game_model(game_tensors(64, 1)), []

    class Recording(LIME):
        def _fitted(self, coalitions, scores):
            requested.append(coalitions)
            return super()._fitted(coalitions, scores)

    ours = Recording(model, NOTHING, pixels, samples=128, ridge=ridge, kernel=kernel, score="logit")(players(6), 0)[0, 0]

    def given(_, **kwargs):
        yield from requested[0].long()[:, None]

    def similarity(_original, _perturbed, coalition, **kwargs):
        return cosine_weights(coalition[0] > 0.5, 0.25) if kernel == "cosine" else torch.tensor(1.0)

    explainer = captum.Lime(model, models.SkLearnRidge(alpha=ridge), similarity, given)
    peer = explainer.attribute(players(6), target=0, feature_mask=torch.arange(6).view(1, 1, 1, 6), n_samples=128)
    torch.testing.assert_close(ours, peer[0, 0, 0].double(), rtol=1e-4, atol=1e-5)
