"""Base of methods on coalitions of segments: segmentation, masked inputs, and the map made of a value per segment."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import rng_streams
from ..checks import bad_type, require_integer
from ..ops import philox_uniform
from ..perturbation import Engine
from ..perturbation.coalitions import CoalitionMasks
from ..protocols import Forward, Infill
from ..segmentation import Segmenter, painted, segment_counts, segment_sizes, segments_of
from ._adaptive_budget import EVERY, GROUPS, checked_tolerance, group_of, grown, jackknife_error, relative_noise
from ._perturbation_method import PerturbationMethod

_DRAWN = 256  # samples drawn at once

_CELLS = 1 << 26  # coalitions x segments of the images evaluated together: their memory in bytes


@dataclass(frozen=True)
class Group:
    """Images with equally many segments: inputs (N, C, H, W), classes (N, T), ids (N,), labels (N, H, W) in [-1, count)."""

    inputs: Tensor
    classes: Tensor
    sample_ids: Tensor
    labels: Tensor
    count: int


class SegmentMethod(PerturbationMethod):
    """A method that gives each segment a value, and each pixel the value of its segment.

    Args:
        model: callable (B, C, H, W) -> logits (B, K).
        infill: what removed segments become.
        segmenter: inputs (N, C, H, W) to labels (N, H, W), -1 = no segment: never removed, gets 0.
        samples: coalitions evaluated per image.
        seed: of the coalitions, in [0, 2^63).
        score: "probability", "logit", "log_probability", "sigmoid" or "accuracy" of the target.
        per_pixel: divide a segment's value by its number of pixels.
        max_batch: images per forward.
        tolerance: None, or the relative noise of the values at which an image and target has enough coalitions; see
            `_adaptive_budget`.
    """

    lead = 0  # coalitions at the beginning that every fit needs

    def __init__(
        self,
        model: Forward,
        infill: Infill,
        segmenter: Segmenter,
        *,
        samples: int,
        seed: int,
        score: str,
        per_pixel: bool,
        max_batch: int,
        tolerance: float | None,
    ) -> None:
        super().__init__(model, infill, score=score, max_batch=max_batch)
        name = type(self).__name__
        if not callable(segmenter):
            remedy = "pass a function of inputs, for example saliency_ext.segmentation.slic or a partial of it"
            bad_type(name, "segmenter", "to be callable", type(segmenter).__name__, remedy)
        require_integer(name, "samples", samples, 2, 2**31 - 1)
        require_integer(name, "seed", seed, 0, 2**63 - 1)
        self.segmenter, self.samples, self.seed, self.per_pixel = segmenter, samples, seed, per_pixel
        self.tolerance = checked_tolerance(name, tolerance)

    def _explain(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        labels = segments_of(type(self).__name__, self.segmenter, inputs)
        counts, engine = segment_counts(labels), self._engine()
        values = torch.zeros(*classes.shape, int(counts.max()), dtype=torch.float64)
        for at in self._groups(counts.cpu()):
            chosen, count = at.to(inputs.device), int(counts[at[0]])
            group = Group(inputs[chosen], classes[chosen], sample_ids[chosen], labels[chosen], count)
            values[at, :, :count] = self._values(engine, group)
        if self.per_pixel:
            values = values / segment_sizes(labels, values.shape[2]).clamp(min=1)[:, None]
        return painted(values.to(inputs.device, inputs.dtype), labels)

    def _groups(self, counts: Tensor) -> Iterator[Tensor]:
        """Indices of images with equally many segments, together as many as memory allows; those with none have no value."""
        for count in sorted(set(counts.tolist())):
            if count > 0:
                together = max(1, min(self.max_batch, _CELLS // (self._coalitions(count) * count)))
                yield from torch.split((counts == count).nonzero().flatten(), together)

    def _coalitions(self, count: int) -> int:
        """About how many coalitions are evaluated for an image with this many segments."""
        return self.samples

    @abstractmethod
    def _requested(self, group: Group) -> Tensor:
        """Coalitions (N, S, count) bool; the first `lead` of an image are in every fit."""

    @abstractmethod
    def _fitted(self, coalitions: Tensor, scores: Tensor) -> Tensor:
        """Values (count, T) of one image, from coalitions (S, count) bool and scores (S, T) float64 on the host."""

    def _all_there_are(self, count: int) -> bool:
        """Whether the coalitions of so many segments are no sample: then nothing is left to chance."""
        return False

    def _values(self, engine: Engine, group: Group) -> Tensor:
        """Value of each segment (N, T, count), float64 on the host. Fitted alone, so that no sum is ordered by its batch."""
        coalitions = self._requested(group)
        host, maximum = coalitions.cpu(), coalitions.shape[1]
        tolerance = None if self._all_there_are(group.count) else self.tolerance

        def request(rows: Tensor, part: slice) -> Tensor:
            at = rows.to(coalitions.device)
            masks = CoalitionMasks(group.labels[at], coalitions[at, part])
            return self._outputs(engine, masks, group.inputs[at], group.classes[at], group.sample_ids[at])

        def noise(image: int, seen: Tensor) -> float:
            return self._relative_noise(host[image, : len(seen)], seen[:, None])

        shape = (len(coalitions), group.classes.shape[1])
        blocks = [slice(0, maximum)] if tolerance is None else self._blocks(maximum, EVERY)
        scores, used = grown(shape, maximum, tolerance, blocks, request, noise)
        if tolerance is None:
            return torch.stack([self._fitted(*image).mT for image in zip(host, scores.mT, strict=True)])
        values = [
            self._fitted(host[n, : used[n, t]], scores[n, t, : used[n, t], None])[:, 0]
            for n in range(shape[0])
            for t in range(shape[1])
        ]
        return torch.stack(values).view(*shape, group.count)

    def _relative_noise(self, coalitions: Tensor, scores: Tensor) -> float:
        """`relative_noise` of the values over segments; infinite where too few coalitions leave the fit open."""
        count, segments = coalitions.shape
        if count < 2 * segments + self.lead:
            return math.inf
        groups = torch.cat([torch.full((self.lead,), -1), group_of(count - self.lead, GROUPS)])
        without = [self._fitted(coalitions[groups != left], scores[groups != left]) for left in range(GROUPS)]
        error = jackknife_error(torch.stack(without))
        return float(relative_noise(self._fitted(coalitions, scores).mT, error.mT))

    def _uniform(self, group: Group, samples: int, columns: int, purpose: int = 0) -> Iterator[Tensor]:
        """Numbers in [0, 1), (N, some of the samples, columns) at a time, keyed by (seed, sample id, purpose, sample, column)."""
        for block, at in enumerate(range(0, samples, _DRAWN)):
            shape = (min(_DRAWN, samples - at), 1, columns)
            stream = rng_streams.COALITION + 2 * block + purpose
            yield philox_uniform(shape, group.sample_ids, seed=self.seed, stream=stream)[:, :, 0]
