"""What is measured of a library's own processor: size, order and scale of its channels, or why no spec can describe it."""

import numpy as np
import pytest
import torch
from PIL import Image

from saliency_ext.integrations._loaded_model import Processor, at_side, measured, renormalised
from saliency_ext.models import PreprocessSpec

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))


def pixels(picture, side=8):
    """(3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(picture.resize((side, side)))).movedim(-1, 0) / 255


def normalise(picture):
    return (pixels(picture) - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.2, 0.5]).view(3, 1, 1)


def grey(picture):
    return pixels(picture.convert("L").convert("RGB"))[:1] * 255


@pytest.mark.parametrize(
    ("run", "channels", "mean", "std"),
    [
        (normalise, "RGB", (0.485, 0.456, 0.406), (0.229, 0.2, 0.5)),
        (lambda picture: normalise(picture).flip(0), "BGR", (0.406, 0.456, 0.485), (0.5, 0.2, 0.229)),
        (lambda picture: pixels(picture).numpy() * 2 - 1, "RGB", (0.5,) * 3, (0.5,) * 3),
        (grey, "L", (0.0,), (1 / 255,)),
    ],
)
def test_a_processor_is_described_by_what_it_makes(run, channels, mean, std):
    spec = measured(Processor(run), "a library")
    assert (spec.channels, spec.size, spec.source) == (channels, (8, 8), "a library")
    assert spec.mean == pytest.approx(mean, abs=1e-5) and spec.std == pytest.approx(std, rel=1e-5)
    made = torch.as_tensor(run(NOISE))
    window = spec.shown(made)
    torch.testing.assert_close(spec.inputs(window), made, rtol=1e-4, atol=1e-4)
    expected = NOISE.convert("L").convert("RGB").resize((8, 8)) if channels == "L" else NOISE.resize((8, 8))
    assert np.array_equal(window.expand(8, 8, 3).numpy(), np.array(expected)), "a picture in RGB whatever the model reads"
    assert str(spec).startswith("8 x 8 by its own processor")


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (lambda picture: torch.from_numpy(np.array(picture)).movedim(-1, 0), "inputs of one size for every picture"),
        (lambda picture: pixels(picture)[None], r"inputs \(C, H, W\) with 1 or 3 channels .* got \(1, 3, 8, 8\)"),
        (lambda picture: pixels(picture).flatten(1), "inputs .C, H, W. with 1 or 3 channels"),
        (lambda picture: pixels(picture).repeat(2, 1, 1), "inputs .C, H, W. with 1 or 3 channels"),
        (lambda picture: pixels(picture) + torch.rand(1), "the same inputs of one picture each time, got others: it draws"),
        (lambda picture: 1 - pixels(picture), "brighter inputs for brighter pixels"),
        (lambda picture: pixels(picture) ** 2, "brighter inputs for brighter pixels, in proportion"),
        (lambda picture: pixels(picture) * torch.nan, "it draws|brighter"),
        (lambda picture: pixels(picture).mean(0).expand(3, 8, 8), "one channel of the picture in each of the inputs"),
        (lambda picture: pixels(picture)[[1, 0, 2]], "one channel of the picture in each of the inputs"),
    ],
)
def test_what_no_spec_can_describe_is_refused(run, text):
    with pytest.raises(ValueError, match=f"processor: expected its result to be .*{text}"):
        measured(Processor(run), "a library")


def sized(side):
    return Processor(lambda picture: pixels(picture, side), lambda other: sized(other if other < 100 else 99))


def test_another_side_is_the_librarys_own():
    spec = measured(sized(8), "a library")
    assert at_side(spec, 12).size == (12, 12) and at_side(at_side(spec, 12), 8) == spec
    with pytest.raises(ValueError, match="one that the processor of a library can make, got 100; it makes .99, 99."):
        at_side(spec, 100)
    with pytest.raises(ValueError, match=r"at_side: expected side \(8, 8\), what the processor of a library makes, got 12"):
        at_side(measured(Processor(pixels), "a library"), 12)


def test_other_mean_and_std():
    spec = measured(Processor(normalise), "a library")
    given = renormalised(spec, (0.5, 0.4, 0.3), (0.25,) * 3)
    expected = (pixels(NOISE) - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / 0.25
    torch.testing.assert_close(given.processor(NOISE), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(given.inputs(given.shown(expected)), expected)
    by_hand = renormalised(PreprocessSpec((0.5,), (0.5,), (8, 8), range=(-1.0, 1.0)), (0.1,), (0.2,))
    assert (by_hand.mean, by_hand.std, by_hand.range, by_hand.processor) == ((0.1,), (0.2,), (0.0, 1.0), None)
