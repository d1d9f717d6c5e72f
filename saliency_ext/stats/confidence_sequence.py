"""Confidence sequences: anytime-valid intervals for a mean, which permit stopping after any image."""

import math

import torch
from torch import Tensor

from ..checks import bad_value, require_integer, require_number

# Largest share of the capital staked on one image.
_STAKE = 0.5


class BettingSequence:
    """An anytime-valid interval for a mean, by betting against every candidate [Waudby-Smith & Ramdas 2024, Sec. 4-5].

    Values in [0, 1] come one by one, in random order without replacement from a population of N (or independently, N None).
    Against a candidate mean m two gamblers start with 1/2 each; with the mean of what is left if m were true,

        m_t = (N m - sum of the values before t) / (N - t + 1)             (m itself if N is None)
        K+ <- K+ (1 + min(l_t, c / m_t) (x_t - m_t)),   K- <- K- (1 - min(l_t, c / (1 - m_t)) (x_t - m_t)),   c = 1/2
        l_t = sqrt(2 log(2 / alpha) / (s_{t-1}^2 t log(1 + t))),   s_{t-1}^2 = (1/4 + sum_{i<t} (x_i - mean_i)^2) / t

    Under the true mean K+ + K- is a martingale, so it ever exceeds 1 / alpha with probability <= alpha [Ville 1939]. A candidate
    below the mean is rejected when K+ does, one above when K- does, for good. After all N values the mean is known.

    Args:
        candidates: (G,) means in [0, 1], rising. Columns are independent sequences, all against these candidates.
        columns: P.
        population: N, or None.
        alpha: error probability of each column.

    Note:
        Deterministic. State: 2 P G floats. A column's result does not depend on the others.

    Example:
        >>> sequence = BettingSequence(torch.tensor([0.5]), 1, 1000, alpha=0.05)
        >>> for _ in range(12):
        ...     sequence.update(torch.tensor([0.9]))
        >>> sequence.above, sequence.below  # is the mean above, below 0.5?
        (tensor([[True]]), tensor([[False]]))
    """

    def __init__(self, candidates: Tensor, columns: int, population: int | None, alpha: float) -> None:
        name = "BettingSequence"
        self.candidates = candidates.double()
        if candidates.ndim != 1 or not ((candidates >= 0) & (candidates <= 1)).all():
            bad_value(name, "candidates", "(G,) means in [0, 1]", candidates.tolist())
        require_integer(name, "columns", columns, 0, 2**31 - 1)
        if population is not None:
            require_integer(name, "population", population, 1, 2**62)
        if not 0 < require_number(name, "alpha", alpha) < 1:
            bad_value(name, "alpha", "in (0, 1)", alpha)
        self.population, self.alpha, self.seen = population, alpha, 0
        self.above = torch.zeros(columns, len(candidates), dtype=torch.bool)
        self.below = torch.zeros_like(self.above)
        self._gains = torch.full((2, columns, len(candidates)), math.log(0.5), dtype=torch.float64)
        self._total = torch.zeros(columns, dtype=torch.float64)
        self._squares = torch.full((columns,), 0.25, dtype=torch.float64)

    @property
    def mean(self) -> Tensor:
        """(P,) of the values seen; NaN before the first."""
        return self._total / self.seen if self.seen else torch.full_like(self._total, math.nan)

    def update(self, values: Tensor) -> None:
        """The next value (P,) of each column."""
        values = values.double()
        if values.shape != self._total.shape or not ((values >= 0) & (values <= 1)).all():
            bad_value("BettingSequence.update", "values", f"({len(self._total)},) numbers in [0, 1]", values.tolist())
        if self.population is not None and self.seen >= self.population:
            bad_value("BettingSequence.update", "values", f"at most {self.population} times", f"{self.seen + 1} times")
        step = self.seen + 1
        left = self._left()
        self._rule_out(left)
        left = left.clamp(0, 1)
        rate = (2 * math.log(2 / self.alpha) / (self._squares * math.log1p(step))).sqrt()[:, None]  # s^2 t = the squares
        distance = values[:, None] - left
        self._gains[0] += torch.log1p(torch.minimum(rate, _STAKE / left) * distance)
        self._gains[1] += torch.log1p(-torch.minimum(rate, _STAKE / (1 - left)) * distance)
        won = self._gains >= math.log(1 / self.alpha)
        self.above |= won[0]
        self.below |= won[1]
        self.seen, self._total = step, self._total + values
        self._squares = self._squares + (values - (self._total + 0.5) / (step + 1)) ** 2
        if self.seen == self.population:  # all values are known, and so is the mean
            self.above = self.candidates < self.mean[:, None] - 1e-12
            self.below = self.candidates > self.mean[:, None] + 1e-12

    def interval(self) -> tuple[Tensor, Tensor]:
        """(P,) lower and upper bounds: the nearest rejected candidates, else 0 and 1. After all N values, the mean."""
        if self.seen == self.population:
            return self.mean, self.mean
        edges = torch.cat([self.candidates.new_zeros(1), self.candidates, self.candidates.new_ones(1)])
        low, high = (rejected.int().cumprod(1).sum(1) for rejected in (self.above, self.below.flip(1)))
        return edges[low], edges[len(edges) - 1 - high]

    def _left(self) -> Tensor:
        """(P, G) the mean of what is left under each candidate."""
        if self.population is None:
            return self.candidates.expand(len(self._total), -1)
        return (self.population * self.candidates - self._total[:, None]) / (self.population - self.seen)

    def _rule_out(self, left: Tensor) -> None:
        """Rejects candidates that the observed values exclude with certainty: the rest would lie outside [0, 1]."""
        self.above |= left < -1e-9
        self.below |= left > 1 + 1e-9
