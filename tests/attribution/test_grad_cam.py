"""Grad-CAM: the closed form of pooled-linear heads, the path without a backward, and what it refuses."""

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from saliency_ext.attribution.grad_cam import GradCAM
from saliency_ext.models._gap_head import gap_head
from tests.models.networks import hooks_of, images, resnet, swin, vgg_like, vit

CLASSES = torch.tensor([[0, 4], [1, 1], [2, 3]])


def activation_of(model, layer, inputs):
    """What a layer without in-place operations after it returns, taken with a hook of the test's own."""
    kept = []
    handle = layer.register_forward_hook(lambda _m, _i, output: kept.append(output.detach().clone()))
    with torch.no_grad():
        model(inputs)
    handle.remove()
    return kept[-1]


def class_activation_map(model, maps, classes, size, relu):
    """relu(sum_k weight[t, k] A_k) / cells, image by image, target by target."""
    rows = []
    for image, wanted in zip(maps, classes, strict=True):
        for t in wanted:
            total = torch.zeros(maps.shape[2:])
            for k in range(maps.shape[1]):
                total += model.fc.weight[t, k].detach() * image[k]
            rows.append((total.relu() if relu else total) / total.numel())
    coarse = torch.stack(rows).view(*classes.shape, *maps.shape[2:])
    return interpolate(coarse, size=size, mode="bilinear", align_corners=False)


class Counting(nn.Module):
    """Counts forwards, and backwards that reach the output of the wrapped model's layer."""

    def __init__(self, model, layer):
        super().__init__()
        self.model, self.forwards, self.backwards = model, 0, 0
        layer.register_forward_hook(self.monitor)

    def monitor(self, _module, _inputs, output):
        if output.requires_grad:
            output.register_hook(self.count)

    def count(self, gradient):
        self.backwards += 1

    def forward(self, x):
        self.forwards += 1
        return self.model(x)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("closed_form", ["auto", "always", "never"])
@pytest.mark.parametrize("bias", [True, False])
def test_pooled_linear_heads_give_the_class_activation_map(relu, closed_form, bias):
    model, inputs = resnet(bias=bias), images()
    maps = activation_of(model, model.blocks[1].relu, inputs)
    expected = class_activation_map(model, maps, CLASSES, (16, 16), relu)
    method = GradCAM(model, relu=relu, closed_form=closed_form, max_batch=2)
    result = method(inputs, CLASSES)
    assert method.layer_name == "blocks.1.relu" and result.shape == (3, 2, 16, 16)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)
    assert (expected < 0).any() == (not relu)
    assert torch.equal(method(inputs, CLASSES), result), "the second call takes the proven path"


def test_both_paths_are_equal_on_a_channels_last_network():
    model, inputs = swin(), images()
    fast, slow = GradCAM(model, relu=False), GradCAM(model, relu=False, closed_form="never")
    torch.testing.assert_close(fast(inputs, CLASSES), slow(inputs, CLASSES), rtol=1e-5, atol=1e-7)
    assert fast._proven == {"norm": True}


def test_the_first_batch_is_verified_and_then_no_backward_is_needed():
    base, inputs = resnet(), images(6)
    model = Counting(base, base.fc).eval()
    method = GradCAM(model, "model.blocks.1.relu", max_batch=2)
    method(inputs, torch.tensor([[0, 1]] * 6))
    assert (model.forwards, model.backwards) == (1 + 3, 1), "a trace, three batches, one gradient on the first"
    method(inputs, 3)
    assert (model.forwards, model.backwards) == (4 + 3, 1)
    model.forwards = model.backwards = 0
    GradCAM(model, "model.blocks.1.relu", closed_form="always", max_batch=2)(inputs, 0)
    assert (model.forwards, model.backwards) == (4, 0)
    GradCAM(model, "model.blocks.1.relu", closed_form="never", max_batch=2)(inputs, torch.tensor([[0, 1]] * 6))
    assert (model.forwards, model.backwards) == (8, 6), "one forward per batch, one backward per target"


