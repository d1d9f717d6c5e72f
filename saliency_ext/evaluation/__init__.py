"""Scoring many maps under many metrics: `evaluate`, its results, intervals and comparisons."""

from .artifacts import ArtifactBound, artifact_bound
from .evaluate import evaluate
from .intervals import Summary
from .maps import TargetMaps
from .results import Comparison, Results

__all__ = ["ArtifactBound", "Comparison", "Results", "Summary", "TargetMaps", "artifact_bound", "evaluate"]
