"""Evidence for pairs of labels: traces shared by all pairs, rules, checks by new forwards, other infills, pruning."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ._redaction import Redactions
from ._redaction_claims import RedactionClaims, pruned
from ._search import common_prefix, owners, ownership, ownership_orders, parted, prefix_difference, prefixes, ranked
from .rules import ROUNDING, Rules

DISTINCT, SHARED, BOTH, UNDECIDED = "distinct", "shared", "both", "undecided"


@dataclass(frozen=True)
class Pairs:
    """P pairs: of image (P,), the columns first and second (P,) of its labels, int64."""

    image: Tensor
    first: Tensor
    second: Tensor


@dataclass(frozen=True)
class PairEvidence:
    """A set of segments for "shared", two for "distinct", which hold by fresh forwards.

    kind: DISTINCT or SHARED. delta: the threshold it holds for. removed: (sets, M) bool. retention: (F, sets, 2, 2), percent left
    under each infill, of the labels of the pair, by measure. held: (F,) bool, under which infills all inequalities hold; the
    first is the search's own. area: share of the image that the larger set redacts. proves: whether that is within
    `Rules.area_limit`.
    """

    kind: str
    delta: float
    removed: Tensor
    retention: Tensor
    held: Tensor
    area: float
    proves: bool


def find_evidence(
    rules: Rules,
    infills: Sequence[Redactions],
    gains: Tensor,
    pairs: Pairs,
    *,
    absent: Tensor,
    spared: Tensor,
    shares: Tensor,
    minimise: bool,
) -> list[list[PairEvidence]]:
    """Evidence for each pair: of no kind, of one or of both that prove something, and what is too large for that.

    Args:
        rules: thresholds and algorithm.
        infills: redactions of N images; the first infill is that of the search, the others check its results.
        gains: (N, T, M) float64 on the host, mean attribution of each segment for each label; finite for the labels of the pairs.
        pairs: P of them.
        absent: (N, M) bool, which segments an image does not have.
        spared: (N,) bool, whether some pixels are in no segment.
        shares: (N, M) float64, share of the image of each segment.
        minimise: prune the sets.
    """
    if len(pairs.image) == 0:
        return []
    traces = _Traces(rules, infills[0], gains, absent, pairs)
    result: list[list[PairEvidence]] = [[] for _ in pairs.image]
    for level in rules.levels():
        traces.rules = level
        undecided = torch.tensor([not any(one.proves for one in each) for each in result])
        first, second, separate = traces.apart()
        separate = traces.holding(separate & undecided, (first, second), DISTINCT)
        common, together = traces.common((first | second) & separate[:, None], undecided, spared)
        for kind, which, sets in ((DISTINCT, separate, (first, second)), (SHARED, together, (common,))):
            rows = which.nonzero().flatten()
            claims = _claims(level, gains, pairs, rows, sets, kind)
            made = _evidence(claims, infills, gains, shares, pairs, rows, kind, minimise)
            for row, evidence in zip(rows.tolist(), made, strict=True):
                result[row].append(evidence)
    return result


class _Traces:
    """The redactions of one search: a trace per label of an image serves all its pairs, and all thresholds.

    Traces within a common set serve all thresholds that propose that set. rules: may be changed between calls, in their
    thresholds.
    """

    def __init__(self, rules: Rules, main: Redactions, gains: Tensor, absent: Tensor, pairs: Pairs) -> None:
        self.rules, self._main, self._gains, self._pairs = rules, main, gains, pairs
        image, labels, orders = pairs.image, gains.shape[1], ranked(gains, absent[:, None])
        self._absent = absent[image]
        places = torch.stack([image * labels + pairs.first, image * labels + pairs.second])
        requested, at = torch.unique(places, return_inverse=True)
        traces = main.retention(requested // labels, prefixes(orders.flatten(0, 1)[requested]))
        self._left = (_of_pair(traces[at[0]], pairs), _of_pair(traces[at[1]], pairs))
        self._orders = (orders[image, pairs.first], orders[image, pairs.second])
        self._owned: tuple[Tensor, Tensor] | None = None  # traces along the segments that each label owns
        self._inner_sets = torch.zeros_like(self._absent)  # the common sets that were traced last, (P, M); at first none
        self._inner_left = tuple(torch.full_like(left, torch.nan) for left in self._left)  # along them, as self._left

    def apart(self) -> tuple[Tensor, Tensor, Tensor]:
        """U1, U2 (P, M) and whether proposed (P,)."""
        rules, pairs = self.rules, self._pairs
        if rules.distinct == "prefix_difference":
            return prefix_difference(rules, self._orders, self._left)
        own = owners(rules, (self._gains[pairs.image, pairs.first], self._gains[pairs.image, pairs.second]), self._absent)
        orders = (ownership_orders(self._orders[0], own[0]), ownership_orders(self._orders[1], own[1]))
        if self._owned is None:
            self._owned = (self._along(orders[0]), self._along(orders[1]))
        return ownership(rules, orders, own, self._owned)

    def common(self, proven: Tensor, requested: Tensor, spared: Tensor) -> tuple[Tensor, Tensor]:
        """D (P, M) and whether it holds (P,). proven (P, M): segments of a distinct proof. requested (P,): which pairs."""
        rules = self.rules
        common, wider, proposed = common_prefix(rules, self._orders, self._left)
        proposed = proposed & requested
        if rules.inseparable:
            common, wider = common & ~proven, wider & ~proven
        holds = self.holding(proposed, (common,), SHARED)
        if rules.fallback:
            second = self.holding(proposed & ~holds, (wider,), SHARED)
            common, holds = torch.where(second[:, None], wider, common), holds | second
        if rules.inseparable:
            holds = holds & ~((common | self._absent).all(1) & ~spared[self._pairs.image])
            holds = holds & ~self._separable(common, holds & parted(rules, self._left))
        return common, holds

    def holding(self, which: Tensor, sets: Sequence[Tensor], kind: str) -> Tensor:
        """Which of the pairs (P,) hold, by fresh forwards of all their sets."""
        claims = _claims(self.rules, self._gains, self._pairs, which.nonzero().flatten(), sets, kind)
        result = which.clone()
        result[which] = claims.hold(claims.requested(self._main)).view(len(sets), -1).all(0)
        return result

    def _separable(self, sets: Tensor, which: Tensor) -> Tensor:
        """Of pairs `which` (P,): whether a prefix of their set, in a label's order, lowers that label and keeps the other."""
        self._trace_within(sets, which & (sets != self._inner_sets).any(1))
        first, second = self._inner_left
        return which & parted(self.rules, (first, second))

    def _trace_within(self, sets: Tensor, which: Tensor) -> None:
        """Traces along the sets of pairs `which` (P,), in both orders; NaN beyond a set, which neither lowers nor keeps."""
        rows = which.nonzero().flatten()
        inner, own = sets[rows], Pairs(*(part[rows] for part in (self._pairs.image, self._pairs.first, self._pairs.second)))
        sizes = inner.sum(1)
        steps = int(sizes.max()) if len(rows) else 0
        beyond = (torch.arange(steps) >= sizes[:, None])[:, :, None, None]
        for order, kept in zip(self._orders, self._inner_left, strict=True):
            requested = self._main.retention(own.image, prefixes(ownership_orders(order[rows], inner))[:, :steps])
            left = _of_pair(requested, own).masked_fill(beyond, torch.nan)
            kept[rows] = torch.nn.functional.pad(left, (0, 0, 0, 0, 0, kept.shape[1] - steps), value=torch.nan)
        self._inner_sets[rows] = inner

    def _along(self, orders: Tensor) -> Tensor:
        return _of_pair(self._main.retention(self._pairs.image, prefixes(orders)), self._pairs)


