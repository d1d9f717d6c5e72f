"""Segmentations: the partition is the one asked for, labels have no gaps, an image does not depend on its batch."""

from functools import partial

import numpy as np
import pytest
import skimage.segmentation
import torch
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

from saliency_ext.segmentation import (
    atoms,
    felzenszwalb,
    given,
    grid,
    painted,
    quickshift,
    segment_counts,
    segment_sizes,
    segment_sums,
    segmenter_name,
    segments_of,
    slic,
)

SEGMENTERS = {
    "slic": partial(slic, segments=9, compactness=5.0),
    "felzenszwalb": partial(felzenszwalb, scale=20.0, min_size=5),
    "quickshift": partial(quickshift, kernel_size=2.0, max_dist=6.0),
    "grid": partial(grid, cells=3),
}


def pictures(n=3, channels=3, size=24, seed=0):
    """Smooth random blobs."""
    noise = torch.rand(n, channels, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, size=(size, size - 4), mode="bicubic") * 3 - 1


def has_no_gaps(labels):
    return all(torch.unique(image[image >= 0]).tolist() == list(range(int(image.max()) + 1)) for image in labels)


def same_partition(a, b):
    """Whether two label tensors cut one image alike, whatever the numbers."""
    pairs = torch.unique(torch.stack([a.flatten(), b.flatten()]), dim=1)
    return pairs.shape[1] == len(torch.unique(a)) == len(torch.unique(b))


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("name", SEGMENTERS)
def test_every_segmenter_cuts_any_number_of_channels(name, channels):
    images = pictures(channels=channels)
    kept, segmenter = images.clone(), SEGMENTERS[name]
    labels = segmenter(images)
    assert labels.shape == (3, 24, 20) and labels.dtype == torch.int64 and has_no_gaps(labels)
    assert (segment_counts(labels) > 1).all() and torch.equal(images, kept)
    for n in range(3):
        assert torch.equal(segmenter(images[n : n + 1])[0], labels[n])
    for same in (images.double(), images.contiguous(memory_format=torch.channels_last), images.requires_grad_()):
        assert torch.equal(segmenter(same), labels)
    assert segmenter(images[:0]).shape == (0, 24, 20)


@pytest.mark.parametrize("name", ["slic", "felzenszwalb", "quickshift"])
def test_only_contrast_within_the_image_counts(name):
    images = (pictures().double() * 256).round() / 256  # so that scaling is exact
    assert torch.equal(SEGMENTERS[name](images * 4 - 2), SEGMENTERS[name](images))
    for constant in (torch.full((1, 3, 16, 16), 7.0), torch.zeros(1, 1, 16, 16)):
        assert has_no_gaps(SEGMENTERS[name](constant))


@pytest.mark.parametrize(("name", "color"), [("slic", 3), ("slic", 1), ("felzenszwalb", 3), ("quickshift", 3), ("quickshift", 1)])
def test_partition_is_that_of_scikit_image_on_the_scaled_image(name, color):
    image = pictures(1, color).double()
    scaled = ((image - image.min()) / (image.max() - image.min()))[0].expand(3, -1, -1).permute(1, 2, 0).numpy()
    options = {
        "slic": {"n_segments": 9, "compactness": 5.0, "start_label": 0},
        "felzenszwalb": {"scale": 20.0, "sigma": 0.8, "min_size": 5},
        "quickshift": {"kernel_size": 2, "max_dist": 6, "ratio": 0.2, "rng": 0},
    }
    expected = getattr(skimage.segmentation, name)(np.ascontiguousarray(scaled), channel_axis=-1, **options[name])
    assert same_partition(SEGMENTERS[name](image)[0], torch.from_numpy(expected.astype(np.int64)))


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ["slic", "quickshift"])
def test_colour_weighs_alike_whatever_the_channels(name, channels):
    """An edge off the grid of superpixels: followed on a scale of 100, cut through on a scale of 1."""
    image = torch.zeros(1, channels, 20, 20)
    image[..., 10:] = 1.0
    labels = SEGMENTERS[name](image)[0]
    assert not set(labels[:, :10].flatten().tolist()) & set(labels[:, 10:].flatten().tolist())


def test_quickshift_defaults_are_limes():
    image = pictures(1).double()
    scaled = ((image - image.min()) / (image.max() - image.min()))[0].permute(1, 2, 0).numpy()
    expected = skimage.segmentation.quickshift(np.ascontiguousarray(scaled), kernel_size=4, max_dist=200, ratio=0.2, rng=0)
    assert same_partition(quickshift(image)[0], torch.from_numpy(expected))


