"""Scoring many maps under many metrics: `evaluate`, its results, intervals and comparisons."""

from .evaluate import evaluate
from .maps import TargetMaps
from .results import Comparison, Results, Summary

__all__ = ["Comparison", "Results", "Summary", "TargetMaps", "evaluate"]
