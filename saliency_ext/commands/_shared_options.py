"""Options shared by the methods and metrics of a run."""

from dataclasses import dataclass

from ..protocols import Infill

BATCH = 64  # images per forward of a method, where no number is given


@dataclass(frozen=True)
class SharedOptions:
    """The choices that every method and metric of a run gets, where it has such a choice."""

    infill: Infill
    steps: int
    score: str
    seed: int
    max_batch: int
