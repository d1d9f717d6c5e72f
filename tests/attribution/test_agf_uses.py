"""AGF in use: a toy where the truth is known, the label-free variant, and what it refuses."""

import pytest
import torch
from torch import nn

from saliency_ext.attribution.agf import AGF
from tests.attribution.agf_models import ResNet, images, seeded


def textures(classes, generator, side=32):
    """Two stripes, a slanted one and a chequerboard: random phase, contrast and noise, (N, 3, side, side)."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    waves = torch.stack([(x // 2) % 2, (y // 2) % 2, ((x + y) // 3) % 2, ((x // 4) % 2) ^ ((y // 4) % 2)]) - 0.5
    moves = torch.randint(8, (len(classes), 2), generator=generator).tolist()
    pictures = torch.stack([torch.roll(waves[c], move, (0, 1)) for c, move in zip(classes.tolist(), moves, strict=True)])
    contrast = 0.6 + 0.8 * torch.rand(len(classes), 1, 1, 1, generator=generator)
    noise = torch.randn(len(classes), 3, side, side, generator=generator)
    return pictures[:, None] * contrast + 0.2 * noise


def trained(generator):
    layers, channels = [], 3
    for width, pool in ((8, nn.Identity()), (12, nn.MaxPool2d(2)), (16, nn.MaxPool2d(2)), (16, nn.AdaptiveAvgPool2d(4))):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), pool]
        channels = width
    model = seeded(nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 4)))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(50):
        classes = torch.randint(4, (32,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(textures(classes, generator)), classes).backward()
        optimizer.step()
    return model


def test_each_of_two_patterns_is_found_on_its_own_side():
    """Chance is 12 of 24 pairs. A smoke test: such a toy cannot tell the variants of the method apart."""
    generator = torch.Generator().manual_seed(0)
    model = trained(generator)
    classes = torch.arange(4).repeat(8)
    assert (model(textures(classes, generator)).argmax(1) == classes).float().mean() > 0.9
    pairs = torch.tensor([(a, b) for a in range(4) for b in range(4) if a != b])
    scenes = textures(pairs[:, 0], generator)
    scenes[..., 16:] = textures(pairs[:, 1], generator)[..., 16:]
    maps = AGF(model)(scenes, pairs)
    positive = maps.clamp(min=0)
    left = positive[..., :16].sum((2, 3)) / positive.sum((2, 3))
    own = torch.stack([left[:, 0], 1 - left[:, 1]])
    assert (own > 0.5).sum() >= 18
    assert torch.cosine_similarity(maps[:, 0].flatten(1), maps[:, 1].flatten(1)).max() < 0.99


def test_from_features_shows_what_the_neighbour_lacks():
    """One feature per colour channel; the neighbour has the same first feature, so only the second object is left."""
    weight = torch.zeros(2, 2, 3, 3)
    weight[0, 0, 1, 1] = weight[1, 1, 1, 1] = 1
    first, second = nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.Conv2d(2, 2, 1, bias=False)
    first.weight.data, second.weight.data = weight, torch.eye(2).view(2, 2, 1, 1)
    encoder = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    image = torch.zeros(1, 2, 6, 8)
    image[:, 0, :, :3] = 1
    image[:, 1, :, 5:] = 1
    neighbour = image.clone()
    neighbour[:, 1] = 0
    result = AGF(encoder).from_features(image, neighbour)
    assert result[..., :5].abs().sum() == 0 and (result[..., 5:] - 1).abs().max() < 1e-5
    with torch.no_grad():
        assert torch.equal(AGF(encoder).from_features(image, encoder(neighbour)), result)
    assert AGF(encoder).from_features(image, image).abs().sum() == 0
    away = AGF(encoder).from_features(neighbour, image)  # nothing of its own, and no relevance at X = 0
    assert away.abs().sum() == 0


def test_from_features_uses_the_input_of_the_last_linear_layer():
    model, inputs = seeded(ResNet(18)), images(3, 3, 32, 32)
    encoder = seeded(ResNet(18))
    encoder.fc = nn.Identity().eval()
    with torch.no_grad():
        features = encoder(inputs.roll(1, 0))
    expected = AGF(encoder, max_batch=2).from_features(inputs, inputs.roll(1, 0))
    torch.testing.assert_close(AGF(model).from_features(inputs, features), expected, rtol=1e-3, atol=1e-3)
    assert expected.abs().amax((1, 2)).min() > 0
    with pytest.raises(
        ValueError, match=r"AGF: expected model to end in a linear layer, got flatten \(Reshape\); see from_features"
    ):
        AGF(encoder)(inputs, 1)
    with pytest.raises(ValueError, match=r"from_features: expected neighbours of shape \(N, D\) = \(3, 32\), got \(3, 5\)"):
        AGF(model).from_features(inputs, torch.zeros(3, 5))
    with pytest.raises(
        ValueError, match=r"from_features: expected neighbours images like the inputs, or features \(N, D\), got \(2, 32\)"
    ):
        AGF(model).from_features(inputs, torch.zeros(2, 32))
    with pytest.raises(TypeError, match=r"from_features: expected inputs of dtype float32 or float64, got int64"):
        AGF(model).from_features(torch.zeros(1, 3, 8, 8, dtype=torch.int64), torch.zeros(1, 32))


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.conv, self.fc, self.function = nn.Conv2d(3, 4, 3), nn.Linear(4, 2), function

    def forward(self, x):
        return self.fc(self.function(self.conv(x)).mean([2, 3]))


class Branching(Applied):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


REFUSED = {
    r"got function.0 \(GroupNorm\); function.1 \(Sigmoid\); other layers have no rule": None,
    r"got cat \(function cat\)": lambda x: torch.cat([x, x], 1)[:, :4],
    r"got mul \(function mul\): of two maps": lambda x: x * x,
    r"got dropout \(function dropout\): it is active in eval mode": lambda x: nn.functional.dropout(x, training=True),
    r"got batch_norm \(function batch_norm\): batch statistics couple": lambda x: nn.functional.batch_norm(
        x, None, None, training=True
    ),
    r"got sigmoid \(method sigmoid\)": lambda x: x.sigmoid(),
    r"got add \(function add\): with keyword arguments \['alpha'\]": lambda x: torch.add(x, x, alpha=2),
    r"got relu \(method relu\): it reads a view of a map that was overwritten": lambda x: (
        (x.flatten(1), x.relu_())[0].relu().view(1, 4, 1, 1)
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_unsupported_layers_are_named_with_what_is_supported(message):
    function = REFUSED[message]
    model = Applied(nn.Sequential(nn.GroupNorm(2, 4), nn.Sigmoid()) if function is None else function).eval()
    with pytest.raises(ValueError, match=message) as error:
        AGF(model)
    assert "AGF: expected model to be made of Conv2d, Linear, BatchNorm, ReLU" in str(error.value)


def test_bad_arguments():
    model = Applied(nn.ReLU()).eval()
    with pytest.raises(TypeError, match="AGF: expected model to be an nn.Module, got function; its layers must be seen"):
        AGF(lambda x: x)
    with pytest.raises(ValueError, match="AGF: expected dtype to be None, float32 or float64, got float16"):
        AGF(model, dtype=torch.float16)
    with pytest.raises(ValueError, match="AGF: expected full to be None with flat=True, got "):
        AGF(model, full=["conv"], flat=True)
    with pytest.raises(ValueError, match="AGF: expected full to name convolutions after the first: layer1.*got fc"):
        AGF(ResNet(18).eval(), full=["fc"])
    with pytest.raises(TypeError, match="AGF: expected full to be names of convolutions, got 'conv'"):
        AGF(model, full="conv")
    with pytest.raises(TypeError, match="AGF: expected no_fx to be a bool, got int"):
        AGF(model, no_fx=1)
    with pytest.raises(ValueError, match="AGF: expected model to be traceable by torch.fx, got .*; its forward may not branch"):
        AGF(Branching(nn.ReLU()).eval())
    with pytest.raises(ValueError, match=r"padding_mode 'reflect'; only 'zeros'"):
        AGF(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.Flatten(), nn.Linear(4, 2)).eval())
    with pytest.raises(ValueError, match="AGF: expected model to add maps of one shape, got a broadcast"):
        AGF(Applied(lambda x: x + nn.functional.avg_pool2d(x, 6)).eval())(torch.zeros(1, 3, 8, 8), 0)
    with pytest.raises(ValueError, match=r"forward: expected its logits of shape \(N, K\) with N = 2, got \(3,\)"):
        AGF(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(0), nn.Linear(288, 3)).eval())(torch.zeros(2, 3, 8, 8), 0)
