"""Scoring many maps under many metrics: `evaluate` at once, `Study` in files that survive; results, intervals, comparisons."""

from .artifacts import ArtifactBound, artifact_bound
from .control_variates import ControlledMean, controlled_mean
from .duels import PairVerdict, Ranking
from .evaluate import evaluate
from .intervals import Summary
from .maps import TargetMaps
from .proxies import Proxy, controlled_means
from .ranking import rank_methods
from .results import Comparison, Results
from .samples import Samples
from .saved import read_results, read_run, read_summary, read_table
from .sequences import BettingSequence
from .stopping import Stopped, StopRule
from .study import Study

__all__ = [
    "ArtifactBound",
    "BettingSequence",
    "Comparison",
    "ControlledMean",
    "PairVerdict",
    "Proxy",
    "Ranking",
    "Results",
    "Samples",
    "StopRule",
    "Stopped",
    "Study",
    "Summary",
    "TargetMaps",
    "artifact_bound",
    "controlled_mean",
    "controlled_means",
    "evaluate",
    "rank_methods",
    "read_results",
    "read_run",
    "read_summary",
    "read_table",
]
