"""Probability of each label when only the most relevant pixels of its map are kept: base of completeness and soundness."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ..checks import bad_type, bad_value, require_choice, require_integer
from ..models.targets import requested_classes
from ..perturbation import EqualFractions, Order, Outputs, RankMasks, StratifiedSteps
from ..perturbation.curve_integration import BOUNDED_RULES
from ..perturbation.masks import ALL_KEPT
from ..perturbation.outputs import average
from ._levels import constant_rows, levelled
from .base import MetricOptions
from .context import Keys, MetricContext
from .curve_metric import CurveMetric


@dataclass(frozen=True)
class Requested:
    """Requested perturbed inputs, as keys per label, and properties of the maps."""

    labels: Tensor  # (N, L)
    keys: list[Keys]  # per label, or one for all
    fractions: Tensor  # (S,)
    pixels: int
    collapsed: Tensor  # (N,) labels whose map is constant
    tied: Tensor  # (N,) share of pixels whose value another pixel has too, mean over labels
    class_blind: bool


@dataclass(frozen=True)
class MaskedProbability(CurveMetric):
    """Parameters shared by `Completeness` and `Soundness` [Gupta 2022].

    With A the label set, p_a the softmax over A of the clean image, and for each level the image with only the most relevant
    pixels of the map OF LABEL a kept:
        g_a = mean (or area, by `area`) over the levels of softmax_A(forward(kept pixels + infill))_a
    A method gives one map per label; a single map is used for every label, which is recorded as class_blind.

    Args:
        labels: the set A: None (the labels the map has maps for, else all classes), class indices, or "top-5" (per image).
        floor_masked, floor_clean: eps_g and eps_p, floors below which a probability counts as the floor.
        cap: upper cap of p.
        reverse: keep the LEAST relevant pixels instead (the published "deletion").
        levels: "count" (the schedule counts pixels) or "mass" (the schedule's fractions are shares of the map's sum; non-negative
            maps only): at level f, #(cumulative sum <= f) + 1 pixels are kept, at most all.
    """

    labels: str | Sequence[int] | None = None
    floor_masked: float = 0.1
    floor_clean: float = 0.1
    cap: float = 1.0
    reverse: bool = False
    levels: str = "count"

    @classmethod
    def from_options(cls, options: MetricOptions) -> Self:
        """The metric with those of the shared options that apply to it."""
        return cls(options.infill, EqualFractions(options.steps), seed=options.seed, labels="top-3")

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        require_choice(name, "levels", self.levels, ("count", "mass"))
        if self.levels == "mass" and isinstance(self.schedule, StratifiedSteps):
            bad_value(name, "levels", "'count' where steps are drawn", "'mass'")
        require_choice(name, "area", self.area, BOUNDED_RULES)  # else g would be no probability
        if self.score != "probability" or self.unit != "pixel":
            bad_value(name, "score and unit", "'probability' and 'pixel'", f"{self.score!r} and {self.unit!r}")
        for argument, value in (("floor_masked", self.floor_masked), ("floor_clean", self.floor_clean), ("cap", self.cap)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                bad_type(name, argument, "to be a number", type(value).__name__)
            if not 0 <= value <= 1:
                bad_value(name, argument, "in [0, 1]", value)
        if self.labels is not None and not isinstance(self.labels, str):
            object.__setattr__(
                self, "labels", tuple(require_integer(name, "labels", label, 0, 2**31 - 1) for label in self.labels)
            )
            if len(set(self.labels or ())) != len(self.labels or ()) or not self.labels:
                bad_value(name, "labels", "to be distinct classes, at least one", self.labels)

    @property
    def parameters(self) -> dict[str, object]:
        """All parameters, as plain values."""
        names = ("labels", "floor_masked", "floor_clean", "cap", "reverse", "levels")
        return {**super().parameters, **{name: getattr(self, name) for name in names}}

    def labels_for(self, given: Tensor | None, images: int, clean_logits: Callable[[], Tensor]) -> Tensor:
        """The label set of each image (N, L)."""
        if self.labels is None:
            return torch.arange(clean_logits().shape[1]).expand(images, -1) if given is None else given
        if isinstance(self.labels, str):
            result = requested_classes(self.labels, images, clean_logits)
            return result if result.ndim == 2 else result[:, None]
        return torch.tensor(self.labels).expand(images, -1)

    def request(self, context: MetricContext) -> Requested:
        """For each label, the images with only its most relevant pixels."""
        name = type(self).__name__
        blind = context.label_maps is None
        labels = context.labels if context.labels is not None else context.target[:, None]
        if labels.shape[1] == 1:
            remedy = "give more labels; for a model with one output, two logits, (0, z)"
            bad_value(name, "labels", "at least two classes: the softmax over one is 1 for every input", "one", remedy)
        keys, collapsed, tied = [], [], []
        for label in [None] if blind else range(labels.shape[1]):
            order: Order = self.order(context, label)
            saliency = context.saliency if label is None or context.label_maps is None else context.label_maps[:, label]
            flat = levelled(saliency).flatten(1)
            collapsed.append(constant_rows(saliency))
            tied.append(_tie_share(flat))
            if self.levels == "mass":
                counts = _mass_counts(name, flat, self.fractions(context.pixels))
            else:
                counts = self.counts(context, context.pixels)
            side, at = ("tail", context.pixels - counts) if self.reverse else ("head", counts)  # the tail is the least relevant
            keys.append(context.request(RankMasks(order, at, keep=side), self.infill))
        return Requested(
            labels.cpu(),
            keys,
            self.fractions(context.pixels),
            context.pixels,
            torch.stack(collapsed).sum(0).cpu(),
            torch.stack(tied).mean(0).cpu(),
            blind,
        )

    def curves_of(self, outputs: Outputs, requested: Requested) -> tuple[Tensor, Tensor, Tensor]:
        """Clean p (N, L), masked g (N, L) and its curves (N, L, S), relative to the label set."""
        clean = outputs.logits([ALL_KEPT], requested.labels)[:, 0].softmax(1)
        # Per map, the softmax over the label set: (N, S, L), mean over draws of the infill.
        masked = [average([outputs.logits(draw, requested.labels).softmax(2) for draw in keys]) for keys in requested.keys]
        if requested.class_blind:
            curves = masked[0].transpose(1, 2)
        else:
            curves = torch.stack([probabilities[..., label] for label, probabilities in enumerate(masked)], 1)
        return clean, self.summarise(curves, requested.fractions, requested.pixels), curves


def _tie_share(flat: Tensor) -> Tensor:
    """(N,) share of pixels whose value another pixel has too."""
    ordered = flat.sort(1).values
    same = ordered[:, 1:] == ordered[:, :-1]
    edge = same.new_zeros(len(flat), 1)
    return (torch.cat([same, edge], 1) | torch.cat([edge, same], 1)).double().mean(1)


def _mass_counts(function: str, flat: Tensor, fractions: Tensor) -> Tensor:
    """(N, S) pixels kept at each share of a map's sum."""
    if (flat < 0).any():
        bad_value(function, "maps", "non-negative where levels='mass'", "negative values", "use levels='count'")
    mass = flat.double().sort(1, descending=True).values.cumsum(1)
    shares = mass / mass[:, -1:].clamp(min=torch.finfo(torch.float64).tiny)
    kept = torch.searchsorted(shares, fractions.to(flat.device).expand(len(flat), -1).contiguous(), right=True) + 1
    return kept.clamp(max=flat.shape[1])
