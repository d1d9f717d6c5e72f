"""The other class activation maps against loops written from their equations, and what all of them promise."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from saliency_ext.attribution._channel_masks import ChannelMasks
from saliency_ext.attribution.eigen_cam import EigenCAM, first_component
from saliency_ext.attribution.grad_cam import GradCAM
from saliency_ext.attribution.grad_cam_plus_plus import GradCAMPlusPlus
from saliency_ext.attribution.layer_cam import LayerCAM
from saliency_ext.attribution.score_cam import ScoreCAM
from saliency_ext.infill import Blur, Constant, DatasetMean, UniformNoise
from tests.models.networks import hooks_of, images, resnet, swin, vgg_like, vit

CLASSES = torch.tensor([[0, 4], [1, 1], [2, 3]])
GRADIENT = (GradCAM, GradCAMPlusPlus, LayerCAM)


def score_cam(model, layer=None, **options):
    return ScoreCAM(model, DatasetMean(), layer, **options)


FAMILY = (*GRADIENT, score_cam, EigenCAM)


def up(coarse, size=(16, 16)):
    return interpolate(coarse[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


def parts(model, image, target):
    """Activation and gradient (C, h, w) of vgg_like's layer "0.4" for one image and target."""
    leaf = model[0][:5](image[None]).detach().requires_grad_()
    logits = model[2](model[1](model[0][5](leaf.clone())))
    return leaf[0].detach(), torch.autograd.grad(logits[0, target], leaf)[0][0]


def plus_plus(maps, gradient):
    """The source's formula with its powers of the gradient, for the score exp(logit) without the factor exp(logit)."""
    total = torch.zeros(maps.shape[1:])
    for channel, g in zip(maps, gradient, strict=True):
        weight = 0.0
        for slope in g.flatten().tolist():
            if slope != 0:
                alpha = slope**2 / (2 * slope**2 + float(channel.sum()) * slope**3)
                weight += alpha * max(slope, 0.0)
        total += weight * channel
    return total


def layer_wise(maps, gradient):
    total = torch.zeros(maps.shape[1:])
    for channel, g in zip(maps, gradient, strict=True):
        total += g.clamp(min=0) * channel
    return total


@pytest.mark.parametrize(("method", "formula"), [(GradCAMPlusPlus, plus_plus), (LayerCAM, layer_wise)])
def test_gradient_methods_are_their_equations(method, formula):
    model, inputs = vgg_like(), images()
    result = method(model, max_batch=2)(inputs, CLASSES)
    for n in range(3):
        for t in range(2):
            expected = up(formula(*parts(model, inputs[n], CLASSES[n, t])).relu())
            torch.testing.assert_close(result[n, t], expected, rtol=1e-4, atol=1e-6)
            assert expected.abs().sum() > 0


def test_plus_plus_on_a_pooled_linear_head_is_a_closed_form():
    model, inputs = resnet(), images()
    maps = model.blocks(model.stem(inputs)).detach()
    v = model.fc.weight[CLASSES].detach()  # (3, 2, C)
    weights = v.relu() / (2 + v * maps.mean((2, 3))[:, None])
    expected = interpolate(torch.einsum("ntc,nchw->nthw", weights, maps), size=(16, 16), mode="bilinear")
    torch.testing.assert_close(GradCAMPlusPlus(model)(inputs, CLASSES), expected, rtol=1e-4, atol=1e-6)


def naive_score_cam(model, image, target, infill, kind, rule, top=None):
    def score(x):
        logits = model(x[None])[0].double()
        return float({"logit": logits, "probability": logits.softmax(0)}[kind][target])

    maps = model[0][:5](image[None])[0].detach()
    varying = [k for k in range(len(maps)) if maps[k].max() > maps[k].min()]
    varying.sort(key=lambda k: -float(maps[k].var()))
    scores = []
    for k in varying[:top]:
        u = up(maps[k])
        mask = (u - u.min()) / (u.max() - u.min())
        scores.append(score(mask * image + (1 - mask) * infill))
    weights = torch.tensor(scores, dtype=torch.float64)
    if rule == "softmax":
        weights = (weights - score(infill)).softmax(0)
    elif rule == "increase":
        weights = weights - score(infill)
    return up(sum(w * maps[k] for w, k in zip(weights, varying, strict=False)).relu())


