"""How many pixels are removed at which step of a curve. Every schedule is a sorted list of counts in [0, n]."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from ..checks import bad_type, bad_value, require_integer


@runtime_checkable
class Schedule(Protocol):
    """Counts of pixels for an image of n pixels."""

    def counts(self, pixels: int) -> list[int]:
        """Sorted counts in [0, pixels]."""


@dataclass(frozen=True)
class EqualFractions:
    """S equal fractions, both ends included: counts round(i n / S) for i = 0 .. S, without repeats where S > n.

    Example:
        >>> EqualFractions(4).counts(10)
        [0, 2, 5, 8, 10]
    """

    steps: int = 20

    def __post_init__(self) -> None:
        require_integer("EqualFractions", "steps", self.steps, 1, 2**31 - 1)

    def counts(self, pixels: int) -> list[int]:
        """round(i n / S), half to even."""
        return sorted({round(i * pixels / self.steps) for i in range(self.steps + 1)})


@dataclass(frozen=True)
class PixelSteps:
    """A fixed number of pixels per step; the last step may be short, and both ends are included.

    Example:
        >>> PixelSteps(4).counts(10)
        [0, 4, 8, 10]
    """

    pixels_per_step: int

    def __post_init__(self) -> None:
        require_integer("PixelSteps", "pixels_per_step", self.pixels_per_step, 1, 2**31 - 1)

    def counts(self, pixels: int) -> list[int]:
        """0, step, 2 step, ... and n."""
        return sorted({*range(0, pixels, self.pixels_per_step), pixels})


@dataclass(frozen=True)
class LogSpaced:
    """S counts spaced evenly in log(1 + count), both ends included, without repeats.

    Example:
        >>> LogSpaced(4).counts(26)
        [0, 2, 8, 26]
    """

    points: int = 15

    def __post_init__(self) -> None:
        require_integer("LogSpaced", "points", self.points, 2, 2**31 - 1)

    def counts(self, pixels: int) -> list[int]:
        """round((1 + n)^(i / (S - 1)) - 1)."""
        return sorted({round((1 + pixels) ** (i / (self.points - 1)) - 1) for i in range(self.points)})


@dataclass(frozen=True)
class GivenCounts:
    """Counts as given, sorted; they need not include the ends.

    Example:
        >>> GivenCounts((5, 0)).counts(10)
        [0, 5]
    """

    given: Sequence[int]

    def counts(self, pixels: int) -> list[int]:
        """The counts, checked against this image size."""
        for count in self.given:
            require_integer("GivenCounts", "given", count, 0, pixels)
        if not self.given:
            bad_value("GivenCounts", "given", "to hold at least one count", "none")
        return sorted(set(self.given))


@dataclass(frozen=True)
class FixedSteps:
    """At most S steps of ceil(n / S) pixels; the last may be short, and both ends are included.

    Example:
        >>> FixedSteps(4).counts(10), FixedSteps(4).counts(9)  # steps of 3; 9 needs no fourth
        ([0, 3, 6, 9, 10], [0, 3, 6, 9])
    """

    steps: int = 20

    def __post_init__(self) -> None:
        require_integer("FixedSteps", "steps", self.steps, 1, 2**31 - 1)

    def counts(self, pixels: int) -> list[int]:
        """0, step, 2 step, ... and n."""
        return PixelSteps(max(-(-pixels // self.steps), 1)).counts(pixels)


@dataclass(frozen=True)
class GridFractions:
    """The fractions i / S, i = first .. last, each rounded down to whole pixels in exact arithmetic.

    A grid may leave out either end; last None is S. Points may repeat where S > n: each keeps its weight in a plain mean.

    Example:
        >>> GridFractions(4, first=1).counts(10), GridFractions(4, last=3).counts(10)
        ([2, 5, 7, 10], [0, 2, 5, 7])
    """

    steps: int
    first: int = 0
    last: int | None = None

    def __post_init__(self) -> None:
        require_integer("GridFractions", "steps", self.steps, 1, 2**31 - 1)
        if self.last is not None:
            require_integer("GridFractions", "last", self.last, 0, self.steps)
        require_integer("GridFractions", "first", self.first, 0, self.steps if self.last is None else self.last)

    def counts(self, pixels: int) -> list[int]:
        """floor(i n / S)."""
        last = self.steps if self.last is None else self.last
        return [i * pixels // self.steps for i in range(self.first, last + 1)]


@dataclass(frozen=True)
class GivenFractions:
    """Fractions as given, sorted; they need not include the ends.

    Counts are int(t n) in floating point, as published codes have it: 0.29 of 100 pixels is 28. Points may repeat.

    Example:
        >>> GivenFractions((0.5, 0.1)).counts(15)
        [1, 7]
    """

    given: Sequence[float]

    def __post_init__(self) -> None:
        if not self.given:
            bad_value("GivenFractions", "given", "to hold at least one fraction", "none")
        for share in self.given:
            _check_share("GivenFractions", "given", share)

    def counts(self, pixels: int) -> list[int]:
        """int(t n)."""
        return sorted(int(share * pixels) for share in self.given)


@dataclass(frozen=True)
class TruncatedLinspace:
    """S + 1 counts from 0 to floor(n largest), evenly spaced and cut to integers, without repeats: numpy's linspace of integers.

    Example:
        >>> TruncatedLinspace(4).counts(10), TruncatedLinspace(4, largest=0.5).counts(10)
        ([0, 2, 5, 7, 10], [0, 1, 2, 3, 5])
    """

    steps: int = 10
    largest: float = 1.0

    def __post_init__(self) -> None:
        require_integer("TruncatedLinspace", "steps", self.steps, 1, 2**31 - 1)
        _check_share("TruncatedLinspace", "largest", self.largest)

    def counts(self, pixels: int) -> list[int]:
        """int(i floor(n largest) / S)."""
        return sorted(set(np.linspace(0, int(pixels * self.largest), self.steps + 1, dtype=np.int64).tolist()))


@dataclass(frozen=True)
class OpenSteps:
    """Steps of floor(t n) pixels, at least one, from 0 while there are fewer than n; n itself only with `append_full`.

    Example:
        >>> OpenSteps(0.3).counts(11), OpenSteps(0.3, append_full=True).counts(11)
        ([0, 3, 6, 9], [0, 3, 6, 9, 11])
    """

    share: float = 0.05
    append_full: bool = False

    def __post_init__(self) -> None:
        _check_share("OpenSteps", "share", self.share)
        if self.share == 0:
            bad_value("OpenSteps", "share", "> 0", self.share)

    def counts(self, pixels: int) -> list[int]:
        """0, step, 2 step, ... below n."""
        return [*range(0, pixels, max(int(self.share * pixels), 1)), *([pixels] if self.append_full else [])]


@dataclass(frozen=True)
class Complement:
    """What another schedule leaves: n - count for each of its counts. Turns counts kept into counts removed.

    Example:
        >>> Complement(GivenFractions((0.1, 0.25))).counts(10)
        [8, 9]
    """

    schedule: Schedule

    def counts(self, pixels: int) -> list[int]:
        """n - count."""
        return sorted(pixels - count for count in self.schedule.counts(pixels))


@dataclass(frozen=True)
class WithoutFirst:
    """Another schedule without its first count, where a code does not ask about the clean image.

    Example:
        >>> WithoutFirst(PixelSteps(4)).counts(10)
        [4, 8, 10]
    """

    schedule: Schedule

    def counts(self, pixels: int) -> list[int]:
        """All counts but the first."""
        return self.schedule.counts(pixels)[1:]


def _check_share(function: str, argument: str, share: object) -> None:
    if isinstance(share, bool) or not isinstance(share, int | float):
        bad_type(function, argument, "to be a number", type(share).__name__)
    if not 0 <= share <= 1:
        bad_value(function, argument, "in [0, 1]", share)
