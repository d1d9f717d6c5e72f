"""Where a study with a stopping rule ended, and why."""

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
        metric: that was to decide, or None. alpha: chance that any verdict is wrong. pairs: the verdicts.
        chunks, images: that the results are of; population: images there are; left_out: images without a value of some map.
        masked_inputs, seconds: that these chunks took; full, full_seconds: what all images would take at this pace.
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
    def read(found: Mapping[str, Any] | None) -> "StopReport | None":
        """From its plain values, as `dataclasses.asdict` makes them."""
        return None if found is None else StopReport(**{**found, "pairs": tuple(PairVerdict(**pair) for pair in found["pairs"])})

    @property
    def early(self) -> bool:
        """Whether images were left."""
        return self.images < self.population

    @property
    def reason(self) -> str:
        """Why it ended, in one sentence."""
        texts = {
            SEPARATED: f"every pair is decided under {self.metric}",
            BUDGET: "the budget of masked inputs is spent",
            TIME: "the time is over",
        }
        open_pairs = sum(not pair.decided for pair in self.pairs)
        left = f"; {open_pairs} of {len(self.pairs)} pairs are still open under {self.metric}" if open_pairs else ""
        without = f" {missing(self.left_out)}" if self.left_out else ""
        if not self.early:
            return f"All {self.population} images were looked at{left}.{without}"
        return f"Stopped after {self.images} of {self.population} images: {texts[self.why]}{left}.{without}"

    @property
    def share(self) -> str:
        """What it took of what a full run takes, in one sentence."""
        if not self.early:
            return f"It took {self.masked_inputs:,} masked inputs and {_shown(self.seconds)} of work."
        times = f", {self.full / self.masked_inputs:.1f} times fewer" if self.masked_inputs else ""
        return (
            f"It took {self.masked_inputs:,} masked inputs of about {self.full:,} of a full run{times}; all images would take "
            f"about {_shown(self.full_seconds)} of work at this pace instead of {_shown(self.seconds)}."
        )

    @property
    def guarantee(self) -> str:
        """What the verdicts of the pairs, and all other intervals, are worth."""
        decided = any(pair.decided for pair in self.pairs)
        verdicts = [guarantee(self.alpha, self.population, "the verdicts on its pairs")] if decided else []
        if self.early and self.metric is None:
            verdicts.append(
                f"The images are a random sample of all {self.population}, drawn without looking at any value: intervals are for "
                "the mean over all of them."
            )
        elif self.early:
            verdicts.append(
                "Other intervals and verdicts of this run are made for a fixed number of images: after a stop that values may "
                "decide they are a little too sure."
            )
        return " ".join(verdicts)

    def __str__(self) -> str:
        return "\n".join([" ".join(filter(None, (self.reason, self.share, self.guarantee))), *map(str, self.pairs)])


def _shown(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
