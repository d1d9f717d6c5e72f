"""Some of the images, with all that belongs to them, and the random order in which they are taken."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..models.targets import Target
from ..ops import philox_uniform
from ..rng_streams import IMAGE_DRAWS
from .maps import TargetMaps


def random_draws(sample_ids: Tensor, seed: int) -> Tensor:
    """(N,) int64, places drawn with replacement: N looks at N images, the t-th keyed by (seed, t)."""
    count = len(sample_ids)
    observations = torch.arange(count, device=sample_ids.device)
    places = philox_uniform((1, 1, 1), observations, seed=seed, stream=IMAGE_DRAWS).flatten().double()
    return (places * count).long().clamp(max=max(count - 1, 0))


def earlier_looks(order: Tensor) -> Tensor:
    """(N,) int64 on the host, how often the image of each look was looked at before.

    Example:
        >>> earlier_looks(torch.tensor([4, 0, 4, 4])).tolist()
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


def picked_options(evaluation: Mapping[str, Any], picks: Tensor) -> dict[str, Any]:
    """The options of `evaluate`, of which the truth is per image."""
    truth = evaluation.get("truth")
    return {**evaluation, **({"truth": truth[picks.to(truth.device)]} if isinstance(truth, Tensor) else {})}


def picked_map(given: Any, picks: Tensor) -> Any:
    """The maps of the picked images; a method is asked for them."""
    if isinstance(given, Tensor):
        return given[picks.to(given.device)]
    if isinstance(given, TargetMaps):
        labels = given.labels if given.labels.ndim == 1 else given.labels[picks.to(given.labels.device)]
        return TargetMaps(given.maps[picks.to(given.maps.device)], labels)
    return given