def _of_pair(retention: Tensor, pairs: Pairs) -> Tensor:
    """(P, S, 2, 2) of the two labels, from (P, S, T, 2)."""
    columns = torch.stack([pairs.first, pairs.second], 1)[:, None, :, None]
    return retention.gather(2, columns.expand(-1, retention.shape[1], -1, 2))


def _claims(rules: Rules, gains: Tensor, pairs: Pairs, rows: Tensor, sets: Sequence[Tensor], kind: str) -> RedactionClaims:
    """Claims of the pairs `rows`: first those of the first set, then those of the second."""
    count, labels = len(rows), gains.shape[1]
    one = torch.nn.functional.one_hot(pairs.first[rows], labels).bool()
    two = torch.nn.functional.one_hot(pairs.second[rows], labels).bool()
    if kind == DISTINCT:
        falls, stays = torch.cat([one, two]), torch.cat([two, one])
    else:
        falls, stays = one | two, torch.zeros_like(one)
    removed = torch.cat([each[rows] for each in sets])
    together = torch.full((count * len(sets),), kind == SHARED)
    return RedactionClaims(rules, pairs.image[rows].repeat(len(sets)), falls, stays, together, removed)


def _evidence(
    claims: RedactionClaims,
    infills: Sequence[Redactions],
    gains: Tensor,
    shares: Tensor,
    pairs: Pairs,
    rows: Tensor,
    kind: str,
    minimise: bool,
) -> list[PairEvidence]:
    """One per pair of `rows`, pruned if requested; what pruning keeps holds under all infills that held before."""
    sets = len(claims.images) // max(len(rows), 1)
    if len(rows) == 0:
        return []
    requested = [claims.requested(redactions) for redactions in infills]
    per_infill = torch.stack([claims.hold(each) for each in requested], 1)
    held = per_infill.view(sets, len(rows), -1).all(0)  # under which infills the whole proof holds
    if minimise:
        image = pairs.image[rows]
        worth = [gains[image, pairs.first[rows]], gains[image, pairs.second[rows]]]
        order = torch.cat(worth) if kind == DISTINCT else worth[0] + worth[1]
        claims = replace(claims, removed=pruned(claims, infills, held.repeat(sets, 1), order))
        requested = [claims.requested(redactions) for redactions in infills]
    own = Pairs(*(part[rows].repeat(sets) for part in (pairs.image, pairs.first, pairs.second)))
    retention = torch.stack([_of_pair(each[:, None], own)[:, 0] for each in requested])
    shaped = retention.view(len(infills), sets, len(rows), 2, 2)
    removed = claims.removed.view(sets, len(rows), -1)
    delta = claims.rules.delta if kind == DISTINCT else claims.rules.shared_delta
    areas = (removed * shares[pairs.image[rows]]).sum(2).amax(0).tolist()
    limit = claims.rules.area_limit + ROUNDING
    return [
        PairEvidence(kind, delta, removed[:, at], shaped[:, :, at], held[at], area, area <= limit)
        for at, area in enumerate(areas)
    ]
