"""The three methods that optimise a mask, small enough for tests, and models whose best mask is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from saliency_ext.attribution import ExtremalPerturbation, IntrinsicMask, MaskMethod, MeaningfulPerturbation
from saliency_ext.infill import Constant
from tests.backends import generator

SHAPE = (3, 12, 10)


def make_reference_images(images: int = 5, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(images, *shape, generator=generator("rows"))


def patch_model(inputs: Tensor) -> Tensor:
    """Three logits, each the mean of another patch of 4 x 4; element by element, so its bits do not depend on the batch."""
    patches = (inputs[..., :4, :4], inputs[..., 4:8, 5:9], inputs[..., 8:, :4])
    return 4 * torch.stack([patch.mean((1, 2, 3)) for patch in patches], 1)


PATCHES = ((slice(0, 4), slice(0, 4)), (slice(4, 8), slice(5, 9)), (slice(8, 12), slice(0, 4)))


def intrinsic(model: Any = patch_model, **options: Any) -> IntrinsicMask:
    return IntrinsicMask(model, make_reference_images(), **({"steps": 40, "infills": 2, "variation": 1.0, "area": 0.3} | options))


def meaningful(model: Any = patch_model, **options: Any) -> MeaningfulPerturbation:
    plain = {"steps": 40, "scale": 2, "blur": 0.5, "jitter": 1, "area": 0.2}
    return MeaningfulPerturbation(model, Constant(0.0), **(plain | options))


def extremal(model: Any = patch_model, **options: Any) -> ExtremalPerturbation:
    return ExtremalPerturbation(model, **({"steps": 40, "grid": 2, "sigma": 2.0, "largest_blur": 3.0, "levels": 4} | options))


METHODS: dict[str, Callable[..., MaskMethod]] = {"intrinsic": intrinsic, "meaningful": meaningful, "extremal": extremal}
