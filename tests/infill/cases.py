"""One of each infill, and images to fill."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from saliency_ext.infill import (
    BaseInfill,
    Blur,
    Constant,
    DatasetMean,
    GaussianNoise,
    Harmonic,
    ImageExtreme,
    ImageMean,
    NoisyLinear,
    OtherImage,
    RiseBlur,
    Shuffle,
    UniformNoise,
)
from tests.backends import generator

SHAPE = (3, 9, 7)
IDS = [5, 2**47, 0, 5]


def reference_images(images: int = 6, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.randn(images, *shape, generator=generator("layout"))


def images(count: int = 4, shape: tuple[int, ...] = SHAPE, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, *shape, generator=generator(), dtype=dtype)


def ids(count: int = 4) -> Tensor:
    return torch.tensor(IDS[:count], dtype=torch.int64)


# Name -> infill for images of a shape (C, H, W).
FIXED: dict[str, Callable[..., BaseInfill]] = {
    "constant": lambda shape=SHAPE: Constant(torch.linspace(-1, 1, shape[0])),
    "dataset_mean": lambda shape=SHAPE: DatasetMean(),
    "image_mean": lambda shape=SHAPE: ImageMean(),
    "image_extreme": lambda shape=SHAPE: ImageExtreme("min"),
    "blur": lambda shape=SHAPE: Blur(1.5),
    "rise_blur": lambda shape=SHAPE: RiseBlur(),
}
# ... with a seed and a number of draws.
RANDOM: dict[str, Callable[..., BaseInfill]] = {
    "uniform_noise": lambda shape=SHAPE, seed=3, draws=1: UniformNoise(-1.0, [2.0] * shape[0], seed, draws),
    "gaussian_noise": lambda shape=SHAPE, seed=3, draws=1: GaussianNoise(0.5, [0.25] * shape[0], seed, draws),
    "other_image": lambda shape=SHAPE, seed=3, draws=1: OtherImage(reference_images(2000, shape), seed, draws),
    "shuffle": lambda shape=SHAPE, seed=3, draws=1: Shuffle(seed, draws),
}
# Those that must see the mask; what they fill without one is an image of which everything is removed.
IMPUTED: dict[str, Callable[..., BaseInfill]] = {
    "noisy_linear": lambda shape=SHAPE: NoisyLinear([0.02] * shape[0], 3),
    "harmonic": lambda shape=SHAPE: Harmonic(),
}
ALL = FIXED | RANDOM | IMPUTED
