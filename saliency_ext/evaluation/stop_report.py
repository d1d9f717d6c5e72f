"""Where and why a study with a stopping rule ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..stats.pairwise_tests import PairVerdict, guarantee, missing

SEPARATED, BUDGET, TIME, ALL = "separated", "budget", "time", "all images"


@dataclass(frozen=True)
class StopReport:
    """Where a study with a stop rule ended. `str()` is a paragraph.

    Attributes:
        why: "separated", "budget", "time", or "all images".
        metric: of the pairwise tests, or None. alpha: their familywise error probability. pairs: their verdicts.
        chunks, images: evaluated; population: all images; left_out: evaluated images without a value for some map.
        masked_inputs, seconds: cost of these chunks; full, full_seconds: extrapolated to all images.
    """

    why: str
    metric: str | None
    alpha: float
    pairs: tuple[PairVerdict, ...]
    chunks: int
    images: int
    population: int
    left_out: int
    masked_inputs: int
    full: int
    seconds: float
    full_seconds: float

    @staticmethod
    def read(plain: Mapping[str, Any] | None) -> "StopReport | None":
        """From its plain values, as `dataclasses.asdict` makes them."""
        return None if plain is None else StopReport(**{**plain, "pairs": tuple(PairVerdict(**pair) for pair in plain["pairs"])})

    @property
    def early(self) -> bool:
        """Whether it ended before all images were evaluated."""
        return self.images < self.population

    @property
    def reason(self) -> str:
        """Why it ended, in one sentence."""
        texts = {
            SEPARATED: f"every pair is decided under {self.metric}",
            BUDGET: "the budget of masked inputs is spent",
            TIME: "the time limit is reached",
        }
        undecided = sum(not pair.decided for pair in self.pairs)
        left = f"; {undecided} of {len(self.pairs)} pairs are undecided under {self.metric}" if undecided else ""
        without = f" {missing(self.left_out)}" if self.left_out else ""
        if not self.early:
            return f"All {self.population} images were evaluated{left}.{without}"
        return f"Stopped after {self.images} of {self.population} images: {texts[self.why]}{left}.{without}"

    @property
    def share(self) -> str:
        """Its cost beside that of a full run, in one sentence."""
        if not self.early:
            return f"Cost: {self.masked_inputs:,} masked inputs, {_shown(self.seconds)} of compute time."
        times = f" ({self.full / self.masked_inputs:.1f} times fewer)" if self.masked_inputs else ""
        return (
            f"Cost: {self.masked_inputs:,} masked inputs instead of about {self.full:,} in a full run{times}; "
            f"{_shown(self.seconds)} of compute time instead of about {_shown(self.full_seconds)}."
        )

    @property
    def guarantee(self) -> str:
        """What holds for the verdicts of the pairs, and for all other intervals."""
        decided = any(pair.decided for pair in self.pairs)
        verdicts = [guarantee(self.alpha, self.population, "verdicts on these pairs")] if decided else []
        if self.early and self.metric is None:
            verdicts.append(
                f"The images are a random sample of all {self.population}, drawn independently of the values: intervals are for "
                "the mean over all of them."
            )
        elif self.early:
            verdicts.append(
                "Other intervals and verdicts of this run assume a fixed number of images: after data-dependent stopping they "
                "undercover slightly."
            )
        return " ".join(verdicts)

    def __str__(self) -> str:
        return "\n".join([" ".join(filter(None, (self.reason, self.share, self.guarantee))), *map(str, self.pairs)])


def _shown(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
