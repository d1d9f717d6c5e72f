"""Metrics: one per file.

Two kinds: a curve metric says which probes it needs (`ask`) and turns answers into values (`finish`); a map metric needs no model
and reads the map itself, mostly against a truth mask (`score`).

To add a curve metric: subclass `CurveMetric` in a new file, give it a class attribute `info: MetricInfo`, implement `ask` and
`finish`, list it here, and add its naive counterpart and a hand example to the tests.
"""

from .complexity import Complexity
from .curve_metric import CurveMetric
from .deletion import Deletion
from .fidelity import Fidelity
from .insertion import Insertion
from .mask_agreement import MaskAgreement
from .morf import LeRF, MoRF
from .pointing_game import PointingGame
from .relevance_mass import RelevanceMass
from .relevance_rank import RelevanceRank
from .result import MetricResult
from .sparseness import Sparseness

__all__ = [
    "Complexity",
    "CurveMetric",
    "Deletion",
    "Fidelity",
    "Insertion",
    "LeRF",
    "MaskAgreement",
    "MetricResult",
    "MoRF",
    "PointingGame",
    "RelevanceMass",
    "RelevanceRank",
    "Sparseness",
]
