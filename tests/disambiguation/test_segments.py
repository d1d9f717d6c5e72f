"""Partitions: exact atoms, bounded numbers, nothing lost."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saliency_ext.disambiguation import mask_partition, partition
from saliency_ext.segmentation import felzenszwalb, grid, quickshift, slic


def boxes(seed: int, count: int, side: int = 24) -> torch.Tensor:
    """(count, side, side) bool: rectangles anywhere, so they overlap."""
    corners = torch.randint(0, side, (count, 2, 2), generator=torch.Generator().manual_seed(seed)).sort(1).values
    at = torch.arange(side)
    inside = (at >= corners[:, 0, :, None]) & (at <= corners[:, 1, :, None])
    return inside[:, 0, :, None] & inside[:, 1, None, :]


@given(st.integers(0, 10**6), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_atoms_are_the_sets_of_pixels_in_the_same_masks(seed, count):
    masks = boxes(seed, count)
    result = mask_partition(masks[None], max_segments=10**6).labels[0]
    patterns = [tuple(row) for row in masks.flatten(1).T.tolist()]
    together = {(pattern, label) for pattern, label in zip(patterns, result.flatten().tolist(), strict=True)}
    assert len(together) == len({p for p, _ in together}) == len({k for _, k in together})  # one to one
    assert sorted({k for _, k in together}) == list(range(len(together)))
    for mask in masks:  # a union of atoms
        assert not set(result[mask].tolist()) & set(result[~mask].tolist())
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(mask_partition(masks[order][None], max_segments=10**6).labels[0], result)


def test_too_many_atoms_drop_the_smallest_masks_first():
    masks = boxes(3, 40)
    result = mask_partition(masks[None], max_segments=30)
    assert int(result.counts) <= 30 and result.merged[0] > 0
    areas = masks.flatten(1).sum(1)
    stays = areas > areas.sort().values[result.merged[0] - 1]
    assert int(stays.sum()) == 40 - result.merged[0]
    for mask in masks[stays]:
        assert not set(result.labels[0][mask].tolist()) & set(result.labels[0][~mask].tolist())
    one_more = areas >= areas[~stays].max()
    assert int(mask_partition(masks[one_more][None], max_segments=10**6).counts) > 30, "no mask was dropped without need"
    assert torch.equal(mask_partition(masks.flip(0)[None], max_segments=30).labels, result.labels)


def test_a_hundred_thousand_segments_are_merged_into_the_largest():
    labels = torch.arange(320 * 320).view(1, 320, 320)
    labels[0, :40, :40] = 0
    labels[0, 200:230, 200:230] = 10**9  # a gap
    result = partition(torch.zeros(1, 1, 320, 320), labels, max_segments=2)
    assert result.counts.tolist() == [2] and result.spared == (0,) and result.merged[0] > 99_000
    assert result.labels[0, 20, 20] == 0 and result.labels[0, 210, 210] == 1
    assert result.labels[0, 50, 50] == 0 and result.labels[0, 319, 319] == 1, "each pixel joins the nearest"


def test_small_segments_are_never_removed_and_counted():
    labels = torch.tensor([[[0, 0, 0, 5, 9, 9]]])
    result = partition(torch.zeros(1, 1, 1, 6), labels, min_pixels=2)
    assert result.labels.tolist() == [[[0, 0, 0, -1, 1, 1]]] and result.spared == (1,)
    kept = partition(torch.zeros(1, 1, 1, 6), labels, min_pixels=1)
    assert kept.labels.tolist() == [[[0, 0, 0, 1, 2, 2]]] and kept.spared == (0,)


def test_given_labels_with_none():
    result = partition(torch.zeros(1, 1, 1, 3), torch.full((1, 1, 3), -1))
    assert result.counts.tolist() == [0] and result.spared == (3,)


@pytest.mark.parametrize("segmenter", [partial(grid, cells=4), partial(slic, segments=9), felzenszwalb, quickshift])
def test_segmenters_of_the_library(segmenter):
    image = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    result = partition(image, segmenter, max_segments=12)
    assert result.labels.shape == (2, 24, 24) and int(result.labels.min()) == 0
    for labels, count in zip(result.labels, result.counts.tolist(), strict=True):
        assert sorted(set(labels.flatten().tolist())) == list(range(count)) and count <= 12
    assert torch.equal(partition(image[1:], segmenter, max_segments=12).labels[0], result.labels[1]), "whatever its batch mates"


def test_refusals():
    image = torch.zeros(1, 1, 4, 4)
    with pytest.raises(TypeError, match="partition: expected segmenter to be a function of inputs, or labels, got int"):
        partition(image, 3)
    with pytest.raises(ValueError, match=r"partition: expected the segmenter's labels of shape \(N, H, W\) = \(1, 4, 4\)"):
        partition(image, torch.zeros(1, 2, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"partition: expected max_segments in \[1, "):
        partition(image, partial(grid, cells=2), max_segments=0)
    with pytest.raises(TypeError, match="mask_partition: expected masks of dtype bool, got float32; compare with a threshold"):
        mask_partition(torch.zeros(1, 2, 4, 4))
    with pytest.raises(ValueError, match=r"mask_partition: expected min_pixels in \[1, "):
        mask_partition(torch.zeros(1, 2, 4, 4) > 0, min_pixels=0)
