"""Curve metrics whose points each image may choose for itself: first a few, then more where they matter, round by round."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..probing import AdaptiveSteps, Answers, Order, Points, RankMasks
from .case import Case, Keys, Wanted
from .curve_metric import CurveMetric


@dataclass
class RefinedCurve:
    """What a metric holds of a curve between rounds: the only thing about it that changes.

    Attributes:
        points: its masks; `backwards` where the metric's fractions count from their end.
        first: keys of the points that every image was asked, at `places`.
        asked: (N, P) bool, points asked so far, in the order of the metric's fractions.
    """

    points: Points
    backwards: bool
    first: Keys
    places: list[int]
    asked: Tensor

    def scores(self, answers: Answers, kind: str) -> Tensor:
        """(N, P) scores in the order of the metric's fractions; NaN where nothing is known."""
        found = self._turned(answers.point_scores(self.points, kind)).clone()
        found[:, self.places] = answers.mean_score(self.first, kind)
        return found

    def ask(self, more: Tensor) -> Wanted:
        """Asks for further points (N, P)."""
        self.asked |= more
        return self.points, self._turned(more)

    def _turned(self, values: Tensor) -> Tensor:
        return values.flip(1) if self.backwards else values


Curve = Keys | RefinedCurve
_Read = tuple[list[Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class RefinableMetric(CurveMetric):
    """A curve metric that takes `AdaptiveSteps` too; see `CurveMetric` for the choices."""

    takes_adaptive: ClassVar[bool] = True

    def curve_most_removed(self, case: Case, order: Order) -> Curve:
        """The curve that removes the first of an order."""
        return self._refined(case, order, "tail") or self.ask_most_relevant_removed(case, order)

    def curve_least_removed(self, case: Case, order: Order) -> Curve:
        """The curve that removes the last of an order: insertion, read backwards."""
        return self._refined(case, order, "head", backwards=True) or self.ask_least_relevant_removed(case, order)

    def curve_most_inserted(self, case: Case, order: Order) -> Curve:
        """The curve that inserts the first of an order."""
        return self._refined(case, order, "head") or self.ask_most_relevant_inserted(case, order)

    def _refined(self, case: Case, order: Order, keep: str, backwards: bool = False) -> RefinedCurve | None:
        if not isinstance(self.schedule, AdaptiveSteps):
            return None
        grid = self.schedule.grid_counts(order.pixels)
        kept = [order.pixels - count for count in grid] if backwards else grid
        places = self.schedule.first_places(len(grid))
        first = case.ask(RankMasks(order, [kept[place] for place in places], keep=keep), self.infill)
        asked = torch.zeros(len(case.inputs), len(grid), dtype=torch.bool)
        asked[:, places] = True
        return RefinedCurve(Points(order, tuple(sorted(kept)), keep, self.infill), backwards, first, places, asked)

    def refine(self, answers: Answers, asked: Any) -> list[Wanted]:
        """Points that images still ask for; none without `AdaptiveSteps`."""
        return self.more(answers, [asked[0]])

    def more(self, answers: Answers, curves: Sequence[Curve], unit: Tensor | None = None) -> list[Wanted]:
        """Points that images still ask for of curves that make one number together, in units (N, 1) of the score."""
        if not isinstance(self.schedule, AdaptiveSteps):
            return []
        refined, *known = self._known(answers, curves, unit)
        wanted = self.schedule.wanted(*known)
        return [curve.ask(own) for curve, own in zip(refined, wanted.unbind(1), strict=True)] if wanted.any() else []

    def read_curves(self, answers: Answers, curves: Sequence[Curve], unit: Tensor | None = None) -> _Read:
        """Scores (N, S) of each curve, in units (N, 1) of the score, and the extras of an adaptive schedule."""
        if isinstance(self.schedule, AdaptiveSteps):
            found = self.schedule.settled(*self._known(answers, curves, unit)[1:])
            extras = {"bound": found.bound, "evaluated": found.evaluated.double(), "certified": found.certified.double()}
            return list(found.curves.unbind(1)), extras
        scores = [self.read(answers, keys) for keys in curves if isinstance(keys, list)]
        return scores if unit is None else [own / unit for own in scores], {}

    def _known(
        self, answers: Answers, curves: Sequence[Curve], unit: Tensor | None
    ) -> tuple[list[RefinedCurve], Tensor, Tensor, Tensor]:
        """The curves; their scores and what was asked, (N, K, P) both; fractions (P,)."""
        refined = [curve for curve in curves if isinstance(curve, RefinedCurve)]
        scores = torch.stack([curve.scores(answers, self.score) for curve in refined], 1)
        asked = torch.stack([curve.asked for curve in refined], 1)
        return refined, scores if unit is None else scores / unit[:, None], asked, self.fractions(refined[0].points.order.pixels)
