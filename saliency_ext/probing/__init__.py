"""From questions to answers: mask families, schedules, the plan that removes duplicates, the engine that runs the model."""

from .answers import Answers
from .coalitions import CoalitionMasks
from .engine import Engine
from .masks import BoxMasks, DenseMasks, GridMasks, Masks, RankMasks, SegmentMasks
from .orders import BlockOrder, Order, RandomOrder, Ranked
from .plan import Plan
from .runner import Counters
from .schedule import EqualFractions, GivenCounts, LogSpaced, PixelSteps, Schedule
from .session import Session

__all__ = [
    "Answers",
    "BlockOrder",
    "BoxMasks",
    "CoalitionMasks",
    "Counters",
    "DenseMasks",
    "Engine",
    "EqualFractions",
    "GivenCounts",
    "GridMasks",
    "LogSpaced",
    "Masks",
    "Order",
    "PixelSteps",
    "Plan",
    "RandomOrder",
    "RankMasks",
    "Ranked",
    "Schedule",
    "SegmentMasks",
    "Session",
]
