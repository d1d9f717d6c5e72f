"""The parts of RISE: masks as bits and shifts, their sums without masks, the estimate of the noise."""

import math

import pytest
import torch

from saliency_ext.attribution._adaptive_budget import group_of
from saliency_ext.attribution._rise_estimators import WEIGHTINGS, MapEstimator
from saliency_ext.attribution._rise_masks import MaskSampler, MaskSums, upsampling
from saliency_ext.reference import grid_weights


def sampler(grid=(3, 4), size=(10, 13), keep=0.5, seed=0, sampling="random"):
    return MaskSampler(grid, size, keep, seed, sampling)


def masks_of(grids, shifts, size, border):
    """Masks (n, H, W) float64: torch's own upsampling for "clamp", scikit-image's for "mirror"."""
    rows, columns = grids.shape[1:]
    big = (rows + 1) * math.ceil(size[0] / rows), (columns + 1) * math.ceil(size[1] / columns)
    if border == "clamp":
        up = torch.nn.functional.interpolate(grids[:, None].double(), big, mode="bilinear", align_corners=False)[:, 0]
    else:
        transform = pytest.importorskip("skimage.transform")
        resized = [transform.resize(g.double().numpy(), big, order=1, mode="reflect", anti_aliasing=False) for g in grids]
        up = torch.stack([torch.from_numpy(mask) for mask in resized])
    return torch.stack([m[y : y + size[0], x : x + size[1]] for m, (y, x) in zip(up, shifts.tolist(), strict=True)])


@pytest.mark.parametrize("sampling", ["random", "antithetic", "sobol"])
def test_mask_i_does_not_depend_on_how_many_are_drawn(sampling):
    many, few = sampler(sampling=sampling).draw(2500), sampler(sampling=sampling).draw(77)
    assert all(torch.equal(a[:77], b) for a, b in zip(many, few, strict=True))
    other = sampler(sampling=sampling, seed=1).draw(77)
    assert not torch.equal(other[0], few[0]) and not torch.equal(other[1], few[1])


@pytest.mark.parametrize("sampling", ["random", "antithetic", "sobol"])
@pytest.mark.parametrize("keep", [0.5, 0.1, 1.0])
def test_bits_and_shifts_have_the_stated_frequencies(sampling, keep):
    grids, shifts = sampler(keep=keep, sampling=sampling).draw(4096)
    assert grids.dtype == torch.bool and grids.shape == (4096, 3, 4) and shifts.shape == (4096, 2)
    assert (grids.double().mean(0) - keep).abs().max() <= 4 * (keep * (1 - keep) / 4096) ** 0.5
    for axis, cell in enumerate((4, 4)):  # ceil(10 / 3), ceil(13 / 4)
        counts = torch.bincount(shifts[:, axis], minlength=cell)
        assert len(counts) == cell and (counts - 4096 / cell).abs().max() < 4 * (4096 / cell) ** 0.5
    pairs = shifts[:, 0] * 4 + shifts[:, 1]
    assert len(pairs.unique()) == 16  # the axes are drawn apart


def test_antithetic_pairs_share_the_shift_and_add_up_to_one():
    grids, shifts = sampler(sampling="antithetic").draw(2050)
    assert torch.equal(grids[::2], ~grids[1::2]) and torch.equal(shifts[::2], shifts[1::2])
    rare, _ = sampler(sampling="antithetic", keep=0.1).draw(2050)
    assert not (rare[::2] & rare[1::2]).any() and rare[1::2].double().mean() == pytest.approx(0.1, abs=0.01)


def test_bits_of_neighbouring_cells_and_masks_are_independent():
    bits = sampler().draw(8192)[0].flatten(1).double() * 2 - 1
    assert (bits.T @ bits / 8192 - torch.eye(12)).abs().max() < 5 / 8192**0.5
    assert (bits[:-1] * bits[1:]).mean(0).abs().max() < 5 / 8192**0.5


def test_a_grid_too_fine_for_sobol_is_refused():
    with pytest.raises(
        ValueError, match="RISE: expected grid of at most 21199 cells with sampling='sobol', got 22500 cells; use"
    ):
        sampler(grid=(150, 150), size=(300, 300), sampling="sobol").draw(1)


