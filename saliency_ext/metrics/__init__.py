"""Metrics: one per file.

Two kinds: a curve metric says which masked inputs it needs (`request`) and turns outputs into values (`compute`); a map metric
needs no model and reads the map itself, mostly against a truth mask (`score`).

To add a curve metric: subclass `CurveMetric` in a new file, give it a class attribute `info: MetricInfo`, implement `request` and
`compute`, list it here, and add its naive counterpart and a hand example to the tests. A metric with probes that is no curve
follows the protocol `context.Metric`.
"""

from .average_drop import AverageDrop, AverageGain, AverageIncrease
from .completeness import Completeness
from .complexity import Complexity
from .context import Metric, MetricContext
from .curve_metric import CurveMetric
from .deletion import Deletion
from .fidelity import Fidelity
from .geometry_gap import GeometryGap
from .infidelity import Infidelity
from .insertion import Insertion
from .mask_agreement import MaskAgreement
from .mask_detectability import MaskDetectability
from .max_sensitivity import MaxSensitivity
from .model_randomisation import ModelRandomisation
from .morf import LeRF, MoRF
from .percentile_gap import PercentileGap
from .pointing_game import PointingGame
from .presets import PRESETS, preset
from .relevance_mass import RelevanceMass
from .relevance_rank import RelevanceRank
from .result import MetricResult
from .road import ROAD, ROADCombined
from .sensitivity_n import SensitivityN
from .soundness import Soundness
from .sparseness import Sparseness
from .symmetric_relevance_gain import SymmetricRelevanceGain

__all__ = [
    "PRESETS",
    "ROAD",
    "AverageDrop",
    "AverageGain",
    "AverageIncrease",
    "Completeness",
    "Complexity",
    "CurveMetric",
    "Deletion",
    "Fidelity",
    "GeometryGap",
    "Infidelity",
    "Insertion",
    "LeRF",
    "MaskAgreement",
    "MaskDetectability",
    "MaxSensitivity",
    "Metric",
    "MetricContext",
    "MetricResult",
    "MoRF",
    "ModelRandomisation",
    "PercentileGap",
    "PointingGame",
    "ROADCombined",
    "RelevanceMass",
    "RelevanceRank",
    "SensitivityN",
    "Soundness",
    "Sparseness",
    "SymmetricRelevanceGain",
    "preset",
]