def test_single_pixels_and_empty_images():
    for segmenter in SEGMENTERS.values():
        assert segmenter(torch.zeros(2, 3, 1, 1)).tolist() == [[[0]], [[0]]]
        assert segmenter(torch.zeros(2, 3, 0, 4)).shape == (2, 0, 4)
    assert segment_counts(torch.zeros(2, 0, 4, dtype=torch.int64)).tolist() == [0, 0]


def test_grid_cells_differ_by_one_pixel_and_are_never_empty():
    labels = grid(torch.zeros(2, 1, 7, 10), (2, 4))
    assert labels[0, 0].tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3] and labels[1, 3, 0] == 0 and labels[1, 4, 9] == 7
    assert set(segment_sizes(labels, 8)[0].tolist()) == {6, 8, 9, 12}
    assert torch.equal(grid(torch.zeros(1, 1, 2, 3), 99), torch.arange(6).view(1, 2, 3))
    assert grid(torch.zeros(1, 1, 2, 3), 1).unique().tolist() == [0]


@settings(max_examples=60, deadline=None)
@examples(st.lists(st.sampled_from([-1, 0, 1, 2, 5, 11, 12, 1000, 2**62]), min_size=12, max_size=12))
def test_given_labels_are_compacted_in_order(values):
    labels = torch.tensor(values).view(2, 2, 3)
    expected = torch.empty_like(labels)
    for n, image in enumerate(labels):
        numbers = {label: k for k, label in enumerate(sorted(set(image.flatten().tolist()) - {-1}))} | {-1: -1}
        expected[n] = torch.tensor([numbers[label] for label in image.flatten().tolist()]).view(2, 3)
    result = given(labels)
    assert torch.equal(result, expected) and result.data_ptr() != labels.data_ptr()
    assert torch.equal(given(result), result)


def test_given_keeps_what_is_compact_and_accepts_int32_and_nothing():
    labels = torch.full((2, 3, 3), -1, dtype=torch.int32)
    assert given(labels).unique().tolist() == [-1] and segment_counts(given(labels)).tolist() == [0, 0]
    assert given(labels[:0]).shape == (0, 3, 3)
    compact = torch.tensor([[[0, 1], [-1, 0]]])
    assert given(compact).data_ptr() != compact.data_ptr()


@pytest.mark.parametrize("count", [1, 3, 62, 63, 130])
def test_atoms_are_the_patterns_of_membership(count):
    masks = torch.rand(2, count, 5, 6, generator=torch.Generator().manual_seed(count)) < (0.5 if count < 4 else 0.02)
    labels, without = atoms(masks), atoms(masks, uncovered="none")
    for n in range(2):
        numbers = [
            sum(int(bit) << m for m, bit in enumerate(pixel)) for pixel in masks[n].flatten(1).T.tolist()
        ]  # python's integers
        order = sorted(set(numbers))
        assert labels[n].flatten().tolist() == [order.index(number) for number in numbers]
        covered = [number for number in order if number > 0]
        assert without[n].flatten().tolist() == [covered.index(number) if number > 0 else -1 for number in numbers]


def test_atoms_of_no_masks_and_of_one_segment():
    assert atoms(torch.zeros(1, 0, 2, 2, dtype=torch.bool)).unique().tolist() == [0]
    assert atoms(torch.zeros(1, 0, 2, 2, dtype=torch.bool), uncovered="none").unique().tolist() == [-1]
    assert atoms(torch.ones(1, 3, 2, 2, dtype=torch.bool)).unique().tolist() == [0]
    assert atoms(torch.zeros(0, 3, 2, 2, dtype=torch.bool)).shape == (0, 2, 2)


def test_a_hundred_thousand_segments():
    side = 320
    every = torch.arange(side * side).view(1, side, side)
    assert int(segment_counts(given(every * 10**9))) == side * side > 10**5
    assert torch.equal(grid(torch.zeros(1, 1, side, side), side), every)
    masks = torch.stack([every >> bit & 1 for bit in range(17)], 1) > 0
    assert torch.equal(atoms(masks), every)
    values = torch.rand(1, 2, side, side, dtype=torch.float64)
    assert torch.equal(painted(segment_sums(values, every, side * side), every), values)


