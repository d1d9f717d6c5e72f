"""The automatic layer is made of places of the image that the logits depend on, whatever else has four dimensions."""

import contextlib
import functools

import pytest
import torch
from torch import nn

from saliency_ext.attribution import EigenCAM, GradCAM, LayerCAM
from saliency_ext.models import target_layer
from tests.models.networks import ViT, hooks_of, images, randomised, resnet, swin, vgg_like, vit
from tests.models.token_networks import Resized, made, without_head

READ = "automatic: the last transformer block whose cells the logits read"
BLOCK, MAPS = "automatic: the last transformer block", "automatic: the last feature maps before pooling"

# Network, size of the image, layer, grid, why.
ROWS = {
    "attention pool": (lambda: made("AttentionPool"), 64, "blocks.1", (8, 8), BLOCK),
    "stages with a class token": (lambda: made("PooledStages"), 16, "stages.1.blocks.0", (4, 4), READ),
    "unfolded": (lambda: made("Unfolded"), 16, "fuse", (8, 8), MAPS),
    "attention matrices": (lambda: vit(depth=2), 16, "blocks.0", (4, 4), READ),
    "attention matrices of no class token": (
        lambda: vit(depth=2, leading=0, patch=16, size=(64, 64)),
        64,
        "blocks.1",
        (4, 4),
        BLOCK,
    ),
    "registers": (lambda: vit(leading=5), 16, "blocks.1", (4, 4), READ),
    "mean of the tokens": (lambda: vit(leading=0), 16, "blocks.2", (4, 4), BLOCK),
    "channels last": (swin, 16, "norm", (8, 8), MAPS),
    "one size, refused in its own way": (lambda: made("Picky"), 16, "blocks.1", (4, 4), READ),
    "scaled inside": (lambda: Resized(vit(), (16, 16)), 40, "network.blocks.1", (4, 4), READ),
    "scaled inside, convolutions": (lambda: Resized(resnet(), (16, 16)), 40, "network.blocks.1.relu", (8, 8), MAPS),
    "convolutions": (resnet, 16, "blocks.1.relu", (8, 8), MAPS),
    "convolutions without zeros around": (lambda: convolutions(), 16, "3", (5, 5), MAPS),
    "a head of one size": (vgg_like, 16, "0.4", (8, 8), MAPS),
}


def convolutions():
    trunk = [nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Conv2d(4, 4, 3, 2), nn.Conv2d(4, 4, 1)]
    return randomised(nn.Sequential(*trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)))


@pytest.mark.parametrize("name", ROWS)
def test_what_is_chosen_where(name):
    build, size, layer, grid, choice = ROWS[name]
    model = build()
    inputs = images(2, height=size, width=size)
    cam = GradCAM(model)
    maps = cam(inputs, 0)
    assert (cam.layer_name, (cam.target.grid.rows, cam.target.grid.columns), cam.target.choice) == (layer, grid, choice)
    assert maps.isfinite().all() and hooks_of(model) == 0


@pytest.mark.parametrize("height, width", [(16, 32), (32, 16)])
def test_wide_and_tall_images(height, width):
    for seed in range(4):
        model = randomised(ViT(size=(height, width), leading=seed % 2), seed)
        cells = target_layer(model, images(1, height=height, width=width, seed=seed)).grid
        assert (cells.rows, cells.columns) == (height // 4, width // 4)


def test_latent_tokens_are_no_places_of_the_image():
    result = target_layer(made("Latents"), images())
    assert (result.layer_name, result.grid.rows) == ("patch_embed", 8)


@pytest.mark.parametrize(
    "build, head",
    [(resnet, "fc"), (vit, "head"), (lambda: vit(leading=0), "head"), (swin, "head"), (lambda: made("AttentionPool"), "head")],
)
@pytest.mark.parametrize("method", [GradCAM, EigenCAM])
def test_a_head_of_zeros_depends_on_no_layer(build, head, method):
    size = 64 if build().get_submodule(head).in_features == 128 else 16
    message = "expected model to have logits that depend on a layer, got logits that depend on no layer"
    with pytest.raises(ValueError, match=f"{method.__name__}: {message}.*a head whose weights are zero"):
        method(without_head(build(), head))(images(2, height=size, width=size), 0)


def test_an_image_that_vanishes_is_no_head_of_zeros():
    model = vit()
    model.position = nn.Parameter(torch.zeros(1, 1, 8))  # takes every size
    nn.init.zeros_(model.patch_embed.weight)  # the last block is not read, and no image changes the logits
    result = target_layer(model, images())
    assert (result.layer_name, result.choice) == ("blocks.1", READ)


def test_maps_that_the_logits_do_not_read_are_passed_over():
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk, self.aside, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 2)

        def forward(self, x):
            x = self.trunk(x)
            self.aside(x)
            return self.fc(x.mean((2, 3)))

    result = target_layer(randomised(Aside()), images())
    assert result.layer_name == "trunk" and result.choice == f"{MAPS} whose cells the logits read"


