"""How many pixels are removed at which step of a curve. Every schedule is a sorted list of counts in [0, n]."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..checks import bad_value, require_integer


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
