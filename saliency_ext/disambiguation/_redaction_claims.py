"""Claims about the redaction of sets of segments, their check by forwards, and the pruning of the sets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ._redaction import Redactions
from .rules import Rules


@dataclass(frozen=True)
class RedactionClaims:
    """R sets of segments, and what their redaction is said to do.

    rules: the thresholds. images: (R,) int64, whose segments. falls, stays: (R, T) bool, labels that must fall and labels that
    must be kept. together: (R,) bool, whether they fall by the threshold of "shared". removed: (R, M) bool.
    """

    rules: Rules
    images: Tensor
    falls: Tensor
    stays: Tensor
    together: Tensor
    removed: Tensor

    def __getitem__(self, rows: Tensor) -> "RedactionClaims":
        parts = (part[rows] for part in (self.images, self.falls, self.stays, self.together, self.removed))
        return RedactionClaims(self.rules, *parts)

    def hold(self, retention: Tensor) -> Tensor:
        """Whether each holds (R,), under retentions (R, T, 2). An empty set never does."""
        gone = torch.where(self.together[:, None], self.rules.fallen_together(retention), self.rules.fallen(retention))
        return ((gone | ~self.falls) & (self.rules.kept(retention) | ~self.stays)).all(1)

    def requested(self, redactions: Redactions) -> Tensor:
        """Retentions (R, T, 2) of the sets, from fresh forwards."""
        return redactions.retention(self.images, self.removed[:, None])[:, 0]


def pruned(claims: RedactionClaims, infills: Sequence[Redactions], held: Tensor, gains: Tensor) -> Tensor:
    """Smaller sets (R, M) for the same claims, by greedy backward pruning.

    Segments are tried once each, least gain first (ties: the higher number): one is given back if the claim then still holds
    under every infill under which it held before. What is left need not be the smallest such set, but no segment was kept
    without a forward that failed without it.

    Args:
        claims: that hold under the first infill at least.
        infills: redactions of the same images under each infill.
        held: (R, F) bool, under which infills each claim must go on to hold.
        gains: (R, M), what each segment is worth; read for its order.

    Cost: a forward per segment of a set and infill. Forwards of all claims are shared out over full batches.
    """
    removed = claims.removed.clone()
    order = gains.flip(1).argsort(dim=1, stable=True)
    order = gains.shape[1] - 1 - order  # least gain first, the higher number before the lower
    members = removed.gather(1, order)
    order = order.gather(1, (~members).byte().argsort(dim=1, stable=True))  # members first, in that order
    sizes = members.sum(1)
    for step in range(int(sizes.max()) if len(sizes) else 0):
        open_ = (sizes > step).nonzero().flatten()
        candidate = order[open_, step]
        trial = removed[open_].clone()
        trial[torch.arange(len(open_)), candidate] = False
        fits = torch.ones(len(open_), dtype=torch.bool)
        for number, redactions in enumerate(infills):
            rows = (fits & held[open_, number]).nonzero().flatten()  # one failure is enough
            tried = replace(claims[open_[rows]], removed=trial[rows])
            fits[rows] = tried.hold(tried.requested(redactions))
        removed[open_[fits]] = trial[fits]
    return removed
