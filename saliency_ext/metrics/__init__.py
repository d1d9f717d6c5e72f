"""Metrics: one per file. A metric says which probes it needs (`ask`) and turns answers into values (`finish`).

To add a curve metric: subclass `CurveMetric` in a new file, give it a class attribute `info: MetricInfo`, implement `ask` and
`finish`, list it here, and add its naive counterpart and a hand example to the tests.
"""

from .curve_metric import CurveMetric
from .deletion import Deletion
from .fidelity import Fidelity
from .insertion import Insertion
from .morf import LeRF, MoRF
from .result import MetricResult

__all__ = ["CurveMetric", "Deletion", "Fidelity", "Insertion", "LeRF", "MetricResult", "MoRF"]
