"""Presets of completeness and soundness [Gupta 2022; agup/soundness_saliency, which has no licence: from its formulas only].

All four: `Completeness` and `Soundness` on the same masked inputs. The softmax is restricted to the label set before it is
taken; pass one map per label (`TargetMaps`, or a method). The published sort is ascending with its tail taken: last index first,
undefined on ties. Plain mean over the grid, no trapezoid weights; with both ends it is the trapezoid + (v_S - v_0) / (2 S) over
the S points after v_0. "Wrong" labels are those the model does not say, whatever the annotation. The published scoring infill is
0 in model input space, also where the maps were learned with random images; others there are `OtherImage` and `Constant`.
"""

from collections.abc import Sequence
from typing import Any

from ..infill.constant import Constant
from ..perturbation import GridFractions
from ..protocols import Infill
from .base import ModelMetric
from .completeness import Completeness
from .soundness import Soundness

_ZERO = Constant(0.0)
_GRID = 28

Labels = str | Sequence[int] | None


def gupta2022(*, labels: Labels = None, infill: Infill = _ZERO) -> list[ModelMetric]:
    """The ImageNet script's choices: kept shares 1/28 .. 28/28 (0 left out), both floors 0.1, cap 1.

    At 224 x 224 a step is 1792 pixels. labels: as in `Completeness`. Not reproduced: counts are exact integers here, where
    rounding makes one of the 28 published ones 30463 instead of 30464; and with a batch of infill images the published curve
    has a 29th point, nothing kept.
    """
    return _pair(labels, infill, GridFractions(_GRID, first=1))


def gupta2022_signature(*, labels: Labels = None, infill: Infill = _ZERO) -> list[ModelMetric]:
    """As `gupta2022` with the floors of the published function signatures: 0.01 for g, none for p.

    Without a floor, a p that underflows makes soundness 0.
    """
    return _pair(labels, infill, GridFractions(_GRID, first=1), floor_masked=0.01, floor_clean=0.0)


def gupta2022_reverse(*, labels: Labels = None, infill: Infill = _ZERO) -> list[ModelMetric]:
    """As `gupta2022` with the LEAST relevant pixels kept, shares 0 .. 27/28 (all kept left out): the published "deletion".

    Equal to `gupta2022` of the negated map but for the ends of the grid.
    """
    return _pair(labels, infill, GridFractions(_GRID, last=_GRID - 1), reverse=True)


def gupta2022_mass(*, labels: Labels = None, infill: Infill = _ZERO) -> list[ModelMetric]:
    """As `gupta2022` with levels that are shares of the map's sum: #(cumulative sum <= level) + 1 pixels kept, at most all.

    Non-negative maps only. Exact where 28 divides the number of pixels n, as at 224 x 224; else a level is floor(i n / 28) / n.
    """
    return _pair(labels, infill, GridFractions(_GRID, first=1), levels="mass")


def _pair(labels: Labels, infill: Infill, grid: GridFractions, **options: Any) -> list[ModelMetric]:
    choices: dict[str, Any] = {"labels": labels, "ties": "last_index", "area": "mean", **options}
    return [metric(infill, grid, **choices) for metric in (Completeness, Soundness)]
