"""Base of path and noise methods: gradients at many points per image, accumulated one by one."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from ..models.gradients import input_gradients
from .gradient import GradientMethod

Tag = TypeVar("Tag")

# As many as their streams have room for.
MOST_SAMPLES = 1 << 22


class SampledGradientMethod(GradientMethod):
    """A gradient method that visits several points per image. Subclasses implement `_attribution` for a slice of images.

    Points of all images of a slice go through the model together, at most max_batch per forward, and every target of an image
    shares them. They are reduced one by one in their own order, so memory does not grow with their number, and the batch does
    not change the order of a sum.
    """

    def _explain(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        parts = self._slices(inputs, classes, sample_ids)
        return torch.cat([self._reduced(self._attribution(*part)) for part in parts])

    def _slices(self, *batch: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """The tensors (N, ...) of a batch, max_batch images at a time."""
        return zip(*(torch.split(values, self.max_batch) for values in batch), strict=True)

    @abstractmethod
    def _attribution(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        """(n, T, C, H, W), channels not reduced, of at most max_batch images."""

    def _gradients_at(self, points: Iterable[tuple[Tag, Tensor]], classes: Tensor) -> Iterator[tuple[Tag, Tensor, Tensor]]:
        """For each (tag, point (n, C, H, W)), in their order: the tag, scores (n, T) and gradients (n, T, C, H, W) there."""
        together, remaining = max(self.max_batch // len(classes), 1), iter(points)
        while group := list(islice(remaining, together)):
            yield from self._visit(group, classes)

    def _visit(self, group: Sequence[tuple[Tag, Tensor]], classes: Tensor) -> Iterator[tuple[Tag, Tensor, Tensor]]:
        """One forward for the group; its gradients are let go before those of the next."""
        visited, requested = torch.cat([point for _, point in group]), classes.repeat(len(group), 1)
        scores, gradients = input_gradients(type(self).__name__, self.model, visited, requested, self.score)
        tags = (tag for tag, _ in group)
        yield from zip(tags, torch.split(scores, len(classes)), torch.split(gradients, len(classes)), strict=True)
