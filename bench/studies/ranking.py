"""How often an anytime-valid ranking is wrong, and how many forwards it saves, over thousands of random orders of the images.

python -m bench.studies.ranking FOLDER reads the curves of bench.studies.full_curves from the folder, walks those that are
missing, and writes bench/results/ranking.json. The metrics are Fidelity and Deletion (its half that removes the most relevant
first), the truth is their mean over all scenes on the whole grid. The sequences are the library's (`BettingSequence`), fed with
known scores, image by image, as `rank_methods` feeds them:

    grid    every image once, in random order, with the area of its whole curve
    drawn   images drawn with replacement, each with a random step from each of 8 strata: fresh draws at every look

A pair is looked at by itself at error ALPHA, and all pairs of the methods together as a tournament, where a method is let go when
all its pairs are decided. Then what must not be told apart: a method and itself, and two that differ image by image with mean 0.
"""

from itertools import combinations, product
from typing import Any

import torch
from torch import Tensor

from saliency_ext.evaluation._input_chunks import random_order
from saliency_ext.evaluation._subsampling import random_draws
from saliency_ext.perturbation import EqualFractions, StratifiedSteps
from saliency_ext.stats.confidence_sequence import BettingSequence
from saliency_ext.testbed.scenes import SIDE

from ..report import write_json
from .full_curves import GRID, PILOT, SCENES, Curves, requested

ALPHA, ORDERS, ROUND, STRATA, MARGIN = 0.05, 2000, 16, 8, 0.02
_PIXELS = SIDE * SIDE
_WIDTH = {"fidelity": 2.0, "deletion": 1.0}  # of the values
_CURVES = {"fidelity": 2, "deletion": 1}
_ENDS = 2  # masked inputs that all maps of an image share
_INNER = {"grid": GRID - 1, "drawn": STRATA}  # further masked inputs per curve
NEVER = 2**30


class Looks:
    """What each order of the images shows of each method: (orders, images looked at) values, made when asked for."""

    def __init__(self, curves: dict[str, Curves], metric: str, scheme: str, orders: int) -> None:
        scores = {name: own.fidelity if metric == "fidelity" else own.mif for name, own in curves.items()}
        self.scores = {name: own[: len(own) - PILOT] for name, own in scores.items()}
        self.images = len(next(iter(self.scores.values())))
        self.metric, self.scheme, self.orders = metric, scheme, orders
        self.inner, self.width = _INNER[scheme] * _CURVES[metric], _WIDTH[metric]
        self.population = self.images if scheme == "grid" else None
        counts = torch.tensor(EqualFractions(GRID).counts(_PIXELS))
        self.areas = {name: torch.trapezoid(own, counts.double() / _PIXELS) for name, own in self.scores.items()}
        self.ids = torch.arange(self.images)
        choose = random_order if scheme == "grid" else random_draws
        self.picks = torch.stack([choose(self.ids, seed) for seed in range(orders)])
        self._counts, self._steps = counts, StratifiedSteps(STRATA, GRID)

    def seen(self, name: str, copy: int = 0) -> Tensor:
        """(orders, images) float32, the values in the order in which they are looked at; copies have draws of their own."""
        if self.scheme == "grid":
            return self.areas[name][self.picks].float()
        rows = []
        for order, picks in enumerate(self.picks):
            # A look is a draw of its own, also at an image that was seen before: it has its own number.
            observations = self.ids + self.images * (order + self.orders * copy)
            points = torch.searchsorted(self._counts, self._steps.drawn(_PIXELS, observations))
            rows.append(self._steps.area(self.scores[name][picks].gather(1, points), _PIXELS).float())
        return torch.stack(rows)


def decided(differences: Tensor, observations: "Looks", alpha: float, margin: float = 0.0) -> dict[str, Tensor]:
    """(orders,) int64, the look at which the mean difference was known to be above 0, below 0, or within the margin; else NEVER.

    Nothing is learned any more once one of them is known: the ranking has let the pair go.
    """
    reach = margin / (2 * observations.width)
    sequence = BettingSequence(
        torch.tensor(sorted({0.5 - reach, 0.5, 0.5 + reach})).double(), len(differences), observations.population, alpha
    )
    result = {name: torch.full((len(differences),), NEVER) for name in ("above", "below", "alike")}
    centre = len(sequence.candidates) // 2
    open_ = torch.ones(len(differences), dtype=torch.bool)
    for look, values in enumerate(differences.double().T, 1):
        sequence.update((values / (2 * observations.width) + 0.5).clamp(0, 1))
        alike = sequence.above[:, 0] & sequence.below[:, -1] if margin else torch.zeros(len(differences), dtype=torch.bool)
        for name, now in (("above", sequence.above[:, centre]), ("below", sequence.below[:, centre]), ("alike", alike)):
            result[name] = torch.where(now & open_, look, result[name])
        open_ = torch.stack(list(result.values())).amin(0) == NEVER
        if look % 64 == 0 and not open_.any():
            break
    return result


