"""From questions to answers: mask families, schedules, the plan that removes duplicates, the engine that runs the model."""

from .adaptive import AdaptiveCurves, AdaptiveSteps
from .answers import Answers
from .coalitions import CoalitionMasks
from .engine import Engine
from .masks import BoxMasks, DenseMasks, GridMasks, Masks, RankMasks, SegmentMasks
from .orders import BlockOrder, Order, RandomOrder, Ranked
from .plan import Plan
from .points import Points
from .runner import Counters
from .sampling import StratifiedSteps, learn_strata
from .schedule import (
    Complement,
    EqualFractions,
    FixedSteps,
    GivenCounts,
    GivenFractions,
    GridFractions,
    LogSpaced,
    OpenSteps,
    PixelSteps,
    Schedule,
    TruncatedLinspace,
    WithoutFirst,
)
from .session import Session

__all__ = [
    "AdaptiveCurves",
    "AdaptiveSteps",
    "Answers",
    "BlockOrder",
    "BoxMasks",
    "CoalitionMasks",
    "Complement",
    "Counters",
    "DenseMasks",
    "Engine",
    "EqualFractions",
    "FixedSteps",
    "GivenCounts",
    "GivenFractions",
    "GridFractions",
    "GridMasks",
    "LogSpaced",
    "Masks",
    "OpenSteps",
    "Order",
    "PixelSteps",
    "Plan",
    "Points",
    "RandomOrder",
    "RankMasks",
    "Ranked",
    "Schedule",
    "SegmentMasks",
    "Session",
    "StratifiedSteps",
    "TruncatedLinspace",
    "WithoutFirst",
    "learn_strata",
]
