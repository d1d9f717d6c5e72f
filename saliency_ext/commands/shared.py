"""What methods and metrics of a run have in common."""

from dataclasses import dataclass

from ..protocols import Infill


@dataclass(frozen=True)
class Shared:
    """The choices that every method and metric of a run gets, where it has such a choice."""

    infill: Infill
    steps: int
    score: str
    seed: int
    max_batch: int
