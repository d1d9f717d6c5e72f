"""Statistics of per-sample values: intervals, confidence sequences, control variates, paired tests, agreement of rankings."""

from .agreement import RankAgreement, disagreement, krippendorff_alpha, more_stable, rank_agreement, self_advantage
from .confidence_sequence import BettingSequence
from .control_variates import ControlledMean, controlled_mean
from .intervals import Summary
from .pairwise_tests import PairVerdict, Ranking

__all__ = [
    "BettingSequence",
    "ControlledMean",
    "PairVerdict",
    "RankAgreement",
    "Ranking",
    "Summary",
    "controlled_mean",
    "disagreement",
    "krippendorff_alpha",
    "more_stable",
    "rank_agreement",
    "self_advantage",
]
