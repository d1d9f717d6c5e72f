"""From questions to answers: mask families, schedules, the plan that removes duplicates, the engine that runs the model."""

from .answers import Answers
from .engine import Counters, Engine
from .masks import BoxMasks, DenseMasks, GridMasks, Masks, Ranked, RankMasks, SegmentMasks
from .plan import Plan
from .schedule import EqualFractions, GivenCounts, LogSpaced, PixelSteps, Schedule

__all__ = [
    "Answers",
    "BoxMasks",
    "Counters",
    "DenseMasks",
    "Engine",
    "EqualFractions",
    "GivenCounts",
    "GridMasks",
    "LogSpaced",
    "Masks",
    "PixelSteps",
    "Plan",
    "RankMasks",
    "Ranked",
    "Schedule",
    "SegmentMasks",
]
