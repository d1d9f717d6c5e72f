"""The layer is found by name, by module or by itself, and what was chosen is said."""

import pytest
import torch
from torch import nn

from saliency_ext.models.layers import find_module, target_layer
from tests.models.networks import Residual, ResNet, hooks_of, images, resnet, swin, vgg_like, vit


def chosen(model, inputs=None, **options):
    result = target_layer(model, images() if inputs is None else inputs, **options)
    return result.layer_name, result.call, str(result.grid)


def test_by_name_and_by_module():
    model = vgg_like()
    for layer in ("0.3", model[0][3]):
        result = target_layer(model, images(), layer)
        assert (result.layer_name, result.module, result.call, result.calls) == ("0.3", model[0][3], 0, 1)
        assert str(result.grid) == "8 x 8 cells of 6 channels, layout NCHW" and result.choice == "given"


def test_a_plain_callable_needs_the_module():
    model = resnet()
    result = target_layer(lambda x: model(x), images(), model.blocks[0].norm)
    assert result.layer_name == "BatchNorm2d" and result.module is model.blocks[0].norm
    for layer in ("blocks.0.norm", None):
        with pytest.raises(TypeError, match="expected model to be a module, where the layer is not given as one, got a function"):
            target_layer(lambda x: model(x), images(), layer)


def test_the_last_feature_maps_before_pooling():
    # The rectifier before the last pooling layer, not the pooled 4 x 4 maps after it, nor the container that returns them.
    assert chosen(vgg_like()) == ("0.4", 0, "8 x 8 cells of 6 channels, layout NCHW")
    # The second call of the shared rectifier, after the sum; the containers that hand its tensor on are not named.
    assert chosen(resnet()) == ("blocks.1.relu", 1, "8 x 8 cells of 4 channels, layout NCHW")
    result = target_layer(resnet(), images())
    assert result.calls == 2 and result.choice == "automatic: the last feature maps before pooling"


