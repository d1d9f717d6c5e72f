"""The mosaic scene: its truth is what it says, its model answers from the pasted crop."""

import pytest
import torch

from saliency_ext.testbed import make_mosaic


@pytest.fixture(scope="module")
def scene():
    return make_mosaic()


def test_shapes_and_range(scene):
    assert scene.image.shape == (1, 3, 96, 96)
    assert scene.image.min() >= 0 and scene.image.max() <= 1
    assert scene.target.tolist() == [1]
    top, left, bottom, right = scene.box
    assert (bottom - top, right - left) == (48, 48) and top >= 0 and bottom <= 96 and left >= 0 and right <= 96


def test_model_knows_unseen_crops(scene):
    assert scene.accuracy >= 0.9


def test_answer_comes_from_the_box(scene):
    top, left, bottom, right = scene.box
    clean = scene.model(scene.image).softmax(1)[0, scene.target].item()
    without = scene.image.clone()
    without[:, :, top:bottom, left:right] = without[:, :, top:bottom, :36].repeat(1, 1, 1, 2)[..., : right - left]
    assert clean > 0.6 > 0.3 > scene.model(without).softmax(1)[0, scene.target].item()


def test_activation_map_peaks_in_the_box(scene):
    saliency = scene.model.activation_map(scene.image, scene.target)
    assert saliency.shape == (1, 96, 96)
    y, x = divmod(int(saliency.argmax()), 96)
    top, left, bottom, right = scene.box
    assert top <= y < bottom and left <= x < right


def test_same_seed_same_scene_and_model(scene):
    again = make_mosaic()
    assert torch.equal(scene.image, again.image)
    assert torch.equal(scene.model(scene.image), again.model(again.image))
    assert not torch.equal(make_mosaic(seed=1).image, scene.image)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"make_mosaic: expected subject and ground to be two of brick, .*got 'cat' and 'brick'"):
        make_mosaic("cat")
    with pytest.raises(ValueError, match="got 'brick' and 'brick'"):
        make_mosaic("brick", "brick")
