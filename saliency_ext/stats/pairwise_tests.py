"""Sequential tests of pairs of maps, and all pairwise comparisons of a ranking with one error probability."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .confidence_sequence import BettingSequence

_GRID = 401  # candidates for a mean: intervals are rounded outwards to 1/400 of the range


@dataclass(frozen=True)
class PairVerdict:
    """Mean difference first - second over all images, with an anytime-valid interval that holds for all pairs simultaneously.

    `better` is the better of the two, None if they are not distinguishable; `equivalent`: the difference lies within the margin.
    `images` is the number of observations until the decision, or all that were made without one. An image without a value under
    one of the two counts as no difference; where none has both, mean, low and high are NaN.
    """

    first: str
    second: str
    mean: float
    low: float
    high: float
    better: str | None
    equivalent: bool
    images: int

    @property
    def decided(self) -> bool:
        """Whether the two are distinguishable or equivalent."""
        return self.better is not None or self.equivalent

    @property
    def outcome(self) -> str:
        """In words."""
        if self.mean != self.mean:
            return "no image has a value under both"
        if self.better:
            return f"{self.better} is better"
        return "equivalent within the margin" if self.equivalent else "not distinguishable"

    def __str__(self) -> str:
        result = f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}], {self.images} images"
        return f"{self.first} - {self.second}: {result}: {self.outcome}"


@dataclass(frozen=True)
class Ranking:
    """The result of `rank_methods`. `str()` is the table.

    Attributes:
        names: of the maps. pairs: a verdict for each pair of them.
        images: observed; population: all images; left_out: observed images without a value for some map.
        masked_inputs: forwarded; full: estimate for a full evaluation, from those of the first round.
        alpha: familywise error probability. stopped: "decided", "budget" or "all images".
    """

    names: tuple[str, ...]
    pairs: tuple[PairVerdict, ...]
    images: int
    population: int
    left_out: int
    masked_inputs: int
    full: int
    alpha: float
    stopped: str

    def better(self, name: str) -> list[str]:
        """The maps that this one is significantly better than."""
        return [other for p in self.pairs if p.better == name for other in (p.first, p.second) if other != name]

    @property
    def guarantee(self) -> str:
        """One sentence."""
        return guarantee(self.alpha, self.population)

    def __str__(self) -> str:
        wins = sorted(self.names, key=lambda name: -len(self.better(name)))
        lines = [f"{name}: better than {', '.join(self.better(name)) or 'none'}" for name in wins]
        lines += map(str, self.pairs)
        share = f"{self.full / self.masked_inputs:.1f}x fewer" if self.masked_inputs else "none"
        lines.append(f"{self.images} of {self.population} images, {self.masked_inputs} masked inputs ({share} than a full run)")
        if self.left_out:
            lines.append(missing(self.left_out))
        return "\n".join([*lines, self.guarantee])


def missing(images: int) -> str:
    """How images without a value count, in one sentence."""
    return f"{images} of the images had no value under some map and count as no difference."


class SequentialPairTest:
    """A sequential test of the mean difference of two maps, by a betting confidence sequence.

    Args:
        first, second: names.
        width: largest difference of two values of the metric.
        margin: differences within it are practically equivalent.
        population: number of images, if they are drawn without replacement; else None.
        alpha: error probability of this pair.
    """

    def __init__(self, first: str, second: str, width: float, margin: float, population: int | None, alpha: float) -> None:
        self.first, self.second, self.width = first, second, width
        reach = min(margin / (2 * width), 0.5)
        grid = torch.linspace(0, 1, _GRID, dtype=torch.float64)
        self.candidates = torch.unique(torch.cat([grid, grid.new_tensor([0.5 - reach, 0.5, 0.5 + reach])]))
        self.centre, self.lowest, self.highest = (int((self.candidates == 0.5 + at).nonzero()) for at in (0, -reach, reach))
        self.sequence = BettingSequence(self.candidates, 1, population, alpha)
        self.margin = margin
        self.valued = 0  # images with a value under both

    @property
    def distinguishable(self) -> bool:
        """Whether 0 is outside the interval."""
        return bool(self.sequence.above[0, self.centre] or self.sequence.below[0, self.centre])

    @property
    def equivalent(self) -> bool:
        """Whether the interval lies within the margin."""
        return (
            self.margin > 0
            and self.valued > 0
            and bool(self.sequence.above[0, self.lowest] and self.sequence.below[0, self.highest])
        )

    @property
    def decided(self) -> bool:
        """Whether the test is over."""
        return self.distinguishable or self.equivalent

    def see(self, values: Mapping[str, Tensor]) -> None:
        """Updates the test with the values of both maps on further images, unless it is over."""
        if self.decided or self.first not in values or self.second not in values:
            return
        differences = values[self.first] - values[self.second]
        for value in (differences / (2 * self.width) + 0.5).clamp(0, 1):
            self.valued += int(not value.isnan())
            self.sequence.update(value.nan_to_num(0.5)[None])
            if self.decided:
                return

    def verdict(self, lower: bool) -> PairVerdict:
        """The current verdict; lower: lower values are better."""
        low, high = (float((bound - 0.5) * 2 * self.width) for bound in self.sequence.interval())
        mean = float((self.sequence.mean - 0.5) * 2 * self.width)
        if self.valued == 0:
            low, mean, high = torch.nan, torch.nan, torch.nan
        above, below = (bool(side[0, self.centre]) for side in (self.sequence.above, self.sequence.below))
        larger = self.first if above else self.second if below else None
        smaller = self.second if above else self.first if below else None
        return PairVerdict(
            self.first, self.second, mean, low, high, smaller if lower else larger, self.equivalent, self.sequence.seen
        )


class PairwiseComparisons:
    """Sequential tests of several pairs of maps, with a Bonferroni-corrected familywise error probability.

    Args:
        pairs: (first, second) names.
        width, margin, population: as for a `SequentialPairTest`.
        alpha: familywise error probability.
    """

    def __init__(
        self, pairs: Sequence[tuple[str, str]], width: float, margin: float, population: int | None, alpha: float
    ) -> None:
        self._pair_tests = [
            SequentialPairTest(first, second, width, margin, population, alpha / len(pairs)) for first, second in pairs
        ]

    @property
    def decided(self) -> bool:
        """Whether every pair is."""
        return all(pair_test.decided for pair_test in self._pair_tests)

    @property
    def undecided(self) -> set[str]:
        """Names of the maps of undecided pairs."""
        return {name for pair_test in self._pair_tests if not pair_test.decided for name in (pair_test.first, pair_test.second)}

    def see(self, values: Mapping[str, Tensor]) -> None:
        """Updates the tests with values on further images; NaN where there is none."""
        for pair_test in self._pair_tests:
            pair_test.see(values)

    def verdicts(self, lower: bool) -> tuple[PairVerdict, ...]:
        """The current verdicts; lower: lower values are better."""
        return tuple(pair_test.verdict(lower) for pair_test in self._pair_tests)


def guarantee(alpha: float, population: int, verdicts: str = "verdicts") -> str:
    """The guarantee of simultaneous, anytime-valid verdicts in one sentence."""
    return (
        f"With probability at least {1 - alpha:g}, all {verdicts} are correct for the mean over all {population} images, "
        "whenever the comparison stops."
    )
