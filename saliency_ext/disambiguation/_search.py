"""The published searches as functions of numbers: gains and retentions in, sets of segments out. No model, no image."""

import torch
from torch import Tensor

from .rules import Rules

NEVER = -1


def ranked(gains: Tensor, absent: Tensor) -> Tensor:
    """Segments (..., M) in decreasing order of gain; ties: the lower number first, so labels of equal gains agree.

    absent: bool, broadcasts to the gains: numbers that no segment of the image has, which come last.
    """
    return (-gains).masked_fill(absent, torch.inf).argsort(dim=-1, stable=True)


def prefixes(orders: Tensor) -> Tensor:
    """(R, S, S) bool from orders (R, S): set s holds the first s + 1 segments."""
    places = orders.argsort(-1)
    return places[:, None, :] <= torch.arange(orders.shape[1])[None, :, None]


def first_step(fits: Tensor) -> Tensor:
    """How many segments (R,) the shortest prefix has that fits, of (R, S) for 1 .. S segments; -1 where none does."""
    return torch.where(fits.any(1), fits.byte().argmax(1) + 1, NEVER)


def of_prefix(orders: Tensor, count: Tensor) -> Tensor:
    """The first `count` (R,) segments of orders (R, M), as (R, M) bool; none where it is -1."""
    return orders.argsort(-1) < count[:, None]


def prefix_difference(rules: Rules, orders: tuple[Tensor, Tensor], left: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct by the difference of prefixes [Mummani 2024, second algorithm].

    S1 is the shortest prefix of c1's segments whose redaction lowers c1 and keeps c2, S2 with roles exchanged; U1 = S1 \\ S2 and
    U2 = S2 \\ S1 are proposed, and must be checked by new forwards.

    Args:
        orders: (P, M) of c1 and of c2. left: along each, retentions (P, S, 2, 2) of (c1, c2) after 1 .. S segments.

    Returns:
        U1, U2 (P, M) bool, and whether both prefixes exist (P,).
    """
    counts = []
    for own, trace in enumerate(left):
        fallen = rules.fallen(trace[:, :, own])
        count = first_step(fallen & rules.kept(trace[:, :, 1 - own]))
        counts.append(torch.where(count == NEVER, first_step(fallen), count) if rules.fallback else count)
    first, second = (of_prefix(order, count) for order, count in zip(orders, counts, strict=True))
    return first & ~second, second & ~first, (counts[0] != NEVER) & (counts[1] != NEVER)


def common_prefix(rules: Rules, orders: tuple[Tensor, Tensor], left: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Shared [Mummani 2024]: D = intersection of the shortest prefixes after which both labels have fallen, to be checked.

    Arguments as `prefix_difference`. Returns D (P, M) bool; the smaller of the prefixes (P, M), ours in case D fails; and whether
    both prefixes exist (P,).
    """
    counts = []
    for own, trace in enumerate(left):
        fits = rules.fallen_together(trace[:, :, own])
        if rules.shared_search == "both":
            fits &= rules.fallen_together(trace[:, :, 1 - own])
        counts.append(first_step(fits))
    sets = [of_prefix(order, count) for order, count in zip(orders, counts, strict=True)]
    return sets[0] & sets[1], _smaller(*sets), (counts[0] != NEVER) & (counts[1] != NEVER)


def _smaller(first: Tensor, second: Tensor) -> Tensor:
    """The smaller of two sets (P, M); of equally large ones that with the lowest segment that the other lacks."""
    more = first.sum(1) - second.sum(1)
    differ = first != second
    lower = (first & differ).gather(1, differ.byte().argmax(1, keepdim=True))[:, 0]
    return torch.where(((more < 0) | ((more == 0) & lower))[:, None], first, second)


def parted(rules: Rules, left: tuple[Tensor, Tensor]) -> Tensor:
    """Whether some step of either trace lowers its own label and keeps the other (P,). Arguments as `prefix_difference`."""
    steps = [rules.fallen(trace[:, :, own]) & rules.kept(trace[:, :, 1 - own]) for own, trace in enumerate(left)]
    return steps[0].any(1) | steps[1].any(1)


def owners(rules: Rules, gains: tuple[Tensor, Tensor], absent: Tensor) -> tuple[Tensor, Tensor]:
    """Which segments (P, M) bool each label of a pair owns: those with the larger share of the label's best gain.

    A label whose best gain is not positive owns nothing: dividing by it would turn the order round. absent (P, M) bool: numbers
    that no segment has; nobody owns them.
    """
    shares, real = [], []
    for gain in gains:
        best = gain.masked_fill(absent, -torch.inf).amax(1, keepdim=True)
        shares.append(torch.where(best > 0, gain / best.where(best > 0, 1), -torch.inf))
        real.append((best > 0) & ~absent)
    ties = shares[0] == shares[1] if rules.ties == "first" else torch.zeros_like(absent)
    return ((shares[0] > shares[1]) | ties) & real[0], (shares[1] > shares[0]) & real[1]


def ownership_orders(orders: Tensor, own: Tensor) -> Tensor:
    """Orders (P, M) with the owned segments first, both parts in their order."""
    theirs = ~own.gather(1, orders)
    return orders.gather(1, theirs.byte().argsort(dim=1, stable=True))


def ownership(
    rules: Rules, orders: tuple[Tensor, Tensor], own: tuple[Tensor, Tensor], left: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct by ownership [Mummani 2024, first algorithm]: each label's own segments alone must lower it and keep the other.

    Args:
        orders: of `ownership_orders`, for c1 and c2. own: of `owners`. left: as in `prefix_difference`, along these orders.

    Returns:
        As `prefix_difference`; these sets were forwarded along the way.
    """
    counts = []
    for number, trace in enumerate(left):
        fits = rules.fallen(trace[:, :, number]) & rules.kept(trace[:, :, 1 - number])
        if not rules.past_own:
            fits &= torch.arange(fits.shape[1])[None] < own[number].sum(1, keepdim=True)
        counts.append(first_step(fits))
    first, second = (of_prefix(order, count) for order, count in zip(orders, counts, strict=True))
    return first, second, (counts[0] != NEVER) & (counts[1] != NEVER)
