"""A row of the catalogue of metrics, and what all rows are made from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..infill import DatasetMean
from ..protocols import Infill

# What a metric may decide. "order" and "truth" judge a map by themselves. A "pair" is cheap to win alone and is read with its
# counterpart. "sanity" can only fail a method. "form" describes a map, right or wrong. "model" does not read the map.
ROLES = ("truth", "order", "pair", "sanity", "form", "model")


@dataclass(frozen=True)
class MetricChoices:
    """What all metrics of a run share.

    infill: what a removed pixel becomes. steps: of a curve. score: of the target. seed: of draws.
    """

    infill: Infill = field(default_factory=DatasetMean)
    steps: int = 20
    score: str = "probability"
    seed: int = 0


@dataclass(frozen=True)
class MetricEntry:
    """One row: name, role, what it says in plain words, what it needs besides maps ("truth", "method" or ""), how it is made."""

    name: str
    role: str
    meaning: str
    make: Callable[[MetricChoices], Any]
    needs: str = ""
