"""From questions to answers: mask families, schedules, the plan that removes duplicates, the engine that runs the model."""

from .adaptive import AdaptiveCurves, AdaptiveSteps
from .coalitions import CoalitionMasks
from .curve_points import CurvePoints
from .engine import Engine
from .masks import BoxMasks, DenseMasks, GridMasks, Masks, RankMasks, SegmentMasks
from .orders import BlockOrder, Order, RandomOrder, Ranked
from .outputs import Outputs
from .plan import Plan
from .runner import Counters
from .schedules import (
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
from .stratified import StratifiedSteps, learn_strata

__all__ = [
    "AdaptiveCurves",
    "AdaptiveSteps",
    "BlockOrder",
    "BoxMasks",
    "CoalitionMasks",
    "Complement",
    "Counters",
    "CurvePoints",
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
    "Outputs",
    "PixelSteps",
    "Plan",
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