class Odd(nn.Module):
    """A pooled-linear head with one thing between the layer and the logits."""

    def __init__(self, kind):
        super().__init__()
        self.conv, self.fc, self.kind = nn.Conv2d(3, 4, 3), nn.Linear(4, 5), kind
        self.norm = nn.LayerNorm(4)

    def forward(self, x):
        x = self.conv(x)
        if self.kind == "relu":
            x = torch.relu(x)
        if self.kind == "abs of a square":  # the same numbers, another gradient
            x = x + (x - x.detach()) * 2
        x = x[:, :, 1:] if self.kind == "crop" else x
        pooled = x.amax((2, 3)) if self.kind == "max" else x.mean((2, 3))
        logits = self.fc(self.norm(pooled) if self.kind == "norm" else pooled)
        return logits / 2 if self.kind == "temperature" else logits.softmax(1) if self.kind == "softmax" else logits


@pytest.mark.parametrize("kind", ["relu", "abs of a square", "crop", "max", "norm", "temperature", "softmax"])
def test_heads_that_only_look_like_it_get_their_gradient(kind):
    model, inputs = Odd(kind).eval(), images()
    method = GradCAM(model, "conv", relu=False)
    result = method(inputs, CLASSES)
    assert method._proven == {"conv": False}
    leaf = model.conv(inputs).detach().requires_grad_()
    model.conv = nn.Identity()
    logits = model(leaf)
    for t in range(2):
        gradient = torch.autograd.grad(logits.gather(1, CLASSES)[:, t].sum(), leaf, retain_graph=True)[0]
        coarse = (gradient.mean((2, 3), keepdim=True) * leaf.detach()).sum(1, keepdim=True)
        expected = interpolate(coarse, size=(16, 16), mode="bilinear", align_corners=False)[:, 0]
        torch.testing.assert_close(result[:, t], expected, rtol=1e-5, atol=1e-7)


def test_a_batch_that_does_not_fit_gets_a_backward_or_is_refused():
    model = Odd("relu").eval()
    with torch.no_grad():
        model.conv.weight.abs_()
        model.conv.bias.fill_(1.0)
    positive, negative = images().abs(), -images().abs() * 5
    method = GradCAM(model, "conv", relu=False)
    method(positive, 1)
    assert method._proven == {"conv": True}, "the rectifier does nothing to positive numbers"
    torch.testing.assert_close(method(negative, 1), GradCAM(model, "conv", relu=False, closed_form="never")(negative, 1))
    forced = GradCAM(model, "conv", closed_form="always")
    forced(positive, 1)
    message = "expected closed_form 'auto' or 'never' where the logits are not one linear layer .* got 'always' with layer 'conv'"
    with pytest.raises(ValueError, match=message):
        forced(negative, 1)
    assert hooks_of(model) == 0


def test_the_closed_form_needs_no_gradient_at_all():
    model, inputs = resnet(), images()

    class Opaque(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            with torch.no_grad():
                return self.model(x)

    layer = model.blocks[1].relu
    expected = GradCAM(model, layer, closed_form="never")(inputs, 1)
    torch.testing.assert_close(GradCAM(Opaque().eval(), layer, closed_form="always")(inputs, 1), expected)
    with pytest.raises(RuntimeError, match=r"GradCAM: the logits do not depend differentiably on layer 'model.blocks.1.relu'"):
        GradCAM(Opaque().eval(), layer, closed_form="never")(inputs, 1)


def test_the_head_is_found_by_its_numbers():
    model, inputs = resnet(), images()
    maps = activation_of(model, model.blocks[1].relu, inputs)
    logits = model(inputs).detach()
    assert gap_head(model, maps, logits) is model.fc
    assert gap_head(model, maps, logits + 1e-3) is None
    assert gap_head(model, maps * 1.001, logits) is None
    assert gap_head(model, maps, logits * torch.nan) is None
    assert gap_head(lambda x: model(x), maps, logits) is None
    seen = []
    model.fc.register_forward_hook(lambda *_: seen.append(1))
    assert gap_head(model, maps, logits) is model.fc and seen == [], "the caller's hooks do not run"


def test_scores():
    model, inputs = resnet(), images()
    probability = model(inputs).softmax(1)[:, 1].detach()
    log, plain = (GradCAM(model, score=score, relu=False)(inputs, 1) for score in ("log_probability", "probability"))
    torch.testing.assert_close(plain, log * probability[:, None, None])
    logits = [GradCAM(model, relu=False)(inputs, k) for k in range(5)]
    mean = sum(model(inputs).softmax(1)[:, k, None, None].detach() * logits[k] for k in range(5))
    torch.testing.assert_close(log, logits[1] - mean, rtol=1e-4, atol=1e-6)


def test_polarity():
    """A layer that lights up where the image is bright; class 0 likes it, class 1 does not."""
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2)).eval()
    with torch.no_grad():
        for tensor, values in ((model[0].weight, [1.0]), (model[0].bias, [0.0]), (model[4].weight, [2.0, -2.0])):
            tensor.copy_(torch.tensor(values).view_as(tensor))
    image = torch.zeros(1, 1, 4, 4)
    image[..., 1, 2] = 8.0
    both = GradCAM(model, relu=False)(image, torch.tensor([[0, 1]]))
    assert torch.equal(both[0, 0], image[0, 0] * 2 / 16) and torch.equal(both[0, 1], -both[0, 0])
    assert GradCAM(model)(image, 1).sum() == 0
    assert GradCAM(model).info.signed is False and GradCAM(model, relu=False).info.signed is True
    assert GradCAM.info.signed is False


