"""The result for a pair of labels, and the table of all pairs of a call."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from ..fingerprinting import tensor_digest
from ._pair_evidence import BOTH, SHARED, UNDECIDED, PairEvidence, Pairs
from ._redaction import Redactions
from .proof import Evidence, Proof, masks_of
from .rules import Rules
from .segments import Partition

OK = "ok"
STATUSES = {
    OK: "",
    "pair_undefined": "a label's clean probability is below the floor, or its clean logit not above the mean where logits count",
    "nonfinite_input": "the image has NaN or Inf",
    "nonfinite_score": "the model's score of the image is NaN or Inf",
    "nonfinite_map": "the attribution has NaN or Inf",
}


@dataclass(frozen=True)
class PairResult:
    """The result for two labels.

    labels: two classes. clean: their probabilities. verdict: "distinct", "shared", "both" or "undecided"; the last does not mean
    one entity. status: "ok", or why the pair was not evaluated; see `STATUSES`. reason: in words. proofs: one for each kind that
    holds.
    """

    labels: tuple[int, int]
    clean: tuple[float, float]
    verdict: str
    status: str
    reason: str
    proofs: tuple[Proof, ...]


class PairTable:
    """All pairs of the labels (N, T) of N images, and why some of them are not evaluated.

    Args:
        rules: thresholds. classes: (N, T). clean: (N, T, 2) scores. good: (N,) bool, finite images. All on the host.
    """

    def __init__(self, rules: Rules, classes: Tensor, clean: Tensor, good: Tensor) -> None:
        self._rules, self._classes, self._clean = rules, classes, clean
        self._pairs = torch.tensor(list(combinations(range(classes.shape[1]), 2)))
        self._status = [[self._before(n, a, b, bool(good[n])) for a, b in self._pairs.tolist()] for n in range(len(classes))]

    def _before(self, image: int, a: int, b: int, good: bool) -> str:
        clean = self._clean[image, [a, b]]
        if not good:
            return "nonfinite_input"
        if not clean.isfinite().all():
            return "nonfinite_score"
        small = clean[:, 0] < self._rules.floor
        senseless = clean[:, 1] <= 0 if self._rules.score != "probability" else torch.zeros_like(small)
        return "pair_undefined" if (small | senseless).any() else OK

    def needed(self) -> Tensor:
        """(N,) bool: images with a pair to evaluate."""
        return torch.tensor([OK in statuses for statuses in self._status])

    def check_gains(self, gains: Tensor) -> None:
        """Marks pairs of labels whose attribution is not finite."""
        broken = (~gains.isfinite()).any(2)
        for statuses, bad in zip(self._status, broken, strict=True):
            for at, pair in enumerate(self._pairs):
                if statuses[at] == OK and bad[pair].any():
                    statuses[at] = "nonfinite_map"

    def judged(self) -> Pairs:
        """The pairs to evaluate, image by image."""
        rows = [(n, *pair) for n, at, pair in self._all() if self._status[n][at] == OK]
        return Pairs(*torch.tensor(rows, dtype=torch.int64).view(-1, 3).unbind(1))

    def results(
        self, found_evidence: list[list[PairEvidence]], infills: Sequence[Redactions], partition: Partition, model: dict[str, str]
    ) -> list[list[PairResult]]:
        """Results for each image, from the evidence for each pair of `judged`."""
        evidence = iter(found_evidence)
        results: list[list[PairResult]] = [[] for _ in self._status]
        images = [tensor_digest(image) for image in infills[0].inputs]
        for n, at, (a, b) in self._all():
            status = self._status[n][at]
            shown = next(evidence) if status == OK else []
            own = [each for each in shown if each.proves]
            labels = (int(self._classes[n, a]), int(self._classes[n, b]))
            clean = self._clean[n, [a, b]]
            proofs = tuple(self._proof(each, labels, clean, n, infills, partition, model, images[n]) for each in own)
            kinds = [proof.kind for proof in proofs]
            verdict = BOTH if len(kinds) == 2 else kinds[0] if kinds else UNDECIDED
            reason = _reason(self._rules, proofs, shown) if status == OK else STATUSES[status]
            results[n].append(PairResult(labels, (float(clean[0, 0]), float(clean[1, 0])), verdict, status, reason, proofs))
        return results

    def _all(self) -> list[tuple[int, int, tuple[int, int]]]:
        pairs = [(int(a), int(b)) for a, b in self._pairs.tolist()]
        return [(n, at, pair) for n in range(len(self._status)) for at, pair in enumerate(pairs)]

    def _proof(
        self,
        evidence: PairEvidence,
        labels: tuple[int, int],
        clean: Tensor,
        image: int,
        infills: Sequence[Redactions],
        partition: Partition,
        model: dict[str, str],
        digest: str,
    ) -> Proof:
        shown = tuple(
            Evidence(each.infill, left)
            for each, left, held in zip(infills, evidence.retention, evidence.held.tolist(), strict=True)
            if held
        )
        masks = masks_of(evidence.removed, partition.labels[image])
        ids = int(infills[0].sample_ids[image])
        prints = (ids, model, digest, partition.digest(image))
        rules = self._rules
        return Proof(evidence.kind, labels, masks, evidence.delta, rules.score, rules.area_limit, shown, clean, *prints)


def _reason(rules: Rules, proofs: Sequence[Proof], evidence: Sequence[PairEvidence]) -> str:
    if not proofs and evidence:
        least = min(evidence, key=lambda item: item.area)
        sets = "a common set that lowers both labels" if least.kind == SHARED else "separate sets that lower one label each"
        size = f"{100 * least.area:.4g} % of the image, more than the {100 * rules.area_limit:g} % that a proof may"
        return f"only {sets} to {100 - least.delta:g} % by redacting {size}"
    if not proofs:
        last = rules.levels()[-1]
        apart = f"separate sets that lower one label to {100 - last.delta:g} % and keep the other at {last.delta:g} %"
        return f"neither {apart}, nor a common set that lowers both to {100 - last.shared_delta:g} %, were found"
    return "; ".join(_said(proof) for proof in proofs)


def _said(proof: Proof) -> str:
    left = proof.shown[0].retention[..., 0 if proof.score != "logit" else 1]
    parts = [
        f"redacting {100 * area:.0f} % of the image leaves {float(row[0]):.0f} % of class {proof.labels[0]} and"
        f" {float(row[1]):.0f} % of class {proof.labels[1]}"
        for area, row in zip(proof.areas, left, strict=True)
    ]
    return f"{proof.kind} at {proof.delta:g} %: {', '.join(parts)}"
