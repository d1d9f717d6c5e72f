"""What a model reads, as numbers; and foreign models as (N, C, H, W) -> logits."""

from types import SimpleNamespace

import pytest
import torch

from saliency_ext.models import Classifier, PreprocessSpec

SPEC = PreprocessSpec((0.5, 0.4, 0.3), (0.2, 0.25, 0.5), (8, 6), shorter=10)
PIXELS = torch.arange(8 * 6 * 3).remainder(256).byte().view(8, 6, 3)


def test_inputs_by_hand():
    result = SPEC.inputs(PIXELS)
    assert result.shape == (3, 8, 6) and result.dtype == torch.float32
    for channel, (mean, std) in enumerate(zip(SPEC.mean, SPEC.std, strict=True)):
        torch.testing.assert_close(result[channel], (PIXELS[:, :, channel].float() / 255 - mean) / std)
    assert torch.equal(SPEC.inputs(PIXELS.expand(2, -1, -1, -1)), result.expand(2, -1, -1, -1))
    assert torch.equal(SPEC.inputs(PIXELS.movedim(-1, 0).contiguous().movedim(0, -1)), result)
    assert SPEC.inputs(PIXELS.expand(2, -1, -1, -1)[:0]).shape == (0, 3, 8, 6)


@pytest.mark.parametrize("limits", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_shown_is_the_way_back(limits):
    spec = PreprocessSpec((0.5, 0.4, 0.3), (0.2, 0.25, 0.5), (8, 6), range=limits)
    inputs = spec.inputs(PIXELS)
    assert torch.equal(spec.shown(inputs), PIXELS)
    low, high = limits
    expected = ((low + PIXELS[0, 0, 1] / 255 * (high - low)) - 0.4) / 0.25
    torch.testing.assert_close(inputs[1, 0, 0], expected)
    assert spec.colour(0.0) == pytest.approx([(low - m) / s for m, s in zip(spec.mean, spec.std, strict=True)])
    assert spec.colour(1.0) == pytest.approx([(high - m) / s for m, s in zip(spec.mean, spec.std, strict=True)])


def test_what_cannot_be_shown_is_dark_and_what_is_too_bright_is_white():
    values = torch.tensor([torch.nan, 100.0, -100.0]).view(1, 1, 3).expand(3, 1, 3)
    assert SPEC.shown(values)[0, :, 0].tolist() == [0, 255, 0]


def test_it_says_what_it_is():
    text = "shorter side 10, middle 8 x 6 (bicubic); mean 0.5, 0.4, 0.3; std 0.2, 0.25, 0.5"
    assert str(SPEC) == f"{text} (as given)"
    other = PreprocessSpec((0.0,), (1.0,), (2, 3), range=(0.0, 255.0), interpolation="bilinear", source="me")
    assert str(other) == "resized to 2 x 3 (bilinear); mean 0; std 1 of pixels in [0, 255] (me)"


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"mean": (0.5,)}, ValueError, "expected mean one number per channel, as many as in std, got 1 beside 3"),
        ({"mean": (), "std": ()}, ValueError, "expected mean one number per channel"),
        ({"mean": (float("nan"), 0.0, 0.0)}, ValueError, "expected mean .* finite, got nan"),
        ({"std": (1.0, 0.0, 1.0)}, ValueError, "expected std > 0 and finite, got 0.0"),
        ({"std": ("a", 1.0, 1.0)}, TypeError, "expected std to be a number, got str"),
        ({"size": (8, 0)}, ValueError, "expected size in .*, got 0"),
        ({"size": (8,)}, ValueError, r"expected size \(height, width\), got \(8,\)"),
        ({"size": (8.0, 8)}, TypeError, "expected size to be an int, got float"),
        ({"shorter": 5}, ValueError, r"expected shorter in \[6, .*, got 5"),
        ({"shorter": 8.0}, TypeError, "expected shorter to be an int, got float"),
        ({"layout": "HWC"}, ValueError, "expected layout to be one of 'NCHW', 'NHWC', got 'HWC'"),
        ({"range": (1.0, 1.0)}, ValueError, r"expected range \(low, high\) with low < high, got \(1.0, 1.0\)"),
        ({"interpolation": "area"}, ValueError, "expected interpolation to be one of"),
    ],
)
def test_bad_specs(change, error, text):
    with pytest.raises(error, match=f"PreprocessSpec: {text}"):
        PreprocessSpec(**({"mean": (0.5,) * 3, "std": (0.2,) * 3, "size": (8, 6)} | change))


def test_the_shorter_side_may_be_that_of_the_size():
    assert "shorter side 6, middle 8 x 6" in str(PreprocessSpec((0.5,), (0.2,), (8, 6), shorter=6))


def test_bad_pictures():
    with pytest.raises(TypeError, match="inputs: expected pictures of dtype uint8, got float32"):
        SPEC.inputs(PIXELS.float())
    with pytest.raises(ValueError, match=r"inputs: expected pictures of shape .* C = 3, got \(3, 8, 6\); channels come last"):
        SPEC.inputs(PIXELS.movedim(-1, 0))


class Foreign(torch.nn.Module):
    """Returns an object; reads pixels from its last or first axis; one part in eval mode."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(2).eval()

    def forward(self, pixels, scale=1.0):
        return SimpleNamespace(logits=pixels.flatten(1)[:, :2] * scale)


def test_classifier():
    inputs = torch.arange(24.0).view(2, 3, 2, 2)
    model = Foreign()
    assert torch.equal(Classifier(model)(inputs), inputs.flatten(1)[:, :2])
    assert torch.equal(Classifier(model, options={"scale": 2.0})(inputs), inputs.flatten(1)[:, :2] * 2)
    assert torch.equal(Classifier(model, layout="NHWC")(inputs), inputs[:, :2, 0, 0]), "the first pixel's first two channels"
    wrapped = Classifier(model)
    assert wrapped.training and model.training and not model.norm.training, "nothing of the caller's changes"
    assert not Classifier(model.eval()).training


def test_bad_classifiers():
    with pytest.raises(TypeError, match="Classifier: expected model to be a torch.nn.Module, got function"):
        Classifier(lambda inputs: inputs)
    with pytest.raises(ValueError, match="Classifier: expected layout to be one of"):
        Classifier(Foreign(), layout="CHW")
    with pytest.raises(TypeError, match="forward: expected its result to be logits"):
        Classifier(_Other())(torch.zeros(1, 1, 1, 1))


class _Other(torch.nn.Module):
    def forward(self, inputs):
        return {"scores": inputs}