def test_what_a_module_computes_without_parts_of_its_own_counts():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
            self.block = Residual(4)
            self.block.relu = nn.Identity()

        def forward(self, x):
            x = torch.relu(self.block(self.conv(x)))
            return self.fc(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))

    # The rectifier is a function call, which no hook sees: the block before it is what can be captured.
    assert chosen(Functional().eval())[0] == "block.relu"

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x):
            return torch.relu(self.conv(x) + 1)

    assert chosen(nn.Sequential(Sum(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval())[0] == "0"


def test_a_rectifier_reused_in_the_head_is_taken_at_its_last_maps():
    class SharedOptions(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu, self.hidden, self.fc = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.fc(self.relu(self.hidden(self.relu(self.conv(x)).mean((2, 3)))))

    for layer in (None, "relu"):
        result = target_layer(SharedOptions().eval(), images(), layer)
        assert (result.layer_name, result.call, result.calls) == ("relu", 0, 2)


def test_transformers():
    # The head reads the class token alone: the cells of the last block cannot matter, those of the block before do.
    assert chosen(vit()) == ("blocks.1", 0, "4 x 4 cells of 8 channels after 1 leading token, layout NLC")
    assert target_layer(vit(), images()).choice == "automatic: the last transformer block whose cells the logits read"
    assert chosen(vit(leading=5))[0] == "blocks.1"
    assert chosen(vit(leading=0)) == ("blocks.2", 0, "4 x 4 cells of 8 channels, layout NLC")
    assert chosen(vit(size=(8, 24)), images(height=8, width=24))[2].startswith("2 x 6 cells")
    # With one block nothing but the patches is left, and never the attention map (1, 1, 17, 17).
    assert chosen(vit(depth=1)) == ("patch_embed", 0, "4 x 4 cells of 8 channels, layout NCHW")
    assert chosen(vit(), layer="blocks.2")[0] == "blocks.2", "what is asked for is given"
    assert chosen(swin()) == ("norm", 0, "8 x 8 cells of 6 channels, layout NHWC")


@pytest.mark.parametrize("batch_first", [True, False])
def test_the_transformer_of_torch(batch_first):
    class Encoded(nn.Module):
        def __init__(self, leading):
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
            self.patches, self.leading = nn.Conv2d(3, 8, 4, stride=4), leading
            self.encoder, self.head = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), nn.Linear(8, 5)

        def forward(self, x):
            tokens = self.patches(x).flatten(2).transpose(1, 2)
            tokens = torch.cat([tokens[:, :1] * 0 + 1, tokens], 1) if self.leading else tokens
            tokens = self.encoder(tokens) if batch_first else self.encoder(tokens.transpose(0, 1)).transpose(0, 1)
            return self.head(tokens[:, 0] if self.leading else tokens.mean(1))

    layout = "NLC" if batch_first else "LNC"
    # A block that ends with its normalisation hands on that tensor; it is the block that is named, and no container.
    expected = ("encoder.layers.2", 0, f"4 x 4 cells of 8 channels, layout {layout}")
    assert chosen(Encoded(False).eval(), images(16)) == expected
    expected = ("encoder.layers.1", 0, f"4 x 4 cells of 8 channels after 1 leading token, layout {layout}")
    assert chosen(Encoded(True).eval(), images(16)) == expected


def test_a_layer_inside_windows_is_refused():
    message = r"expected tokens to be a grid .* got 4 tokens in shape|expected the activation of shape .* got \(16, 4, 6\)"
    with pytest.raises(ValueError, match=message):
        target_layer(swin(), images(), "stages.0.window")


def test_an_explicit_grid_is_used():
    model = vit(size=(16, 16))
    assert chosen(model, layer="blocks.0", grid=(2, 8))[2] == "2 x 8 cells of 8 channels after 1 leading token, layout NLC"
    with pytest.raises(ValueError, match="expected grid to have at most 17 cells"):
        target_layer(model, images(), "blocks.0", grid=(5, 5))


def test_unknown_layers_list_the_candidates():
    model = resnet()
    with pytest.raises(ValueError) as error:
        target_layer(model, images(), "blocks.0.conv3", function="GradCAM")
    text = str(error.value)
    assert text.startswith("GradCAM: expected layer to name a module of the model, got 'blocks.0.conv3'; modules are 'blocks.")
    assert text.index("'blocks.0.conv1'") < text.index("'stem'"), "names that resemble it come first"
    assert "'fc'" in text
    with pytest.raises(ValueError, match="got ''; modules are 'stem', 'blocks'"):
        target_layer(model, images(), "")
    with pytest.raises(ValueError, match="layer to be a module of the model, got a Conv2d that is not part of it; modules are"):
        target_layer(model, images(), nn.Conv2d(3, 3, 1))
    with pytest.raises(TypeError, match="expected layer to be a dotted name, a module or None, got int"):
        target_layer(model, images(), 3)
    many = nn.Sequential(*(nn.Identity() for _ in range(50)))
    with pytest.raises(ValueError, match="and 30 more"):
        find_module("test", many, "x")


def test_what_cannot_be_chosen_lists_what_was_seen():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(768, 2)).eval()
    with pytest.raises(ValueError, match=r"None; the last modules were '0' \(1, 768\), '1' \(1, 2\)"):
        target_layer(flat, images())
    with pytest.raises(ValueError, match=r"the activation of shape .* got \(1, 2\)"):
        target_layer(flat, images(), "1")
    model = resnet()
    model.spare = nn.Conv2d(3, 3, 1).eval()
    with pytest.raises(RuntimeError, match="layer 'spare' did not run in the forward"):
        target_layer(model, images(), "spare")


def test_half_precision_and_data_parallel_are_refused():
    with pytest.raises(TypeError, match="expected model to have parameters of float32 or float64, got float16; convert it with"):
        target_layer(resnet().half(), images())
    wrapped = nn.DataParallel(resnet())
    with pytest.raises(TypeError, match=r"not to be wrapped in torch.nn.DataParallel, got DataParallel; pass model.module"):
        target_layer(wrapped, images(), "module.stem")


def test_looking_changes_nothing():
    model = ResNet().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs = images()
    kept, state = inputs.clone(), torch.get_rng_state()
    with pytest.warns(RuntimeWarning, match="training mode"):
        target_layer(model, inputs)
    with pytest.warns(RuntimeWarning, match="training mode"), pytest.raises(RuntimeError):
        target_layer(model, inputs[:, :2])
    assert model.training and model.drop.training and hooks_of(model) == 0
    assert torch.equal(inputs, kept) and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.inference_mode():
        assert target_layer(model.eval(), images()).layer_name == "blocks.1.relu"
