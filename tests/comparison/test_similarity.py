"""Similarities of maps: against scikit-image and scipy, by hand, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from skimage.feature import hog
from skimage.metrics import structural_similarity
from torch import Tensor

from saliency_ext.comparison import MEASURES, pairwise_similarity
from saliency_ext.comparison._hog import oriented_gradients
from saliency_ext.comparison._ssim import all_ssim, each_ssim


def random_maps(count: int, images: int, *size: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {f"m{i}": torch.randn(images, *size, generator=generator) for i in range(count)}


def unit(saliency: Tensor) -> np.ndarray:
    values = saliency.double().numpy()
    return (values - values.min()) / (values.max() - values.min())


def images_of(tied: bool) -> dict[str, Tensor]:
    maps = random_maps(3, 2, 40, 33)
    return {name: (values * 1.5).round() for name, values in maps.items()} if tied else maps


# ---- equal to other libraries


@pytest.mark.parametrize("window", [3, 7, 11])
@pytest.mark.parametrize("size", [(64, 64), (28, 45)])
def test_ssim_is_that_of_scikit_image(window: int, size: tuple[int, int]) -> None:
    maps = [unit(values[0]) for values in random_maps(3, 1, *size).values()]
    maps.append(np.zeros(size))  # flat parts: where the constants decide
    maps[3][4:9, 4:9] = 1.0
    stack = torch.from_numpy(np.stack(maps))
    expected = [[structural_similarity(a, b, data_range=1.0, win_size=window) for b in maps] for a in maps]
    expected = torch.tensor(expected, dtype=torch.float64)
    both = torch.stack([stack, stack.flip(0)])  # two images
    result = all_ssim(both, window)
    assert (result[0] - expected).abs().max() < 1e-9 and (result[1] - expected.flip(0, 1)).abs().max() < 1e-9
    assert (each_ssim(both, both.flip(1), window) - expected.fliplr().diagonal()).abs().max() < 1e-9


@pytest.mark.parametrize(("size", "cell"), [((64, 64), 8), ((50, 33), 8), ((24, 24), 8), ((64, 48), 16), ((20, 31), 5)])
def test_hog_is_that_of_scikit_image(size: tuple[int, int], cell: int) -> None:
    maps = [unit(values[0]) for values in random_maps(2, 1, *size).values()]
    maps.append(np.tile(np.arange(size[1]) % 7 / 6.0, (size[0], 1)))  # exact horizontal gradients: an edge between two bins
    maps.append(np.zeros(size))
    ours = oriented_gradients(torch.from_numpy(np.stack(maps)), cell)
    for own, values in zip(ours, maps, strict=True):
        theirs = hog(values, orientations=9, pixels_per_cell=(cell, cell), cells_per_block=(3, 3), block_norm="L2-Hys")
        assert np.abs(own.numpy() - theirs).max() < 1e-6  # it sums a cell in float32


@pytest.mark.parametrize("tied", [False, True], ids=["distinct", "tied"])
def test_values_are_those_of_scipy_and_scikit_image(tied: bool) -> None:
    maps = images_of(tied)
    result = pairwise_similarity(maps, measures=["spearman", "pearson", "kendall", "cosine", "hog", "ssim", "ssim_abs"])
    for i, a in enumerate(maps.values()):
        for j, b in enumerate(maps.values()):
            for n in range(2):
                x, y = a[n].double(), b[n].double()
                pooled = [torch.nn.functional.adaptive_avg_pool2d(v[None, None], 14).flatten().numpy() for v in (x, y)]
                one, other = (hog(unit(v), 9, (8, 8), (3, 3)) for v in (x, y))
                expected = {
                    "spearman": stats.spearmanr(x.flatten(), y.flatten()).statistic,
                    "pearson": np.corrcoef(x.flatten(), y.flatten())[0, 1],
                    "kendall": stats.kendalltau(*pooled).statistic,
                    "cosine": float((x * y).sum() / (x.norm() * y.norm())),
                    "hog": np.corrcoef(one, other)[0, 1],
                    "ssim": structural_similarity(unit(x), unit(y), data_range=1.0, win_size=7),
                    "ssim_abs": structural_similarity(unit(x.abs()), unit(y.abs()), data_range=1.0, win_size=7),
                }
                for measure, value in expected.items():
                    assert result.values[measure][i, j, n] == pytest.approx(value, abs=1e-6), (measure, i, j)


# ---- by hand


def test_iou_by_hand() -> None:
    """16 pixels, 25 % are 4: {0, 1, 2, 3} and {2, 3, 4, 5} share 2 of 6; ties at the edge belong in parts."""
    first, second, tied = torch.zeros(3, 1, 4, 4).unbind()
    first.view(-1)[:4] = torch.tensor([4.0, 3, 2, 1])
    second.view(-1)[2:6] = torch.tensor([4.0, 3, 2, 1])
    tied.view(-1)[:8] = 1.0  # eight pixels for four places: half of each; with the first: 4 * 1/2 of 4 + 4 - 2
    result = pairwise_similarity({"a": first, "b": second, "t": tied}, measures=["iou_25"]).values["iou_25"][:, :, 0]
    assert result[0, 1] == pytest.approx(2 / 6)
    assert result[0, 2] == pytest.approx(2 / 6)
    assert result.diagonal().tolist() == [1.0, 1.0, 1.0]
    assert torch.equal(result, result.T)


def test_centre_of_mass_by_hand() -> None:
    """All mass in one corner each, 3 and 4 pixels apart: 5 over the diagonal of a 4 x 5 map."""
    first, second = torch.zeros(1, 4, 5), torch.zeros(1, 4, 5)
    first[0, 0, 0], second[0, 3, 4] = 2.0, 7.0
    result = pairwise_similarity({"a": first - 3, "b": second}, measures=["centre_distance"])
    assert result.values["centre_distance"][0, 1, 0] == pytest.approx(5 / math.hypot(4, 5))


def test_a_map_is_like_itself_and_unlike_its_negation() -> None:
    own = random_maps(1, 2, 32, 32)["m0"]
    result = pairwise_similarity({"a": own, "b": own.clone(), "c": -own}, measures=tuple(MEASURES))
    for measure, (direction, _) in MEASURES.items():
        assert torch.allclose(result.values[measure][0, 1], torch.tensor(float(direction == "higher")).double()), measure
    for measure in ("spearman", "pearson", "kendall", "cosine"):
        assert torch.allclose(result.values[measure][0, 2], -torch.ones(2).double()), measure
    assert result.values["spearman"][0, 1].tolist() == [1.0, 1.0]  # exactly
    assert torch.allclose(result.values["ssim_abs"][0, 2], torch.ones(2).double())
    assert (result.values["ssim"][0, 2] < 0).all()


def test_ranks_do_not_feel_an_increasing_transform() -> None:
    own, other = random_maps(2, 3, 32, 32).values()
    measures = ["spearman", "iou_5", "iou_25", "pearson", "ssim"]
    result = pairwise_similarity({"a": own, "b": own.exp(), "c": other}, measures=measures)
    for measure in measures:
        same = torch.equal(result.values[measure][0, 2], result.values[measure][1, 2])
        assert same == (measure in ("spearman", "iou_5", "iou_25")), measure


# ---- references


def test_noise_floor_and_chance() -> None:
    maps, other = random_maps(3, 4, 32, 32), random_maps(3, 4, 32, 32, seed=1)
    result = pairwise_similarity(maps, again={"m2": other["m2"], "m0": maps["m0"]})
    for measure in result.values:
        pair = pairwise_similarity({"a": maps["m2"], "b": other["m2"]}, measures=[measure]).values[measure][0, 1]
        assert torch.allclose(result.noise_floor[measure][2], pair, atol=1e-12), measure
        rolled = pairwise_similarity({"a": maps["m1"], "b": maps["m1"].roll(-1, 0)}, measures=[measure]).values[measure][0, 1]
        assert torch.allclose(result.chance[measure][1], rolled, atol=1e-12), measure
        assert result.noise_floor[measure][1].isnan().all()
    assert result.noise_floor["spearman"][0].tolist() == [1.0] * 4
    assert result.reference("spearman", "noise_floor", ["m0"]).mean == 1.0
    both = (1 + float(result.noise_floor["spearman"][2].mean())) / 2
    assert result.reference("spearman", "noise_floor").mean == pytest.approx(both)
    assert abs(result.reference("spearman", "chance").mean) < 0.1


def test_summary_is_the_mean_over_pairs() -> None:
    result = pairwise_similarity(random_maps(3, 8, 16, 16), measures=["pearson"])
    summary = result.summary("pearson")
    matrix = result.matrix("pearson")
    assert summary.mean == pytest.approx(float(matrix[0, 1] + matrix[0, 2] + matrix[1, 2]) / 3)
    assert summary.low <= summary.mean <= summary.high
    assert result.summary("pearson", [("m0", "m2")]).mean == pytest.approx(float(matrix[0, 2]))


# ---- what must not matter


def test_batch_layout_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = random_maps(3, 5, 26, 29)
    whole = pairwise_similarity(maps)
    alone = pairwise_similarity({name: values[2:3] for name, values in maps.items()})
    strided = {name: values.permute(0, 2, 1).contiguous().permute(0, 2, 1) for name, values in maps.items()}
    before = {name: values.clone() for name, values in strided.items()}
    again = pairwise_similarity(strided)
    monkeypatch.setattr("saliency_ext.comparison.similarity._MAPS", 6)  # two images at a time
    parts = pairwise_similarity(maps)
    for measure in whole.values:
        assert torch.equal(whole.values[measure][:, :, 2:3], alone.values[measure]), measure
        assert torch.equal(whole.values[measure], again.values[measure]), measure
        assert torch.equal(whole.values[measure], parts.values[measure]), measure
        assert torch.equal(whole.chance[measure], parts.chance[measure]), measure
    assert all(torch.equal(values, before[name]) for name, values in strided.items())


# ---- bad input


def test_constant_and_broken_maps_have_no_value() -> None:
    maps = random_maps(3, 2, 32, 32)
    maps["m1"][0] = 0.25
    maps["m2"][1, 3, 3] = torch.inf
    result = pairwise_similarity(maps, again=dict(maps), measures=tuple(MEASURES))
    assert result.status == [["ok", "ok"], ["degenerate_map", "ok"], ["ok", "nonfinite_map"]]
    for measure in MEASURES:
        finite = result.values[measure].isfinite()
        assert not finite[1, :, 0].any() and not finite[:, 1, 0].any() and not finite[2, :, 1].any(), measure
        assert finite[0, 2, 0] and finite[0, 1, 1] and finite[0, 0].all(), measure
        assert result.noise_floor[measure].isfinite().tolist() == [[True, True], [False, True], [True, False]], measure
        assert result.chance[measure].isfinite().tolist() == [[True, True], [False, False], [False, False]], measure
    assert result.summary("pearson", [("m0", "m1")]).left_out == 1


def test_one_image_has_no_chance_and_no_interval() -> None:
    result = pairwise_similarity(random_maps(2, 1, 32, 32))
    assert result.chance["pearson"].isnan().all()
    summary = result.summary("pearson")
    assert math.isfinite(summary.mean) and math.isnan(summary.low)
    assert math.isnan(result.reference("pearson", "chance").mean)


def test_no_image_at_all() -> None:
    result = pairwise_similarity(random_maps(2, 0, 32, 32))
    assert result.values["ssim"].shape == (2, 2, 0)
    assert math.isnan(result.summary("ssim").mean)


def test_maps_of_another_size_are_refused_or_resampled() -> None:
    maps = {"a": random_maps(1, 2, 32, 32)["m0"], "b": random_maps(1, 2, 16, 16)["m0"]}
    with pytest.raises(
        ValueError, match=r"expected maps\['b'\] of shape \(N, H, W\) = \(2, 32, 32\), got \(2, 16, 16\); say res"
    ):
        pairwise_similarity(maps)
    result = pairwise_similarity(maps, resample="nearest", measures=["pearson"])
    large = maps["b"].repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.equal(result.values["pearson"], pairwise_similarity(maps | {"b": large}, measures=["pearson"]).values["pearson"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: ({"m0": m["m0"]}, {}), "expected maps at least two maps to compare, got 1"),
        (lambda m: (list(m.values()), {}), "expected maps to be a mapping of names to maps"),
        (lambda m: (m | {"m1": m["m1"][:1]}, {}), r"expected maps\['m1'\] of shape .* got \(1, 32, 32\); one map for each image"),
        (lambda m: (m | {"m1": m["m1"][:, None]}, {}), r"expected maps\['m1'\] of shape \(N, H, W\), got \(2, 1, 32, 32\)"),
        (lambda m: (m | {"m1": m["m1"].long()}, {}), r"expected maps\['m1'\] of dtype"),
        (lambda m: (m, {"again": {"x": m["m0"]}}), "expected again to name maps among m0, m1, got 'x'"),
        (lambda m: (m, {"measures": ["psnr"]}), "expected measures to be one of 'spearman'"),
        (lambda m: (m, {"resample": "cubic"}), "expected resample to be one of 'nearest'"),
        (lambda m: (m, {"window": 8}), "expected window to be odd, got 8"),
        (
            lambda m: (m, {"window": 33}),
            "expected maps of at least 33 pixels a side, for ssim, got 32 x 32; give a smaller window",
        ),
        (lambda m: (m, {"cell": 11}), "expected maps of at least 33 pixels a side, for hog, got 32 x 32; give a smaller cell"),
    ],
)
def test_refusals(change, message) -> None:
    maps, options = change(random_maps(2, 2, 32, 32))
    with pytest.raises((TypeError, ValueError), match=f"pairwise_similarity: {message}"):
        pairwise_similarity(maps, **options)