def pair_row(first: str, second: str, seen: dict[str, Tensor], observations: Looks, margin: float) -> dict[str, Any]:
    """A pair by itself."""
    differences = seen[first] - seen[second]
    true = observations.areas[first] - observations.areas[second]
    result = decided(differences, observations, ALPHA, margin)
    wrong = result["below"] if true.mean() > 0 else result["above"]
    apart = torch.minimum(result["above"], result["below"])
    stop = torch.minimum(apart, result["alike"])
    images = _rounded(stop, observations.images)
    used = images.double() * (2 * observations.inner + _ENDS)
    full = observations.images * (2 * _INNER["grid"] * _CURVES[observations.metric] + _ENDS)
    return {
        "metric": observations.metric,
        "scheme": observations.scheme,
        "first": first,
        "second": second,
        "margin": margin,
        "gap": float(true.mean()),
        "gap_in_deviations": float(true.mean().abs() / true.std()),
        "wrong": _share(wrong < NEVER),
        "distinguishable": _share(apart < NEVER),
        "alike": _share(result["alike"] < NEVER),
        "images_median": float(images.double().median()),
        "images_95": float(images.double().quantile(0.95)),
        "times_fewer_masked_inputs": float(full / used.median()),
    }


def comparisons(seen: dict[str, Tensor], observations: Looks) -> dict[str, Any]:
    """All pairs at once: how often any verdict is wrong, and what it takes."""
    pairs = list(combinations(seen, 2))
    wrong, last, open_pairs = (
        torch.zeros(observations.orders, dtype=torch.bool),
        dict.fromkeys(seen, torch.zeros(observations.orders)),
        0,
    )
    for first, second in pairs:
        result = decided(seen[first] - seen[second], observations, ALPHA / len(pairs))
        true = float((observations.areas[first] - observations.areas[second]).mean())
        wrong |= (result["below"] if true > 0 else result["above"]) < NEVER
        stop = torch.minimum(result["above"], result["below"])
        open_pairs += int((stop == NEVER).sum())
        images = _rounded(stop, observations.images)
        last = {name: torch.maximum(own, images) if name in (first, second) else own for name, own in last.items()}
    used = observations.inner * torch.stack(list(last.values())).sum(0) + _ENDS * torch.stack(list(last.values())).amax(0)
    full = observations.images * (_INNER["grid"] * _CURVES[observations.metric] * len(seen) + _ENDS)
    return {
        "metric": observations.metric,
        "scheme": observations.scheme,
        "pairs": len(pairs),
        "any_wrong": _share(wrong),
        "pairs_left_open": open_pairs / (len(pairs) * observations.orders),
        "times_fewer_masked_inputs": float(full / used.double().median()),
    }


def equals(curves: dict[str, Curves], orders: int) -> list[dict[str, Any]]:
    """What has no difference and must not be told apart: the share of orders in which it ever was."""
    drawn, grid = (Looks(curves, "fidelity", scheme, orders) for scheme in ("drawn", "grid"))
    first, second = list(curves)[:2]
    itself = drawn.seen(first) - drawn.seen(first, copy=1)
    difference = grid.seen(first) - grid.seen(second)
    centred = difference - (grid.areas[first] - grid.areas[second]).mean().float()
    cases = (
        (drawn, f"{first} and itself, with draws of its own", itself),
        (grid, f"{first} and {second}, moved to the same mean", centred),
    )
    rows = []
    for observations, text, differences in cases:
        # The last look of a whole pass knows the mean to rounding, and rounding is no verdict.
        result = decided(differences[:, : observations.images - 1], observations, ALPHA)
        share = _share(torch.minimum(result["above"], result["below"]) < NEVER)
        rows.append({"scheme": observations.scheme, "case": text, "distinguishable": share})
    return rows


def _rounded(observations: Tensor, images: int) -> Tensor:
    """Images evaluated when it is decided at that look: whole rounds, and at most all."""
    return torch.minimum(-(-observations // ROUND) * ROUND, torch.tensor(images))


def _share(flags: Tensor) -> float:
    return float(flags.double().mean())


def measured(curves: dict[str, Curves], orders: int = ORDERS) -> dict[str, Any]:
    """All rows."""
    pairs: list[dict[str, Any]] = []
    tournaments = []
    for metric, scheme in product(_WIDTH, _INNER):
        observations = Looks(curves, metric, scheme, orders)
        seen = {name: observations.seen(name) for name in curves}
        tournaments.append(comparisons(seen, observations))
        for first, second in combinations(curves, 2):
            margins = (0.0, MARGIN) if scheme == "drawn" else (0.0,)
            pairs += [pair_row(first, second, seen, observations, margin) for margin in margins]
    return {"pairs": pairs, "tournaments": tournaments, "equal": equals(curves, orders)}


def main() -> None:
    """Runs the study, prints the rows, writes the JSON."""
    curves, out = requested(__doc__, "ranking")
    result = measured(curves)
    for row in (*result["pairs"], *result["tournaments"], *result["equal"]):
        print(row)
    chosen = {
        "scenes": SCENES,
        "methods": list(curves),
        "orders": ORDERS,
        "alpha": ALPHA,
        "round_size": ROUND,
        "strata": STRATA,
        "margin": MARGIN,
    }
    write_json(out, {"parameters": chosen, **result})


if __name__ == "__main__":
    main()
