"""Our methods in Captum's call shape; inside Captum's own metrics where it is installed."""

import pytest
import torch

from saliency_ext.attribution import Gradient, IntegratedGradients, Occlusion
from saliency_ext.evaluation import evaluate
from saliency_ext.infill import Constant
from saliency_ext.integrations.captum import Attribution, GivenImages
from saliency_ext.metrics import Deletion
from tests.integrations.torchmetrics_cases import GREY, Net, batch

WEIGHTS = torch.tensor([1.0, -2.0, 3.0, 0.5])


def linear(inputs):
    """Class 0: a weighted sum of the four pixels; class 1: its negative."""
    total = (inputs.flatten(1) * WEIGHTS.to(inputs)).sum(1)
    return torch.stack([total, -total], 1)


def integrated(**options):
    return Attribution(lambda infill: IntegratedGradients(linear, infill), **options)


@pytest.fixture
def images():
    return torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]], [[[0.0, 1.0], [1.0, 0.0]]]])


@pytest.mark.parametrize("baselines", [None, 0, 0.5, torch.tensor(0.5)])
def test_a_linear_model_in_closed_form(images, baselines):
    """IG of a linear model is weight (input - baseline)."""
    result = integrated(channels="one").attribute(images, baselines, torch.tensor([0, 1]))
    start = 0.0 if baselines is None else float(baselines)
    expected = (images - start) * WEIGHTS.view(2, 2) * torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    torch.testing.assert_close(result, expected)


def test_a_baseline_per_image_and_one_for_all(images):
    ours = integrated(channels="one")
    each = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    torch.testing.assert_close(ours.attribute(images, each, 0), (images - each) * WEIGHTS.view(2, 2))
    torch.testing.assert_close(ours.attribute(images, each[:1], [0, 0]), (images - 1) * WEIGHTS.view(2, 2))


def test_channels_share_the_map(images):
    """Three equal channels: the sum over channels is the map, so completeness holds for tensors of the inputs' shape."""
    model = lambda x: linear(x.mean(1, keepdim=True))  # noqa: E731
    method = IntegratedGradients(model, Constant(0.0))
    coloured = images.repeat(1, 3, 1, 1)
    result = Attribution(method).attribute((coloured,), target=0)
    assert isinstance(result, tuple) and result[0].shape == coloured.shape
    torch.testing.assert_close(result[0].sum(1), method(coloured, 0))
    torch.testing.assert_close(result[0].sum((1, 2, 3)), model(coloured)[:, 0])
    assert Attribution(method).forward_func is model and not Attribution(method).has_convergence_delta()


def test_it_is_a_method_again(images):
    """What has `.attribute` goes straight into an evaluation."""
    ours = Attribution(Gradient(linear, channels="sum"), channels="one")
    both = {"ours": ours, "plain": Gradient(linear, channels="sum")}
    results = evaluate(linear, images, 0, both, [Deletion(Constant(0.0), score="logit")])
    assert torch.equal(results["ours", "deletion"].values, results["plain", "deletion"].values)


def test_bad_input(images):
    ours = integrated()
    with pytest.raises(ValueError, match="attribute: expected target a class, .N,. classes or 'predicted', got None"):
        ours.attribute(images)
    with pytest.raises(ValueError, match="expected inputs one tensor, or a tuple of one, got 2"):
        ours.attribute((images, images), target=0)
    with pytest.raises(ValueError, match="expected additional_forward_args to be None, got int; bind them"):
        ours.attribute(images, target=0, additional_forward_args=3)
    with pytest.raises(ValueError, match=r"expected baselines a number, or of shape .* got \(2, 2\)"):
        ours.attribute(images, torch.zeros(2, 2), 0)
    with pytest.raises(ValueError, match="expected baselines to be None: the method has its infill, got float"):
        Attribution(Occlusion(linear, Constant(0.0))).attribute(images, 0.5, 0)
    with pytest.raises(TypeError, match="expected target to hold one class per image"):
        ours.attribute(images, target=[(0, 1), (1, 0)])
    with pytest.raises(TypeError, match="Attribution: expected method to be a Method, got the class Gradient"):
        Attribution(Gradient)
    with pytest.raises(ValueError, match="expected channels to be one of 'share', 'one'"):
        integrated(channels="all")
    with pytest.raises(ValueError, match="expected sample_ids below 2, one image each, got 5"):
        GivenImages(images).fill(images[:1], torch.tensor([5]))


MISSING = "captum is not installed (it wants an older numpy: pip install --no-deps captum)"


def test_captum_objects_are_methods():
    attr = pytest.importorskip("captum.attr", reason=MISSING)
    model, (inputs, target, _, _) = Net(), batch()
    theirs = attr.IntegratedGradients(model)
    own = IntegratedGradients(model, Constant(0.0), steps=50)
    results = evaluate(model, inputs, target, {"theirs": theirs, "own": own}, [Deletion(GREY)], channels="sum")
    torch.testing.assert_close(
        results["theirs", "deletion"].values, results["own", "deletion"].values, rtol=0.05, atol=1e-3
    )  # other nodes of the same integral may swap close pixels


def test_inside_captums_metrics():
    """Infidelity and sensitivity of our integrated gradients, asked by Captum: of a linear model both are 0."""
    metrics = pytest.importorskip("captum.metrics", reason=MISSING)
    inputs = batch()[0][:, :1, :2, :2].contiguous()
    ours = integrated()

    def flip(x, baselines=None):
        noise = 0.1 * torch.ones_like(x)
        return noise, x - noise

    result = ours.attribute(inputs, 0.0, 0) / inputs  # the weights: sensitivities, as infidelity's perturbation wants them
    assert metrics.infidelity(linear, flip, inputs, result, target=0, n_perturb_samples=2).abs().max() < 1e-6
    attribute = Attribution(Gradient(linear, channels="sum")).attribute
    assert metrics.sensitivity_max(attribute, inputs, target=0, n_perturb_samples=2).abs().max() < 1e-6
