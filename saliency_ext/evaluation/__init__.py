"""Scoring many maps under many metrics: `evaluate` at once, `Study` in files that survive; results, intervals, comparisons."""

from .artifacts import ArtifactBound, artifact_bound
from .evaluate import evaluate
from .intervals import Summary
from .maps import TargetMaps
from .results import Comparison, Results
from .samples import Samples
from .saved import read_results, read_run, read_summary, read_table
from .study import Study

__all__ = [
    "ArtifactBound",
    "Comparison",
    "Results",
    "Samples",
    "Study",
    "Summary",
    "TargetMaps",
    "artifact_bound",
    "evaluate",
    "read_results",
    "read_run",
    "read_summary",
    "read_table",
]