@pytest.mark.parametrize("rule", ["softmax", "increase", "score"])
@pytest.mark.parametrize(("kind", "top"), [("logit", None), ("probability", 3)])
def test_score_cam_is_its_loop(rule, kind, top):
    model, inputs = vgg_like().double(), images(dtype=torch.float64)
    with torch.no_grad():
        model[0][3].bias[1] = -100.0  # a dead channel: constant, left out
        result = ScoreCAM(model, Constant(0.5), score=kind, weights=rule, top_channels=top, max_batch=4)(inputs, CLASSES)
        for n in range(3):
            for t in range(2):
                infill = torch.full_like(inputs[n], 0.5)
                expected = naive_score_cam(model, inputs[n], CLASSES[n, t], infill, kind, rule, top)
                torch.testing.assert_close(result[n, t], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", ["softmax", "increase", "score"])
def test_score_cam_with_channels_that_vary_in_some_images_only_and_go_below_zero(rule):
    head = [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(3, 2)]
    model, inputs = nn.Sequential(nn.Identity(), *head).double().eval(), images(2, 3, 4, 6, dtype=torch.float64)
    inputs[0, 1], inputs[1, 2] = 3.0, inputs[1, 2] * 1e-12  # constant, and hardly varying
    result = ScoreCAM(model, DatasetMean(), "0", weights=rule, relu=False)(inputs, 1)
    for image, map_ in zip(inputs, result, strict=True):
        channels = [k for k in range(3) if image[k].max() > image[k].min()]
        masks = [(image[k] - image[k].min()) / (image[k].max() - image[k].min()) for k in channels]
        with torch.no_grad():
            scores = torch.stack([model((image * mask)[None])[0, 1] for mask in masks])
            nothing = model(torch.zeros_like(image)[None])[0, 1]
        weights = {"softmax": scores.softmax(0), "increase": scores - nothing, "score": scores}[rule]
        torch.testing.assert_close(map_, sum(w * image[k] for w, k in zip(weights, channels, strict=True)))


def test_channel_masks_are_stretched_after_scaling_up():
    channels = torch.tensor([[[[-2.0, 6.0]], [[1.0, 1.0]]], [[[5.0, 1.0]], [[0.0, 8.0]]]])
    masks = ChannelMasks(channels, (1, 4))
    assert masks.live.tolist() == [[True, False], [True, True]]
    rising = torch.tensor([0.0, 0.25, 0.75, 1.0])
    assert torch.equal(masks.rendered([1, 0], slice(0, 1))[0, :, 0], torch.stack([rising * 0, rising]))
    assert torch.equal(masks.rendered([0, 1], slice(1, 2))[0, :, 0], torch.stack([rising.flip(0), rising]))
    assert masks.keys != ChannelMasks(channels, (1, 4)).keys and len(set(masks.keys)) == 2


def test_score_cam_shares_forwards_between_targets():
    model, inputs = vgg_like(), images(2)
    seen = []
    model.register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    ScoreCAM(model, DatasetMean(), max_batch=6)(inputs, torch.tensor([[0, 1, 2]] * 2))
    looking = [1, 1, 1, 1]  # the trace, halves of the image, the layer changed
    assert seen == [*looking, 2, 6, 6], "the activations, and 2 images x 6 channels"
    seen.clear()
    ScoreCAM(model, DatasetMean(), weights="increase", max_batch=7)(inputs[:1], torch.tensor([[0, 1, 2]]))
    assert seen == [*looking, 1, 7], "6 channels and the infill"


def test_score_cam_with_nothing_to_weigh_is_zero():
    model = vgg_like()
    with torch.no_grad():
        model[0][3].weight.zero_()
    for weights in ("softmax", "increase", "score"):
        assert torch.equal(ScoreCAM(model, DatasetMean(), weights=weights)(images(), 1), torch.zeros(3, 16, 16))


def test_score_cam_draws_are_keyed_by_sample():
    model, inputs, ids = vgg_like(), images(4), torch.tensor([5, 3, 9, 4])
    method = ScoreCAM(model, UniformNoise(-1.0, 1.0, seed=1, draws=2), max_batch=5)
    whole = method(inputs, 1, sample_ids=ids)
    torch.testing.assert_close(method(inputs[2:], 1, sample_ids=ids[2:]), whole[2:])
    assert not torch.allclose(method(inputs, 1), whole)
    assert not torch.allclose(ScoreCAM(model, Blur(2.0))(inputs, 1), score_cam(model)(inputs, 1))


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("model", [vgg_like, swin, vit])  # more cells than channels, channels last, leading tokens
def test_eigen_cam_is_the_first_singular_vector(model, center):
    net, inputs = model(), images()
    method = EigenCAM(net, center=center)
    result = method(inputs, CLASSES)
    assert torch.equal(result[:, 0], result[:, 1]), "class-blind"
    layer, kept = method.target.module, []
    handle = layer.register_forward_hook(lambda _m, _i, output: kept.append(output.detach().clone()))
    net(inputs)
    handle.remove()
    for n, maps in enumerate(method.target.grid.spatial(kept[-1]).double()):
        x = maps.flatten(1).T.numpy()
        x = x - x.mean(0) if center else x
        v = np.linalg.svd(x)[2][0]
        coarse = torch.from_numpy(x @ v * np.sign(v.sum())).float().view(maps.shape[1:])
        torch.testing.assert_close(result[n, 0], up(coarse), rtol=1e-4, atol=1e-5)


def test_a_nan_stays_in_its_image():
    net, inputs = vgg_like(), images()
    expected = EigenCAM(net)(inputs, 0)
    broken = inputs.clone()
    broken[0, 0, 1, 1] = torch.nan
    result = EigenCAM(net)(broken, 0)
    assert result[0].isnan().all() and torch.equal(result[1:], expected[1:])


def test_the_sign_of_a_component():
    draw = torch.Generator().manual_seed(0)
    for rows, columns in ((3, 5), (5, 3), (4, 4), (1, 6), (6, 1)):
        values = torch.randn(2, rows, columns, generator=draw, dtype=torch.float64)
        component = first_component(values)
        assert torch.equal(component, first_component(values.clone()))
        assert ((component * values.sum(2)).sum(1) > 0).all(), "agrees with the sum over channels"
        torch.testing.assert_close(first_component(-values), -component)  # minus the pattern, minus the map
        torch.testing.assert_close(component.norm(dim=1), torch.linalg.matrix_norm(values, 2))
    for rows in (2, 3, 3, 3, 5):  # the sum over channels is 0 everywhere: the largest cell decides
        column = torch.randn(1, rows, 1, generator=draw, dtype=torch.float64)
        largest = column.gather(1, column.abs().argmax(1, keepdim=True))
        for even in (column * torch.tensor([1.0, -1.0, 0.0]), column * torch.tensor([-1.0, 1.0, 0.0])):
            torch.testing.assert_close(first_component(even), (column * largest.sign())[..., 0] * 2**0.5)
    assert torch.equal(first_component(torch.zeros(1, 3, 4, dtype=torch.float64)), torch.zeros(1, 3, dtype=torch.float64))


@pytest.mark.parametrize("make", FAMILY)
def test_several_targets_and_batches_are_the_single_ones(make):
    model, inputs = vgg_like(), images(5)
    classes = torch.tensor([[0, 4], [1, 1], [2, 3], [3, 0], [4, 2]])
    method = make(model, max_batch=2)
    both = method(inputs, classes)
    assert both.shape == (5, 2, 16, 16) and torch.equal(both, method(inputs, classes))
    for t in range(2):
        torch.testing.assert_close(both[:, t], make(model, max_batch=64)(inputs, classes[:, t]), rtol=1e-4, atol=1e-6)
    for n in range(5):
        torch.testing.assert_close(both[n : n + 1], make(model)(inputs[n : n + 1], classes[n : n + 1]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", FAMILY)
def test_the_model_and_its_surroundings_are_left_as_they_were(make):
    model, inputs = resnet().train(), images()
    model.requires_grad_(False)
    before, kept, state = {k: v.clone() for k, v in model.state_dict().items()}, inputs.clone(), torch.get_rng_state()
    with pytest.warns(RuntimeWarning, match="training mode"):
        result = make(model)(inputs, CLASSES)
    with pytest.warns(RuntimeWarning, match="training mode"), pytest.raises(ValueError, match=r"target in \[0, 5\), got 7"):
        make(model)(inputs, 7)
    assert all(module.training for module in model.modules()) and hooks_of(model) == 0
    assert torch.equal(inputs, kept) and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.parameters())
    assert torch.equal(result, make(model.eval())(inputs, CLASSES))
    model.blocks[0].norm.register_forward_hook(lambda *_: 1 / 0)
    method = make(model, "blocks.1.relu")
    with pytest.raises(ZeroDivisionError):
        method(inputs, 1)
    assert hooks_of(model) == 1


@pytest.mark.parametrize("make", FAMILY)
def test_surroundings_and_layouts_change_no_number(make):
    model, inputs = vgg_like(), images()
    expected = make(model)(inputs, CLASSES)
    with torch.no_grad():
        assert torch.equal(make(model)(inputs, CLASSES), expected)
    with torch.inference_mode():
        assert torch.equal(make(model)(inputs.clone(), CLASSES.clone()), expected)
        assert not make(model)(inputs, "predicted").requires_grad
    for other in (inputs.to(memory_format=torch.channels_last), torch.stack([inputs, inputs], -1)[..., 0]):
        torch.testing.assert_close(make(model)(other, CLASSES), expected, rtol=1e-4, atol=1e-6)
    wide = make(vgg_like().double())(inputs.double(), CLASSES)
    assert wide.dtype == torch.float64
    torch.testing.assert_close(wide.float(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("make", FAMILY)
def test_empty_batches_and_other_input_sizes(make):
    model = resnet()
    method = make(model)
    assert method.layer_name is None
    assert method(images(0), 1).shape == (0, 16, 16)
    assert method(images(2), 1).shape == (2, 16, 16)
    assert method(images(2, height=20, width=12), 1).shape == (2, 20, 12)
    assert method.target.grid.rows == 10 and method.target.grid.columns == 6, "read anew for another size"


@pytest.mark.parametrize("make", FAMILY)
def test_the_layer_is_a_name_a_module_or_found(make):
    model, inputs = vgg_like(), images()
    by_name = make(model, "0.4")(inputs, 1)
    assert torch.equal(make(model, model[0][4])(inputs, 1), by_name)
    assert torch.equal(make(lambda x: model(x), model[0][4])(inputs, 1), by_name)
    assert torch.equal(make(model)(inputs, 1), by_name)
    assert not torch.equal(make(model, "0.1")(inputs, 1), by_name)


@pytest.mark.parametrize("make", FAMILY)
def test_transformers_and_half_precision(make):
    for model in (vit(), vit(leading=0), swin()):
        assert make(model, relu=False)(images(), 1).abs().amax((1, 2)).min() > 0
    wide = vit(size=(8, 24))
    assert make(wide)(images(height=8, width=24), 1).shape == (3, 8, 24)
    assert torch.isfinite(make(wide, "blocks.0", grid=(2, 6))(images(height=8, width=24), 1)).all()
    with pytest.raises(TypeError, match="expected model to have parameters of float32 or float64, got bfloat16"):
        make(resnet().bfloat16())(images(), 1)


def test_what_the_infos_say():
    names = [make.info.name for make in (GradCAM, GradCAMPlusPlus, LayerCAM, ScoreCAM, EigenCAM)]
    assert names == ["grad_cam", "grad_cam_plus_plus", "layer_cam", "score_cam", "eigen_cam"]
    model = vgg_like()
    assert [make(model, relu=True).info.signed for make in FAMILY] == [False] * 5
    assert [make(model, relu=False).info.signed for make in FAMILY] == [True] * 4 + [False]


def test_errors():
    model = vgg_like()
    with pytest.raises(TypeError, match=r"ScoreCAM: expected infill to be an Infill, got float, which has no"):
        ScoreCAM(model, 0.0)
    with pytest.raises(ValueError, match="ScoreCAM: expected weights to be one of 'softmax', 'increase', 'score', got 'mean'"):
        ScoreCAM(model, DatasetMean(), weights="mean")
    with pytest.raises(ValueError, match="ScoreCAM: expected score to be one of 'probability', 'logit'"):
        ScoreCAM(model, DatasetMean(), score="margin")
    with pytest.raises(ValueError, match=r"ScoreCAM: expected top_channels in \[1, 2147483647\], got 0"):
        ScoreCAM(model, DatasetMean(), top_channels=0)
    with pytest.raises(TypeError, match="EigenCAM: expected center to be a bool, got int"):
        EigenCAM(model, center=1)
    with pytest.raises(TypeError, match=r"LayerCAM: expected grid to be \(rows, columns\) or"):
        LayerCAM(model, grid=8)

    class Imputing(Constant):
        def fill_removed(self, inputs, remove, sample_ids, draw=0):
            return inputs

    with pytest.raises(TypeError, match="ScoreCAM: expected infill to be one that need not know the mask, got Imputing; its"):
        ScoreCAM(model, Imputing(0.0))

    class PerWindow(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x):  # images beyond the first are run once more
            maps = self.inner(torch.cat([x, x[1:]]))
            return self.fc(maps[: len(x)].mean((2, 3)))

    with pytest.raises(
        ValueError, match=r"LayerCAM: expected layer 'inner' to return one row per image, N = 3, got \(5, 4, 14, 14"
    ):
        LayerCAM(PerWindow().eval(), "inner")(images(), 1)