def test_relu_comes_before_scaling_up():
    model = nn.Sequential(nn.AvgPool2d(2), nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 1)).eval()
    nn.init.ones_(model[4].weight)
    image = torch.tensor([4.0, -4.0]).repeat_interleave(2).expand(1, 1, 2, 4)
    # Half-pixel bilinear of (4, 0) / 2, not the positive part of half-pixel bilinear of (4, -4) / 2.
    assert torch.equal(GradCAM(model, "1")(image, 0)[0, 0], torch.tensor([2.0, 1.5, 0.5, 0.0]))


def test_transformers():
    model, inputs = vit(), images()
    method = GradCAM(model, relu=False)
    result = method(inputs, CLASSES)
    assert method.layer_name == "blocks.1" and method.target.grid.leading == 1
    tokens = activation_of(model, model.blocks[1], inputs).requires_grad_()
    logits = model.head(model.norm(model.blocks[2](tokens))[:, 0]).gather(1, CLASSES)
    for t in range(2):
        gradient = torch.autograd.grad(logits[:, t].sum(), tokens, retain_graph=True)[0][:, 1:]
        coarse = (tokens.detach()[:, 1:] * gradient.mean(1, keepdim=True)).sum(2).view(3, 1, 4, 4)
        expected = interpolate(coarse, size=(16, 16), mode="bilinear", align_corners=False)[:, 0]
        torch.testing.assert_close(result[:, t], expected, rtol=1e-4, atol=1e-6)
        assert expected.abs().sum() > 0
    message = r"GradCAM: expected layer to have cells that the logits read, got 'blocks.2', of which they read the leading"
    with pytest.raises(ValueError, match=message):
        GradCAM(model, "blocks.2")(inputs, 0)
    assert GradCAM(vit(leading=0))(inputs, 0).sum() > 0


def test_bad_arguments():
    model = vgg_like()
    with pytest.raises(ValueError, match="GradCAM: expected layer to name a module of the model, got 'features'; modules are"):
        GradCAM(model, "features")
    with pytest.raises(ValueError, match="GradCAM: expected closed_form to be one of 'auto', 'always', 'never', got True"):
        GradCAM(model, closed_form=True)
    with pytest.raises(ValueError, match="expected score 'logit' with closed_form='always', got 'probability'"):
        GradCAM(model, closed_form="always", score="probability")
    with pytest.raises(ValueError, match="GradCAM: expected score to be one of 'logit'"):
        GradCAM(model, score="accuracy")
    with pytest.raises(TypeError, match="GradCAM: expected relu to be a bool, got str"):
        GradCAM(model, relu="yes")
    for closed_form in ("auto", "never"):
        with pytest.raises(ValueError, match=r"GradCAM: expected target in \[0, 5\), got 5 at index \(1, 0\)"):
            GradCAM(resnet(), closed_form=closed_form)(images(), torch.tensor([0, 5, 1]))
