"""Rules of a pair search: thresholds and algorithms; the published rules are presets, ours are the default."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from torch import Tensor

from ..checks import bad_type, bad_value, require_choice, require_number
from ..infill.constant import DatasetMean

SEARCHES = ("prefix_difference", "ownership")
MEASURES = ("probability", "logit")
SCORES = (*MEASURES, "both")
WEAKER = 65.0  # percent, tried where the first thresholds leave a pair undecided
ROUNDING = 1e-9  # of a sum of shares of the image
GUARD = 0.01  # percentage points: a forward of another batch size rounds otherwise, and must not undo a proof


@dataclass(frozen=True)
class Rules:
    """The options of a pair search. Retention r_c(S): percent of label c's score that remains when segments S are removed.

    delta: in (50, 100), of "distinct": one label falls to r <= 100 - delta while the other keeps r >= delta.
    shared_delta: in (50, 100), of "shared": both labels fall to r <= 100 - shared_delta.
    distinct: "prefix_difference" or "ownership", see `finder`.
    score: "probability" (softmax), "logit" (minus the mean logit of the image) or "both": every threshold must hold under each.
    weaker: further values of delta, decreasing, each above 50 and below delta and shared_delta: where a pair is undecided, both
        rules are tried again with the next one in place of delta and shared_delta. The traces are the same; a proof says which
        delta it holds for. None: (65.0,) where 65 lies below delta and shared_delta, else (); the field then holds that.
    floor: in [0, 1), smallest clean probability of either label; below it the pair is not evaluated.
    ties: ownership of a segment whose shares are equal: "first" label (published; depends on their order) or "neither".
    past_own: ownership goes on to segments of the other label when a label's own are used up (published), so the two sets of a
        proof may intersect.
    shared_search: the prefix of a label ends where "both" labels have fallen, or the "own" one.
    fallback: where a published proposal does not exist or does not hold, a second one is checked, without further traces:
        for "distinct" prefixes that end where the own label has fallen, for "shared" the smaller of the two prefixes.
    inseparable: removing two entities lowers both labels, too, which proves no shared evidence. So a common set excludes the
        segments of a distinct proof, must leave part of the image, and no prefix of it, in the order of either label, may lower
        that label and keep the other. The last is only checked where some prefix of the image's segments does so.
    area_limit: in (0, 1], the largest share of the image that a set may redact and still prove something; a larger one leaves
        the pair undecided, and the reason says how large. By default at least half of the image remains: without most of it
        nearly every label falls, whatever its evidence. The published rules have no limit.

    Every comparison leaves 0.01 percentage points to rounding, in favour of no claim.
    """

    delta: float = 80.0
    shared_delta: float = 80.0
    distinct: str = "prefix_difference"
    score: str = "probability"
    weaker: tuple[float, ...] | None = None
    floor: float = 0.01
    ties: str = "neither"
    past_own: bool = False
    shared_search: str = "both"
    fallback: bool = True
    inseparable: bool = True
    area_limit: float = 0.5

    def __post_init__(self) -> None:
        check_delta("Rules", "delta", self.delta)
        check_delta("Rules", "shared_delta", self.shared_delta)
        object.__setattr__(self, "weaker", _weaker(self.weaker, min(self.delta, self.shared_delta)))
        require_choice("Rules", "distinct", self.distinct, SEARCHES)
        require_choice("Rules", "score", self.score, SCORES)
        if require_number("Rules", "floor", self.floor) >= 1:
            bad_value("Rules", "floor", "in [0, 1)", self.floor)
        require_choice("Rules", "ties", self.ties, ("first", "neither"))
        require_choice("Rules", "shared_search", self.shared_search, ("both", "own"))
        check_area_limit("Rules", self.area_limit)

    def levels(self) -> list["Rules"]:
        """These rules, then the same with each weaker delta."""
        return [self, *(replace(self, delta=delta, shared_delta=delta, weaker=()) for delta in self.weaker or ())]

    def fallen(self, retention: Tensor) -> Tensor:
        """Whether a label is gone, by the thresholds of "distinct": (...) bool of retention (..., 2), one per measure."""
        return _under(retention, 100 - self.delta - GUARD, self.score)

    def kept(self, retention: Tensor) -> Tensor:
        """Whether a label is still there."""
        return _under(-retention, -self.delta - GUARD, self.score)

    def fallen_together(self, retention: Tensor) -> Tensor:
        """Whether a label is gone, by the threshold of "shared"."""
        return _under(retention, 100 - self.shared_delta - GUARD, self.score)


def _weaker(given: Any, first: float) -> tuple[float, ...]:
    """Checked, as a tuple: hashable, and out of the caller's reach. first: the threshold above them all."""
    if given is None:
        return (WEAKER,) if first > WEAKER else ()
    if not isinstance(given, tuple | list):
        bad_type("Rules", "weaker", "to be a tuple of numbers, or None", type(given).__name__, "for one threshold: (70.0,)")
    for above, below in pairwise((first, *given)):
        check_delta("Rules", "weaker", below)
        if below >= above:
            remedy = "weaker=None takes what fits them, () none"
            bad_value("Rules", "weaker", "to decrease from below delta and shared_delta", tuple(given), remedy)
    return tuple(given)


