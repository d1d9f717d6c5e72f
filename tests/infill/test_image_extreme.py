"""ImageExtreme: one value per image over all channels, which removal does not change."""

import pytest
import torch

from saliency_ext.infill.image_extreme import ImageExtreme
from saliency_ext.ops import blend_rank, rank
from tests.backends import same_bits
from tests.infill.cases import ids, images


def test_is_the_extreme_over_channels_and_pixels():
    inputs = images()
    for which, result in (("min", inputs.flatten(1).min(1).values), ("max", inputs.flatten(1).max(1).values)):
        filled = ImageExtreme(which).fill(inputs, ids())
        assert filled.shape == (4, 1, 1, 1) and torch.equal(filled.flatten(), result), which
        same_bits(ImageExtreme(which).fill(inputs.to(memory_format=torch.channels_last), ids()), filled)
        same_bits(ImageExtreme(which).fill(inputs[2:3], ids()[2:3]), filled[2:3])


def test_follows_what_was_removed_by_not_moving():
    inputs = images()
    for which in ("min", "max"):
        infill = ImageExtreme(which).fill(inputs, ids())
        masked = blend_rank(inputs, infill.expand_as(inputs), rank(inputs.sum(1)), [20], keep="tail")[0]
        same_bits(ImageExtreme(which).fill(masked, ids()), infill)


def test_identity_empty_batch_and_refusal():
    assert ImageExtreme("min").key != ImageExtreme("max").key and ImageExtreme("min") == ImageExtreme("min")
    assert ImageExtreme("min").parameters == {"which": "min"}
    assert ImageExtreme("min").fill(torch.zeros(0, 3, 4, 4), torch.arange(0)).shape == (0, 1, 1, 1)
    with pytest.raises(ValueError, match="ImageExtreme: expected which to be one of 'min', 'max', got 'black'"):
        ImageExtreme("black")