def test_sums_sizes_and_painting():
    labels = torch.tensor([[[0, 1, -1], [1, 1, 0]], [[0, 0, 0], [-1, -1, -1]]])
    values = torch.arange(24.0).view(2, 2, 2, 3)
    assert segment_sums(values, labels, 3).tolist() == [[[5, 8, 0], [17, 26, 0]], [[39, 0, 0], [57, 0, 0]]]
    assert segment_sizes(labels, 3).tolist() == [[2, 3, 0], [3, 0, 0]]
    assert painted(torch.tensor([[[5.0, 7.0]], [[1.0, 2.0]]]), labels).tolist() == [
        [[[5, 7, 0], [7, 7, 5]]],
        [[[1, 1, 1], [0, 0, 0]]],
    ]
    many = torch.rand(5, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    cells = grid(many, 4)
    together = segment_sums(many, cells, 16)
    assert all(torch.equal(segment_sums(many[n : n + 1], cells[:1], 16)[0], together[n]) for n in range(5))


def test_segments_of_checks_and_compacts_what_a_segmenter_says():
    images = torch.zeros(2, 1, 2, 2)
    assert segments_of("LIME", lambda x: torch.full((2, 2, 2), 9), images).unique().tolist() == [0]
    with pytest.raises(ValueError, match=r"LIME: expected the segmenter's labels of shape \(N, H, W\) = \(2, 2, 2\), got \(2, 1"):
        segments_of("LIME", lambda x: x.long(), images)
    with pytest.raises(TypeError, match="LIME: expected the segmenter's labels to be a torch.Tensor, got ndarray"):
        segments_of("LIME", lambda x: np.zeros((2, 2, 2)), images)
    assert segmenter_name(partial(slic, segments=9)) == "slic(segments=9)" and segmenter_name(grid) == "grid"
    with pytest.raises(TypeError, match="LIME: expected the segmenter's labels of dtype int64 or int32, got float32"):
        segments_of("LIME", lambda x: x[:, 0], images)


def test_errors_name_the_argument():
    images = torch.zeros(2, 3, 8, 8)
    with pytest.raises(TypeError, match="slic: expected inputs of dtype float32 or float64, got uint8"):
        slic(images.byte())
    with pytest.raises(ValueError, match=r"slic: expected inputs of shape \(N, C, H, W\), got \(3, 8, 8\)"):
        slic(images[0])
    images[1, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"felzenszwalb: expected inputs finite, got infinite or NaN in image\(s\) \[1\]"):
        felzenszwalb(images)
    with pytest.raises(ValueError, match=r"slic: expected segments in \[1, 2147483647\], got 0"):
        slic(images, segments=0)
    with pytest.raises(ValueError, match="slic: expected compactness > 0 and finite, got 0"):
        slic(images, compactness=0)
    with pytest.raises(ValueError, match="felzenszwalb: expected sigma >= 0 and finite, got -1"):
        felzenszwalb(images, sigma=-1)
    with pytest.raises(TypeError, match="felzenszwalb: expected scale to be a number, got str"):
        felzenszwalb(images, scale="1")
    with pytest.raises(ValueError, match=r"quickshift: expected ratio in \[0, 1\], got 2"):
        quickshift(images, ratio=2)
    with pytest.raises(ValueError, match="quickshift: expected kernel_size >= 1 and finite, got 0.5"):
        quickshift(images, kernel_size=0.5)
    with pytest.raises(TypeError, match="grid: expected cells to be an int, got float"):
        grid(images, 2.0)
    with pytest.raises(ValueError, match=r"given: expected labels >= -1 \(-1: no segment\), got -2"):
        given(torch.tensor([[[-2]]]))
    with pytest.raises(TypeError, match="given: expected labels of dtype int64 or int32, got bool"):
        given(torch.tensor([[[True]]]))
    with pytest.raises(TypeError, match="atoms: expected masks of dtype bool, got float32; compare with a threshold"):
        atoms(images)
    with pytest.raises(ValueError, match="atoms: expected uncovered to be 'atom' or 'none', got -1"):
        atoms(images > 0, uncovered=-1)


def test_the_default_does_not_collapse_where_the_image_varies_much():
    """Noise, a fine checkerboard, and stripes: with 25 segments and a compactness of 1, one segment is left."""
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    places = torch.arange(64)
    board = ((places[:, None] + places) % 2).float().expand(1, 3, 64, 64)
    stripes = (places % 2).float().expand(1, 3, 64, 64)
    assert int(segment_counts(slic(noise, segments=25, compactness=1.0))) == 1
    for image in (noise, board, stripes, noise[:, :1], torch.zeros(1, 3, 64, 64)):
        assert 16 <= int(segment_counts(slic(image))) <= 100
    together = torch.cat([noise, stripes, torch.zeros(1, 3, 64, 64)])
    assert torch.equal(slic(together), torch.cat([slic(image[None]) for image in together])), "each image by its own contrast"