def check_delta(function: str, argument: str, delta: Any) -> None:
    """Refuses a threshold that does not separate: at 50 or below one set could lower and keep the same label."""
    if not 50 < require_number(function, argument, delta) < 100:
        bad_value(function, argument, "in (50, 100), percent", delta)


def check_area_limit(function: str, limit: Any) -> None:
    """Refuses what is no share of an image, and 0, under which nothing could be proven."""
    if require_number(function, "area_limit", limit, above=0.0) > 1:
        bad_value(function, "area_limit", "in (0, 1], a share of the image", limit)


def measured(values: Tensor, score: str) -> Tensor:
    """The measures (..., M) that count, of (..., 2) in the order of MEASURES. NaN where it is NaN."""
    return values if score == "both" else values[..., MEASURES.index(score), None]


def _under(values: Tensor, limit: float, score: str) -> Tensor:
    return (measured(values, score) <= limit).all(-1)


# The published rules with their own settings [Mummani 2024, code]; the value of delta for "distinct" is not known, 80 is ours.
_PUBLISHED: dict[str, Any] = {"weaker": (), "fallback": False, "inseparable": False, "area_limit": 1.0}
PRESETS = {
    "default": Rules(),
    "pairs2024_own": Rules(distinct="ownership", ties="first", past_own=True, **_PUBLISHED),
    "pairs2024_diff": Rules(**_PUBLISHED),
}


def preset_rules(name: str) -> dict[str, Any]:
    """The arguments of `PairFinder` for published settings, or ours.

    Args:
        name: "default"; "pairs2024_own" (ownership) or "pairs2024_diff" (prefix difference) [Mummani 2024, code].

    Returns:
        Keyword arguments: rules, infill, min_pixels, minimise. The published infill multiplies the preprocessed input by zero:
        which colour that is depends on the model, the training mean where inputs are normalised by it, mid-grey where they are
        scaled to [-1, 1].

    Raises:
        ValueError: no such preset.

    Note:
        Not reproduced: the published mask generator (any segmenter stands in), integrated gradients with both ends at full
        weight (ours halves them), "<" in one check where the search has "<=" (0.01 points of guard cover both).

    Example:
        >>> preset_rules("pairs2024_own")["rules"].ties
        'first'

    References:
        Mummani, Ketha, Ramaswamy. Peter Parker or Spiderman? Disambiguating Multiple Class Labels. arXiv 2410.19479.
    """
    require_choice("preset_rules", "name", name, tuple(PRESETS))
    published = name != "default"
    small = 5 if published else 1
    return {"rules": PRESETS[name], "infill": DatasetMean(), "min_pixels": small, "minimise": not published}
