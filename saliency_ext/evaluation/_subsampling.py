"""Subsamples of the images with what belongs to them, and random draws of images."""

from collections import Counter
from typing import Any

import torch
from torch import Tensor

from ..models.targets import Target
from ..ops import philox_uniform
from ..rng_streams import IMAGE_DRAWS
from .evaluate import EvaluateOptions
from .maps import TargetMaps


def random_draws(sample_ids: Tensor, seed: int) -> Tensor:
    """(N,) int64, indices of images drawn with replacement: N observations of N images, the t-th keyed by (seed, t)."""
    count = len(sample_ids)
    observations = torch.arange(count, device=sample_ids.device)
    places = philox_uniform((1, 1, 1), observations, seed=seed, stream=IMAGE_DRAWS).flatten().double()
    return (places * count).long().clamp(max=max(count - 1, 0))


def repetitions(order: Tensor) -> Tensor:
    """(N,) int64 on the host, how often the image of each observation was observed before.

    Example:
        >>> repetitions(torch.tensor([4, 0, 4, 4])).tolist()
        [0, 0, 1, 2]
    """
    seen: Counter[int] = Counter()
    result = []
    for place in order.tolist():
        result.append(seen[place])
        seen[place] += 1
    return torch.tensor(result, dtype=torch.int64)


def picked_target(target: Target, picks: Tensor) -> Target:
    """The target of the picked images."""
    return target[picks.to(target.device)] if isinstance(target, Tensor) else target


def picked_options(options: EvaluateOptions, picks: Tensor) -> EvaluateOptions:
    """The options of `evaluate` for the picked images: the truth masks are per image."""
    truth = options.get("truth")
    return options if truth is None else {**options, "truth": truth[picks.to(truth.device)]}


def picked_map(given: Any, picks: Tensor) -> Any:
    """The maps of the picked images; a method computes them itself."""
    if isinstance(given, Tensor):
        return given[picks.to(given.device)]
    if isinstance(given, TargetMaps):
        labels = given.labels if given.labels.ndim == 1 else given.labels[picks.to(given.labels.device)]
        return TargetMaps(given.maps[picks.to(given.maps.device)], labels)
    return given
