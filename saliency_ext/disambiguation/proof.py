"""A proof of a verdict: masks of the redacted pixels, and the scores of the labels that remain."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import Module

from .._digests import digest
from ..checks import bad_value, require_choice, require_shape
from ..fingerprinting import Fingerprinter, module_digest
from ..protocols import Forward, Infill
from ._pair_evidence import DISTINCT, SHARED
from .rules import SCORES, check_area_limit, check_delta, measured

KINDS = (DISTINCT, SHARED)


@dataclass(frozen=True)
class Evidence:
    """What an infill leaves: infill, and retention (sets, 2 labels, 2 measures) float64, percent of probability and logit."""

    infill: Infill
    retention: Tensor


@dataclass(frozen=True)
class Proof:
    """A statement about one model, image, threshold and infill; not about the world.

    kind: "distinct": redacting masks[0] lowers labels[0] to at most 100 - delta percent and keeps labels[1] at delta at least;
    masks[1] the other way round. "shared": redacting masks[0] lowers both to at most 100 - delta.
    labels: two classes. masks: (H, W) bool each, True = redacted.
    delta: percent. score: "probability", "logit" (relative to the mean logit) or "both": which measure the inequalities speak of.
    area_limit: in (0, 1]; no mask redacts a larger share of the image.
    shown: what is left under each infill under which it holds; the first is that of the search.
    clean: (2 labels, 2 measures) float64, the scores of the image itself.
    sample_id: keys random infills. model, image, partition: fingerprints; the partition's is for the record.
    """

    kind: str
    labels: tuple[int, int]
    masks: tuple[Tensor, ...]
    delta: float
    score: str
    area_limit: float
    shown: tuple[Evidence, ...]
    clean: Tensor
    sample_id: int
    model: dict[str, str]
    image: str
    partition: str

    def __post_init__(self) -> None:
        require_choice("Proof", "kind", self.kind, KINDS)
        require_choice("Proof", "score", self.score, SCORES)
        check_delta("Proof", "delta", self.delta)
        check_area_limit("Proof", self.area_limit)
        sets = 2 if self.kind == DISTINCT else 1
        if len(self.masks) != sets:
            bad_value("Proof", "masks", f"{sets} for {self.kind!r}", len(self.masks))
        if len(self.labels) != 2 or self.labels[0] == self.labels[1]:
            bad_value("Proof", "labels", "two different classes", self.labels)
        if not self.shown:
            bad_value("Proof", "shown", "at least one infill", "none")
        for each in self.shown:
            require_shape("Proof", "shown.retention", each.retention, "(sets, 2, 2)", (sets, 2, 2))

    @property
    def robust(self) -> bool:
        """Whether it holds under two different infills or more; one that is named twice counts once."""
        return len({(each.infill.name, repr(each.infill.parameters)) for each in self.shown}) > 1

    @property
    def margin(self) -> float:
        """Smallest slack of its inequalities under the infill of the search, in percentage points."""
        return float(slacks(self.kind, self.shown[0].retention, self.delta, self.score).min())

    @property
    def areas(self) -> tuple[float, ...]:
        """Share of the image that each mask redacts."""
        return tuple(float(mask.double().mean()) for mask in self.masks)

    def at(self, delta: float) -> "Proof":
        """The same statement with another threshold; a smaller one is a weaker statement, and holds where this one does."""
        return replace(self, delta=float(delta))


def slacks(kind: str, retention: Tensor, delta: float, score: str) -> Tensor:
    """By how many points each inequality holds, negative where it does not; from retention (sets, 2 labels, 2 measures)."""
    left = measured(retention, score)
    falls = 100 - delta - left
    if kind == SHARED:
        return falls.flatten()
    stays = left - delta
    return torch.cat([falls[0, 0], stays[0, 1], falls[1, 1], stays[1, 0]])


def fingerprint_of(model: Forward) -> dict[str, str]:
    """What the model is: of a module class, structure and weights, of a function its name, code and what it closed over.

    The digest of a function's code changes with the version of Python.
    """
    described = module_digest(model) if isinstance(model, Module) else Fingerprinter(None, deep=False).describe(model)
    parts = described if isinstance(described, dict) else {"model": described}
    return {name: part if isinstance(part, str) else digest(json.dumps(part, sort_keys=True)) for name, part in parts.items()}


def masks_of(removed: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    """Masks (H, W) of sets of segments (sets, M) bool over labels (H, W); pixels of label -1 are in none."""
    host = labels.cpu()
    return tuple(each[host.clamp(min=0)] & (host >= 0) for each in removed)


def mask_names(kind: str) -> Sequence[str]:
    """What the masks of a proof are called."""
    return ("U1", "U2") if kind == DISTINCT else ("D",)
