"""Judging maps: evaluate them under metrics, with intervals and paired comparisons."""

from .evaluate import evaluate
from .results import Comparison, Results, Summary

__all__ = ["Comparison", "Results", "Summary", "evaluate"]