@pytest.mark.parametrize("border", ["mirror", "clamp"])
@pytest.mark.parametrize(
    ("grid", "size"),
    [((7, 7), (28, 28)), ((3, 5), (20, 33)), ((4, 3), (5, 17)), ((1, 6), (9, 12)), ((2, 2), (1, 8)), ((5, 4), (3, 4))],
)
def test_sums_are_those_of_the_masks(border, grid, size):
    grids, shifts = sampler(grid=grid, size=size).draw(60)
    masks = masks_of(grids, shifts, size, border)
    values = torch.randn(60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sums = MaskSums(grids, shifts, size, border)
    expected = torch.einsum("i,ihw->hw", values, masks)
    torch.testing.assert_close(sums.maps(sums.cores(values))[0], expected, rtol=0, atol=1e-9)
    part = torch.einsum("i,ihw->hw", values[:37], masks[:37])
    torch.testing.assert_close(sums.maps(sums.cores(values[:37]), every=3)[0], part[::3, ::3], rtol=0, atol=1e-9)
    for group, core in enumerate(sums.cores(values[:37], groups=5)):
        chosen = group_of(37, 5) == group
        own = torch.einsum("i,ihw->hw", values[:37][chosen], masks[:37][chosen])
        torch.testing.assert_close(sums.maps(core[None])[0], own, rtol=0, atol=1e-9)


def test_sums_are_those_of_the_rendered_masks_within_float32():
    grids, shifts = sampler(grid=(7, 7), size=(224, 224)).draw(20)
    rendered = grid_weights(grids, shifts, 224, 224, mirror=True).double()
    sums = MaskSums(grids, shifts, (224, 224), "mirror")
    torch.testing.assert_close(sums.maps(sums.cores(torch.ones(20).double()))[0], rendered.sum(0), rtol=0, atol=1e-4)


def test_upsampling_by_hand():
    # 2 cells over 4 pixels: 3 cells of 2 pixels are read at (pixel + shift + 1/2) / 3 - 1/2 = -1/3, 0, 1/3, 2/3, 1.
    third = 1 / 3
    clamp = [[1, 0, 1, 0], [1, 0, 2 * third, third], [2 * third, third, third, 2 * third], [third, 2 * third, 0, 1]]
    torch.testing.assert_close(upsampling(2, 4, "clamp"), torch.tensor(clamp, dtype=torch.float64))
    mirror = torch.tensor(clamp, dtype=torch.float64)
    mirror[0, :2] = torch.tensor([2 * third, third])
    torch.testing.assert_close(upsampling(2, 4, "mirror"), mirror)
    assert torch.equal(upsampling(1, 3, "mirror"), torch.ones(3, 3, dtype=torch.float64))


def test_groups_are_runs_of_like_length_that_part_no_pair():
    for count, groups in ((64, 8), (65, 8), (37, 5), (10, 5), (9, 4)):
        group = group_of(count, groups)
        assert len(group) == count and group[0] == 0 and group[-1] == groups - 1
        assert (group.diff() >= 0).all() and (group.diff() <= 1).all()
        assert torch.equal(group[: count // 2 * 2 : 2], group[1::2])
        sizes = torch.bincount(group)
        assert sizes.max() - sizes.min() <= 3


def estimator(weighting, grids, shifts, size=(10, 13)):
    return MapEstimator(MaskSums(grids, shifts, size, "mirror"), weighting, 0.5)


def naive_map(scores, masks, weighting):
    """The four weightings, from stored masks."""
    if weighting in ("plain", "mean"):
        return torch.einsum("i,ihw->hw", scores, masks) / (len(scores) * (0.5 if weighting == "plain" else 1.0))
    values = scores if weighting == "coverage" else scores - scores.mean()
    return torch.einsum("i,ihw->hw", values, masks) / masks.sum(0)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_map_and_jackknife_are_the_naive_ones(weighting):
    grids, shifts = sampler().draw(40)
    masks = masks_of(grids, shifts, (10, 13), "mirror")
    scores = torch.rand(40, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ours = estimator(weighting, grids, shifts)
    torch.testing.assert_close(ours.map(scores), naive_map(scores, masks, weighting), rtol=0, atol=1e-9)
    torch.testing.assert_close(ours.map(scores[:31]), naive_map(scores[:31], masks[:31], weighting), rtol=0, atol=1e-9)
    group = group_of(40, 6)
    without = torch.stack([naive_map(scores[group != k], masks[group != k], weighting) for k in range(6)])
    expected = ((without - without.mean(0)).square().sum(0) * 5 / 6).sqrt()
    torch.testing.assert_close(ours.standard_error(scores, 6), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(ours.standard_error(scores, 6, every=2), expected[::2, ::2], rtol=0, atol=1e-9)
    noise = expected[::2, ::2].square().mean().sqrt() / ours.map(scores)[::2, ::2].std(unbiased=False)
    assert ours.relative_noise(scores, 6, every=2) == pytest.approx(float(noise), rel=1e-9)


def test_equal_scores_give_an_exactly_flat_map_without_noise():
    grids, shifts = sampler().draw(50)
    scores = torch.full((50,), 0.1, dtype=torch.float64)
    assert (estimator("coverage", grids, shifts).map(scores) == 0.1).all()
    assert (estimator("centred", grids, shifts).map(scores) == 0.0).all()
    assert (estimator("coverage", grids, shifts).standard_error(scores, 5) == 0).all()
    assert estimator("centred", grids, shifts).relative_noise(scores, 5) == 0.0
    assert estimator("plain", grids, shifts).map(scores).std() > 0.001  # coverage noise


def test_pixels_that_no_mask_shows():
    grids, shifts = torch.zeros(2, 4, 4, dtype=torch.bool), torch.zeros(2, 2, dtype=torch.int64)
    grids[:, 0, 0] = True
    scores, size = torch.tensor([1.0, 3.0], dtype=torch.float64), (16, 16)
    assert estimator("plain", grids, shifts, size).map(scores)[-1, -1] == 0
    assert estimator("coverage", grids, shifts, size).map(scores)[-1, -1] == 2
    assert estimator("centred", grids, shifts, size).map(scores)[-1, -1] == 0
