"""Coalitions per image: rendered as the naive masks, named by what is kept, and no more."""

import pytest
import torch

from saliency_ext.infill import Constant
from saliency_ext.perturbation import Engine, Plan
from saliency_ext.perturbation.coalitions import CoalitionMasks
from saliency_ext.perturbation.masks import ALL_KEPT, NONE_KEPT

SEGMENTS = torch.tensor([[[0, 1, 2], [0, 1, 2]], [[0, 0, 0], [1, 1, 1]]])  # three segments, and two


def bits(*rows):
    return torch.tensor(rows) > 0


COALITIONS = bits(
    [[1, 1, 1], [1, 0, 1], [0, 0, 0], [1, 0, 0], [0, 0, 0]],
    [[1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]],
)


def test_keys_know_only_segments_that_are_there():
    keys = CoalitionMasks(SEGMENTS, COALITIONS).keys
    assert keys[0] == ALL_KEPT and keys[2] == NONE_KEPT == keys[4] and len(set(keys)) == 4
    flipped = COALITIONS.clone()
    flipped[1, :, 2] ^= True  # the second image has no segment 2
    assert CoalitionMasks(SEGMENTS.int(), flipped).keys == keys
    flipped[0, 1, 1] ^= True
    assert CoalitionMasks(SEGMENTS, flipped).keys[1] != keys[1]
    assert CoalitionMasks(1 - SEGMENTS.clamp(max=1), COALITIONS).keys[1] != keys[1]


def test_uncovered_pixels_forbid_the_key_of_the_empty_mask():
    segments = SEGMENTS.clone()
    segments[0, 0, 0] = -1
    keys = CoalitionMasks(segments, COALITIONS).keys
    assert keys[0] == ALL_KEPT and keys[2] != NONE_KEPT and keys[2] == keys[4]


def test_renders_the_kept_segments_of_every_slice():
    segments = SEGMENTS.clone()
    segments[0, 0, 0] = -1
    inputs, infill = torch.rand(2, 3, 2, 3) + 1, torch.zeros(1, 1, 1, 1)
    masks = CoalitionMasks(segments, COALITIONS)
    for images in (slice(0, 2), slice(1, 2), slice(0, 1)):
        steps = [3, 1, 0]
        out = torch.empty(3, *inputs[images].shape)
        masks.render(inputs[images], infill, steps, images, out)
        for place, step in enumerate(steps):
            for row, n in enumerate(range(2)[images]):
                kept = torch.tensor([[label < 0 or bool(COALITIONS[n, step, label]) for label in line] for line in segments[n]])
                assert torch.equal(out[place, row], inputs[n] * kept)


def test_equal_masks_of_two_families_are_asked_once():
    inputs, plan = torch.rand(2, 1, 2, 3), Plan()
    first = plan.request(CoalitionMasks(SEGMENTS, COALITIONS), Constant(0.0))
    second = plan.request(CoalitionMasks(SEGMENTS.clone(), COALITIONS[:, [1, 3]]), Constant(0.0))
    assert len(plan) == 4 and second[0] == [first[0][1], first[0][3]]
    outputs = Engine(lambda x: x.flatten(1), max_batch=3).run(plan, inputs, torch.tensor([[4], [4]]))
    expected = inputs.flatten(1)[:, 4, None] * torch.tensor([[1, 0, 0, 0, 0], [1, 1, 0, 1, 0]])
    torch.testing.assert_close(outputs.score(first[0], "logit").float(), expected)


def test_sizes_at_the_edge():
    assert CoalitionMasks(SEGMENTS[:0], COALITIONS[:0]).keys == [ALL_KEPT] * 5
    assert CoalitionMasks(SEGMENTS, COALITIONS[:, :0]).keys == []


def test_errors_name_the_argument():
    with pytest.raises(TypeError, match="CoalitionMasks: expected coalitions of dtype bool, got float32"):
        CoalitionMasks(SEGMENTS, COALITIONS.float())
    with pytest.raises(ValueError, match=r"CoalitionMasks: expected coalitions of shape \(N, S, K\), got \(5, 3\)"):
        CoalitionMasks(SEGMENTS, COALITIONS[0])
    with pytest.raises(
        ValueError, match=r"CoalitionMasks: expected coalitions of shape \(N, S, K\) = \(2, 5, 3\), got \(1, 5, 3\)"
    ):
        CoalitionMasks(SEGMENTS, COALITIONS[:1])
    with pytest.raises(TypeError, match="CoalitionMasks: expected segments of dtype int64 or int32, got float32"):
        CoalitionMasks(SEGMENTS.float(), COALITIONS)
