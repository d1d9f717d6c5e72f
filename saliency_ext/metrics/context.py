"""Inputs available to a metric: saliency map, images, target and sample ids of one chunk."""

from collections.abc import Hashable
from dataclasses import dataclass, field

from torch import Tensor

from .. import ops
from ..checks import require_choice
from ..perturbation import BlockOrder, CurvePoints, Plan, RandomOrder, Ranked
from ..perturbation.masks import Masks
from ..protocols import Explainer, Forward, Infill
from ._levels import levelled

TIES = ("random", "index", "last_index")

Keys = list[list[Hashable]]  # per draw of the infill, per step
RequestedPoints = tuple[CurvePoints, Tensor]  # points of a curve, and which of them each image needs: (N, P) bool


@dataclass
class MetricContext:
    """One map on one chunk of images. All tensors are finite and on one device.

    Attributes:
        inputs: (N, C, H, W).
        saliency: (N, H, W), the map of the target.
        target: (N,) int64.
        sample_ids: (N,) int64.
        plan: collects the requested perturbed inputs.
        labels, label_maps: (N, L) classes and their maps (N, L, H, W), where the method gives one per class.
        explain: the method itself, where maps are made by one: (inputs, target) -> (N, H, W).
        forward: the model, for the few metrics that change it.
    """

    inputs: Tensor
    saliency: Tensor
    target: Tensor
    sample_ids: Tensor
    plan: Plan = field(default_factory=Plan)
    labels: Tensor | None = None
    label_maps: Tensor | None = None
    explain: Explainer | None = None
    forward: Forward | None = None
    _ranked: dict[object, Ranked] = field(default_factory=dict, repr=False)
    _slot: dict[Hashable, Tensor] = field(default_factory=dict, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.inputs.shape[2], self.inputs.shape[3]

    @property
    def pixels(self) -> int:
        """H W."""
        return self.inputs.shape[2] * self.inputs.shape[3]

    def request(self, masks: Masks, infill: Infill) -> Keys:
        """Requests every step of a mask family under every draw of an infill; the keys index the model's outputs."""
        return self.plan.request(masks, infill)

    def ranked(self, ties: str = "random", seed: int = 0, *, label: int | None = None, per_channel: bool = False) -> Ranked:
        """Ranks of the map, computed once for all metrics with the same tie rule. Values that differ by rounding alone tie.

        Args:
            ties: "random", "index" (the first pixel in row-major order goes first), or "last_index" (the last goes first).
            seed: of ties at random.
            label: column of `label_maps`; None for the map of the target.
            per_channel: one rank per channel value instead of one per pixel.
        """
        rule = (ties, seed, label, per_channel)
        if rule not in self._ranked:
            saliency = levelled(self.saliency if label is None or self.label_maps is None else self.label_maps[:, label])
            if per_channel:
                saliency = saliency.repeat(1, self.inputs.shape[1], 1)
            self._ranked[rule] = Ranked(rank_map(saliency, ties, seed, self.sample_ids))
        return self._ranked[rule]

    def random_order(self, seed: int, draw: int) -> RandomOrder:
        """A random order of the pixels, the same for every map of these images."""
        return RandomOrder(self.shape, self.sample_ids, seed, draw, self._slot)

    def block_order(self, seed: int, draw: int) -> BlockOrder:
        """A square growing from a random centre, the same for every map of these images."""
        return BlockOrder(self.shape, self.sample_ids, seed, draw, self._slot)


def rank_map(saliency: Tensor, ties: str, seed: int, sample_ids: Tensor) -> Tensor:
    """Ranks (N, H, W) under one of the tie rules of `MetricContext.ranked`."""
    require_choice("rank_map", "ties", ties, TIES)
    if ties != "last_index":
        return ops.rank(saliency, ties=ties, seed=seed, sample_ids=sample_ids, nan="last")
    return ops.rank(saliency.flip(1, 2), ties="index", nan="last").flip(1, 2).contiguous()