def test_cells_that_mirror_themselves_are_seen_to_be_read():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2)).eval()
    nn.init.ones_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    image = torch.zeros(1, 1, 4, 4)
    image[..., 1, 2] = 8.0  # 16 cells of mean 1/2: 1 minus a cell has that mean as well
    assert target_layer(model, image).layer_name == "1"


def test_a_dependence_of_one_part_in_100000_is_seen():
    model = vit(leading=0)
    with torch.no_grad():
        model.head.weight *= 1e-5
        model.head.bias.fill_(1.0)
    assert target_layer(model, images()).layer_name == "blocks.2"


def test_seen_through_forward_and_partial():
    model, inputs = resnet(), images()
    expected = GradCAM(model)(inputs, 0)
    for forward in (model.forward, functools.partial(model), functools.partial(model.forward)):
        for layer in (None, "blocks.1.relu", model.blocks[1].relu):
            cam = GradCAM(forward, layer)
            torch.testing.assert_close(cam(inputs, 0), expected)
            assert cam.layer_name == "blocks.1.relu"
    with pytest.raises(ValueError, match="a Conv2d that is not part of it"):
        GradCAM(model.forward, nn.Conv2d(3, 3, 1))


@pytest.mark.parametrize(
    "build, forwards", [(resnet, 4), (vit, 1 + 2 + 5 + 2 + 1), (lambda: without_head(vit()), 1 + 2 + 5 + 1 + 1)]
)
def test_how_many_forwards_it_takes(build, forwards):
    model, seen = build(), []
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    with contextlib.suppress(ValueError):
        target_layer(model, images(3))
    assert len(seen) == forwards
    assert sorted(shape for shape in seen if shape != (1, 3, 16, 16)) == [(1, 3, 8, 16), (1, 3, 16, 8)]


def test_what_a_model_keeps_of_a_size_is_not_that_of_half_the_image():
    model = made("Shrinking")
    assert target_layer(model, images(height=8, width=8)).layer_name == "conv"
    assert model.window == 8 and list(model.seen) == [(8, 8)] and model.place.shape == (8, 8)


def test_parts_of_a_block_that_is_not_read_are_passed_over_with_it():
    class Convolved(ViT):
        """The attention of the last block reads what a convolution makes of its cells."""

        def __init__(self):
            super().__init__(depth=2)
            for block in self.blocks:
                block.qkv = Values()

    class Values(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.q = nn.Conv2d(8, 16, 3, padding=1), nn.Linear(8, 8)

        def forward(self, x):
            cells = self.conv(x[:, 1:].transpose(1, 2).unflatten(2, (4, 4))).flatten(2).transpose(1, 2)
            return torch.cat([self.q(x), torch.cat([cells[:, :1] * 0, cells], 1)], -1)

    result = target_layer(randomised(Convolved()), images())
    assert result.layer_name == "blocks.0" and result.choice == READ


def test_an_image_with_nan_is_looked_at_without_them_and_logits_of_nan_decide_nothing():
    for model, layer in ((resnet(), "blocks.1.relu"), (vit(), "blocks.1")):
        inputs = images()
        inputs[0, :, :4, :4] = torch.nan
        cam = LayerCAM(model)
        maps = cam(inputs, 0)
        assert cam.layer_name == layer and maps[0].isnan().all() and maps[1:].isfinite().all()
    model = resnet()
    model.fc.bias.data[1] = torch.nan
    assert target_layer(model, images()).layer_name == "blocks.1.relu"


def test_an_image_of_one_colour_and_an_image_of_one_line_are_enough():
    assert target_layer(vit(), torch.zeros(1, 3, 16, 16)).layer_name == "blocks.1"
    lines = randomised(nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)))
    assert str(target_layer(lines, images(height=1)).grid).startswith("1 x 16 cells")


def test_a_given_grid_need_not_be_of_square_patches():
    model = vit(leading=0, size=(16, 16))
    model.patch_embed = nn.Conv2d(3, 8, (8, 2), stride=(8, 2))
    result = target_layer(randomised(model), images(), grid=(2, 8))
    assert (result.layer_name, str(result.grid)) == ("blocks.2", "2 x 8 cells of 8 channels, layout NLC")
