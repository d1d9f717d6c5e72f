"""AGF as a whole: the published rules on whole networks, the choice of rules, and a model left as it was."""

import warnings

import pytest
import torch
from torch import nn

from saliency_ext.attribution.agf import AGF
from tests.attribution import agf_reference
from tests.attribution.agf_models import RESNET, VGG, AlexNet, ByFunctions, ByModules, ResNet, Vgg, images, seeded

NETWORKS = {
    **{f"vgg{depth}{'_bn' * norm}": (Vgg, depth, norm) for depth in VGG for norm in (False, True)},
    **{f"resnet{depth}": (ResNet, depth) for depth in RESNET},
    "alexnet": (AlexNet,),
}
F64 = torch.float64


def network(name):
    kind, *arguments = NETWORKS[name]
    return seeded(kind(*arguments))


def small():
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True)]
    return seeded(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 6), nn.ReLU(True), nn.Linear(6, 5)))


@pytest.mark.parametrize("name", ["vgg11", "vgg13_bn", "alexnet", "resnet18", "resnet50"])
def test_is_the_published_walk(name):
    model, inputs, target = network(name).double(), images(2, 3, 64, 64).double(), torch.tensor([1, 4])
    result = AGF(model)(inputs, target)
    for i, one in enumerate(inputs.split(1)):
        if name.startswith("resnet"):
            expected = agf_reference.of_resnet(model, one, int(target[i]))
        else:
            expected = agf_reference.of_stack(model.features, model.avgpool, model.classifier, one, int(target[i]))
        torch.testing.assert_close(result[i], expected.detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_architecture_gives_finite_maps(name):
    model, inputs = network(name), images(2, 3, 64, 64)
    inputs[1] = 0.4  # a constant image
    method = AGF(model)
    result = method(inputs, "predicted")
    assert result.shape == (2, 64, 64) and result.isfinite().all() and result[0].abs().max() > 0
    exact = AGF(model, dtype=F64)(inputs, "predicted")
    assert exact.dtype == torch.float32 and torch.cosine_similarity(result[0].flatten(), exact[0].flatten(), 0) > 0.999


def test_published_choice_of_rules():
    for name in NETWORKS:
        method = AGF(network(name))
        rules = method.convolutions
        full = {layer for layer, rule in rules.items() if rule == "full"}
        first = [layer for layer, rule in rules.items() if rule == "first"]
        if name.startswith("resnet"):
            wanted = "conv2" if int(name[6:]) >= 50 else "conv1"
            assert full == {layer for layer in rules if layer.startswith("layer") and layer.endswith(wanted)}
            assert first == ["conv1"]
        else:
            assert first == ["features.0"] and full == set(rules) - {"features.0"}


def test_the_choice_can_be_overridden():
    model, inputs = network("resnet18"), images(2, 3, 32, 32)
    default = {name for name, rule in AGF(model).convolutions.items() if rule == "full"}
    assert torch.equal(AGF(model, full=sorted(default))(inputs, 1), AGF(model)(inputs, 1))
    chosen = AGF(model, full=["layer1.0.conv2"])
    assert [name for name, rule in chosen.convolutions.items() if rule == "full"] == ["layer1.0.conv2"]
    flat = AGF(model, flat=True)
    assert set(flat.convolutions.values()) == {"first", "flat"}
    assert torch.equal(flat(inputs, 1), AGF(model, full=[])(inputs, 1))
    none = AGF(model, no_fx=True, no_m=True, no_fdx=True, no_a=True)
    assert torch.equal(none(inputs, 1), flat(inputs, 1))
    maps = [AGF(model, **{name: True})(inputs, 1) for name in ("no_fx", "no_m", "no_reg", "no_fdx", "no_a", "gradcam", "flat")]
    maps += [chosen(inputs, 1), AGF(model)(inputs, 1)]
    assert all((a - b).abs().max() > 1e-4 for i, a in enumerate(maps) for b in maps[:i])


def test_functions_in_place_and_modules_are_one():
    inputs, target = images(3, 3, 16, 16), torch.tensor([[0, 2], [1, 1], [4, 3]])
    modules, functions = seeded(ByModules()), seeded(ByFunctions())
    torch.testing.assert_close(functions(inputs)["logits"], modules(inputs))
    expected = AGF(modules, dtype=F64)(inputs, target)
    torch.testing.assert_close(AGF(functions, dtype=F64)(inputs, target), expected)
    assert AGF(functions).convolutions == {"conv2d": "first", "conv2d_1": "full"}
    functions.train()
    with pytest.warns(RuntimeWarning, match="training mode"):
        torch.testing.assert_close(AGF(functions, dtype=F64)(inputs, target), expected)
    assert functions.training


class Overwriting(nn.Module):
    """Reads maps that were overwritten meanwhile: torch sees the new values, and so must the trace."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.2))

    def forward(self, x):
        x = (x - self.mean) / 0.5
        x = self.a(x)
        same = nn.functional.dropout(x, training=self.training)
        y = self.b(x)
        y += same
        y.relu_()
        same.relu_()
        return self.fc((x + y).mean(dim=(2, 3)))


class Restated(Overwriting):
    def forward(self, x):
        x = self.a((x - self.mean) / 0.5)
        y = torch.relu(self.b(x) + x)
        return self.fc((torch.relu(x) + y).mean((-1, -2)))


def test_overwritten_maps_are_read_as_torch_reads_them():
    inputs = images(2, 3, 10, 9)
    overwriting, restated = seeded(Overwriting()), seeded(Restated())
    torch.testing.assert_close(overwriting(inputs), restated(inputs))
    torch.testing.assert_close(AGF(overwriting, dtype=F64)(inputs, 1), AGF(restated, dtype=F64)(inputs, 1))


@pytest.mark.parametrize("name", ["vgg11_bn", "resnet18"])
def test_a_map_does_not_depend_on_its_batch(name):
    model, inputs = network(name), images(5, 3, 32, 32)
    classes = torch.tensor([[0, 6], [1, 2], [3, 3], [5, 1], [2, 0]])
    both = AGF(model, dtype=F64)(inputs, classes)
    for t in range(2):
        single = torch.cat([AGF(model, dtype=F64)(image, classes[i : i + 1, t]) for i, image in enumerate(inputs.split(1))])
        torch.testing.assert_close(both[:, t], single, rtol=1e-5, atol=1e-6)
    result = AGF(model)(inputs, classes)
    torch.testing.assert_close(AGF(model, max_batch=2)(inputs, classes), result, rtol=1e-3, atol=1e-3)
    assert torch.equal(AGF(model)(inputs, classes), result)
    wide = torch.zeros(5, 3, 32, 64)
    wide[..., ::2] = inputs
    for layout in (inputs.contiguous(memory_format=torch.channels_last), wide[..., ::2]):
        assert torch.equal(AGF(model)(layout, classes), result)


def test_predicted_and_top_are_the_models_own_winners():
    model, inputs = network("resnet18"), images(3, 3, 32, 32)
    with torch.no_grad():
        best = model(inputs).topk(2, 1).indices
    assert torch.equal(AGF(model)(inputs, "predicted"), AGF(model)(inputs, best[:, 0]))
    assert torch.equal(AGF(model)(inputs, "top-2"), AGF(model)(inputs, best))


def test_the_largest_value_before_the_channel_sum_is_one():
    torch.manual_seed(0)
    model = seeded(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)))
    result = AGF(model)(images(4, 1, 8, 8), "predicted")  # one channel: the sum is the value
    tops = result.amax((1, 2))
    assert ((tops - 1).abs() < 1e-6).any() and result.isfinite().all()
    assert (((tops - 1).abs() < 1e-6) | ((tops <= 0) & ((result.abs().amax((1, 2)) - 1).abs() < 1e-6))).all()


def test_nothing_of_the_callers_changes():
    model, inputs = small().train(), images(2, 3, 10, 10)
    model[0].weight.requires_grad_(False)
    model[3].weight.grad = torch.ones_like(model[3].weight)
    before, kept, state = {k: v.clone() for k, v in model.state_dict().items()}, inputs.clone(), torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        method = AGF(model)
        result = method(inputs, 1)
        with pytest.raises(ValueError, match=r"AGF: expected target in \[0, 5\), got 7 at index"):
            method(inputs, 7)
        method.from_features(inputs, inputs.flip(0))
    assert not result.requires_grad and torch.equal(inputs, kept) and torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()].count(False) == 1
    assert [p.grad is None for p in model.parameters()].count(False) == 1 and bool((model[3].weight.grad == 1).all())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    assert not any("forward" in vars(m) for m in model.modules())


def test_works_inside_no_grad_and_inference_mode_and_sees_new_weights():
    model, inputs = small().requires_grad_(False), images(2, 3, 10, 10)
    method = AGF(model)
    expected = method(inputs, 1)
    with torch.no_grad():
        assert torch.equal(method(inputs, 1), expected)
    with torch.inference_mode():
        assert torch.equal(method(inputs.clone(), torch.tensor([1, 1])), expected)
    model.load_state_dict({k: v * 1.5 if v.is_floating_point() else v for k, v in model.state_dict().items()})
    assert not torch.equal(method(inputs, 1), expected)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision_is_computed_in_the_dtype_of_the_images(half):
    model, inputs = small().to(half), images(2, 3, 10, 10)
    result = AGF(model)(inputs, "predicted")
    torch.testing.assert_close(result, AGF(model.float())(inputs, "predicted"))


def test_grouped_dilated_and_oblong_convolutions_and_same_padding():
    layers = [
        nn.Conv2d(3, 6, (3, 5), padding="same", dilation=(2, 1)),
        nn.ReLU(),
        nn.Conv2d(6, 8, (1, 3), (1, 2), groups=2),
        nn.ReLU(),
    ]
    layers += [nn.Conv2d(8, 8, 3, groups=8, padding="valid"), nn.BatchNorm2d(8, affine=False), nn.ReLU(), nn.AvgPool2d(2)]
    model = seeded(nn.Sequential(*layers, nn.Flatten(), nn.Linear(80, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 4)))
    assert AGF(model).convolutions == {"0": "first", "2": "full", "4": "full"}
    assert AGF(model)(images(2, 3, 12, 14), "top-4").isfinite().all()


def test_empty_batch():
    assert AGF(small())(torch.zeros(0, 3, 10, 10), 1).shape == (0, 10, 10)
    assert AGF(small()).from_features(torch.zeros(0, 3, 10, 10), torch.zeros(0, 6)).shape == (0, 10, 10)


class Scaled(nn.Module):
    """Arithmetic with constants, or the same computation with the constants in the images and the weights."""

    def __init__(self, folded):
        super().__init__()
        self.a, self.b, self.hidden, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(36, 6), nn.Linear(6, 3)
        self.folded, self.mean = folded, nn.Parameter(torch.zeros(3, 1, 1))

    def prepared(self, x):
        return (0.5 - (x - self.mean) / 0.3) * 2

    def forward(self, x):
        b, weight = self.b, self.hidden.weight
        if self.folded:
            x = torch.relu(nn.functional.conv2d(torch.relu(self.a(x)), b.weight * 0.5, b.bias))
            x = nn.functional.linear(x.flatten(1), -weight, self.hidden.bias)
        else:
            x = torch.relu(b(torch.relu(self.a(self.prepared(x))) * 4 / 8))
            x = self.hidden((0 - x).flatten(1))
        return self.fc(torch.relu(x))


def test_arithmetic_with_constants():
    inputs, target = images(2, 3, 7, 7), torch.tensor([[0, 1], [2, 0]])
    model, folded = seeded(Scaled(False)), seeded(Scaled(True))
    prepared = model.prepared(inputs).detach()
    torch.testing.assert_close(model(inputs), folded(prepared))
    assert "full" in AGF(model).convolutions.values() and "full" in AGF(folded).convolutions.values()
    result, expected = AGF(model, dtype=F64)(inputs, target), AGF(folded, dtype=F64)(prepared, target)
    assert expected.abs().amax((2, 3)).min() > 0
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


class TwoStems(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 5, padding=2), nn.Linear(4, 3)

    def forward(self, x):
        return self.fc((torch.relu(self.a(x)) + torch.relu(self.b(x))).mean([2, 3]))


def test_a_split_drops_what_arrives_at_zeros():
    """Both stems are first convolutions; their relevance meets in the image, where a black pixel takes none."""
    model, inputs = seeded(TwoStems()), images(1, 3, 8, 8)
    inputs[:, :, 2, 3] = 0
    result = AGF(model)(inputs, 1)
    assert set(AGF(model).convolutions.values()) == {"first"}
    assert result[0, 2, 3] == 0 and (result != 0).sum() == 63
