"""`pairwise_similarity` of 20 maps of 200 images against scikit-image and scipy pair by pair."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from saliency_ext.comparison import pairwise_similarity

from .common import Baseline, Case, Setup, Task, optional_import

_SIDE = 64
_SAMPLE = 4  # images that the baseline is run on: all would take minutes
_SECONDS, _CORES = 5.0, 2  # aimed for, for all pairs under all measures


def cases(setup: Setup) -> list[Case]:
    """All measures at once, then the costly ones, against libraries on a few images."""
    if setup.device != "cpu":  # computed on the host whatever the device
        return []
    maps, images = setup.size(20, 20, 4), setup.size(200, 200, 8)
    name = f"{maps} maps x {images} images, 64 x 64"
    regime = "all pairs, noise floor of one map, chance"
    return [
        Case("pairwise_similarity", f"{name}, all measures", regime, _everything(setup, maps, images), main=True),
        *(
            Case(
                "pairwise_similarity",
                f"{maps} maps x {_SAMPLE} images, 64 x 64, {measure}",
                "all pairs",
                _one(setup, maps, measure),
            )
            for measure in ("ssim", "hog")
        ),
    ]


def _maps(setup: Setup, maps: int, images: int) -> dict[str, Tensor]:
    return {f"map {index}": setup.normal(images, _SIDE, _SIDE, seed=index) for index in range(maps)}


def _everything(setup: Setup, count: int, images: int) -> Callable[[], Task]:
    def prepare() -> Task:
        maps = _maps(setup, count, images)
        again = {"map 0": maps["map 1"]}
        name = f"an aim: {_SECONDS:g} s on two cores, {_SECONDS * _CORES:g} s of one thread"
        note = "no other library computes all of these"
        whole = Baseline(name, None, target=1.0, tolerance=None, note=note, cpu_budget=_SECONDS * _CORES)
        return _task(lambda: pairwise_similarity(maps, again=again), maps, ("ssim", "hog"), [whole])

    return prepare


def _one(setup: Setup, count: int, measure: str) -> Callable[[], Task]:
    def prepare() -> Task:
        maps = _maps(setup, count, _SAMPLE)
        note = "pair by pair, one thread; ours besides makes the pairs of each image with the next"
        theirs = Baseline(f"scikit-image, {measure}", lambda: _theirs(maps, measure), tolerance=None, note=note)
        return _task(lambda: pairwise_similarity(maps, measures=[measure]), maps, (measure,), [theirs])

    return prepare


def _task(ours: Callable[[], object], maps: dict[str, Tensor], measures: tuple[str, ...], baselines: list[Baseline]) -> Task:
    def check(result: object) -> float:
        found = result.values  # type: ignore[attr-defined]
        return max(float((found[name][:, :, :_SAMPLE] - _theirs(maps, name)).abs().max()) for name in measures)

    values = sum(value.numel() for value in maps.values())
    formula = "maps * images * 64 * 64 * 4 read; bound by operations, not by memory"
    return Task(ours, baselines, values * 4, formula, check, 1e-6)


def _theirs(maps: dict[str, Tensor], measure: str) -> Tensor:
    """(M, M, few images) from scikit-image, image by image and pair by pair."""
    feature, _ = optional_import("skimage.feature")
    metrics, _ = optional_import("skimage.metrics")
    result = torch.ones(len(maps), len(maps), _SAMPLE, dtype=torch.float64)
    for image in range(_SAMPLE):
        scaled = [_scaled(values[image]) for values in maps.values()]
        rows = [feature.hog(values, 9, (8, 8), (3, 3)) for values in scaled] if measure == "hog" else scaled
        for i, j in combinations(range(len(maps)), 2):
            if measure == "hog":
                value = np.corrcoef(rows[i], rows[j])[0, 1]
            else:
                value = metrics.structural_similarity(rows[i], rows[j], data_range=1.0, win_size=7)
            result[i, j, image] = result[j, i, image] = float(value)
    return result


def _scaled(values: Tensor) -> np.ndarray:
    pixels = values.double().numpy()
    return (pixels - pixels.min()) / (pixels.max() - pixels.min())
