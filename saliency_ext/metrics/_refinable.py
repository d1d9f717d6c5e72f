"""Curve metrics whose points each image may choose for itself: first a few, then more where they matter, round by round."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..perturbation import AdaptiveSteps, CurvePoints, Order, Outputs, RankMasks
from .context import Keys, MetricContext, RequestedPoints
from .curve_metric import CurveMetric


@dataclass
class RefinedCurve:
    """What a metric holds of a curve between rounds: the only thing about it that changes.

    Attributes:
        points: its masks; `backwards` where the metric's fractions count from their end.
        first: keys of the points that every image was asked, at `places`.
        asked: (N, P) bool, points asked so far, in the order of the metric's fractions.
    """

    points: CurvePoints
    backwards: bool
    first: Keys
    places: list[int]
    requested: Tensor

    def scores(self, outputs: Outputs, kind: str) -> Tensor:
        """(N, P) scores in the order of the metric's fractions; NaN where nothing is known."""
        result = self._turned(outputs.point_scores(self.points, kind)).clone()
        result[:, self.places] = outputs.mean_score(self.first, kind)
        return result

    def request(self, more: Tensor) -> RequestedPoints:
        """Asks for further points (N, P)."""
        self.requested |= more
        return self.points, self._turned(more)

    def _turned(self, values: Tensor) -> Tensor:
        return values.flip(1) if self.backwards else values


Curve = Keys | RefinedCurve
_Read = tuple[list[Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class RefinableMetric(CurveMetric):
    """A curve metric that takes `AdaptiveSteps` too; see `CurveMetric` for the choices."""

    takes_adaptive: ClassVar[bool] = True

    def curve_most_removed(self, context: MetricContext, order: Order) -> Curve:
        """The curve that removes the first of an order."""
        return self._refined(context, order, "tail") or self.request_most_relevant_removed(context, order)

    def curve_least_removed(self, context: MetricContext, order: Order) -> Curve:
        """The curve that removes the last of an order: insertion, read backwards."""
        return self._refined(context, order, "head", backwards=True) or self.request_least_relevant_removed(context, order)

    def curve_most_inserted(self, context: MetricContext, order: Order) -> Curve:
        """The curve that inserts the first of an order."""
        return self._refined(context, order, "head") or self.request_most_relevant_inserted(context, order)

    def _refined(self, context: MetricContext, order: Order, keep: str, backwards: bool = False) -> RefinedCurve | None:
        if not isinstance(self.schedule, AdaptiveSteps):
            return None
        grid = self.schedule.grid_counts(order.pixels)
        kept = [order.pixels - count for count in grid] if backwards else grid
        places = self.schedule.first_places(len(grid))
        first = context.request(RankMasks(order, [kept[place] for place in places], keep=keep), self.infill)
        requested = torch.zeros(len(context.inputs), len(grid), dtype=torch.bool)
        requested[:, places] = True
        return RefinedCurve(CurvePoints(order, tuple(sorted(kept)), keep, self.infill), backwards, first, places, requested)

    def refine(self, outputs: Outputs, requested: Any) -> list[RequestedPoints]:
        """Points that images still ask for; none without `AdaptiveSteps`."""
        return self.more(outputs, [requested[0]])

    def more(self, outputs: Outputs, curves: Sequence[Curve], unit: Tensor | None = None) -> list[RequestedPoints]:
        """Points that images still ask for of curves that make one number together, in units (N, 1) of the score."""
        if not isinstance(self.schedule, AdaptiveSteps):
            return []
        refined, *known = self._known(outputs, curves, unit)
        wanted = self.schedule.wanted(*known)
        return [curve.request(own) for curve, own in zip(refined, wanted.unbind(1), strict=True)] if wanted.any() else []

    def read_curves(self, outputs: Outputs, curves: Sequence[Curve], unit: Tensor | None = None) -> _Read:
        """Scores (N, S) of each curve, in units (N, 1) of the score, and the extras of an adaptive schedule."""
        if isinstance(self.schedule, AdaptiveSteps):
            result = self.schedule.converged(*self._known(outputs, curves, unit)[1:])
            extras = {"bound": result.bound, "evaluated": result.evaluated.double(), "certified": result.certified.double()}
            return list(result.curves.unbind(1)), extras
        scores = [self.read(outputs, keys) for keys in curves if isinstance(keys, list)]
        return scores if unit is None else [own / unit for own in scores], {}

    def _known(
        self, outputs: Outputs, curves: Sequence[Curve], unit: Tensor | None
    ) -> tuple[list[RefinedCurve], Tensor, Tensor, Tensor]:
        """The curves; their scores and what was asked, (N, K, P) both; fractions (P,)."""
        refined = [curve for curve in curves if isinstance(curve, RefinedCurve)]
        scores = torch.stack([curve.scores(outputs, self.score) for curve in refined], 1)
        requested = torch.stack([curve.requested for curve in refined], 1)
        return (
            refined,
            scores if unit is None else scores / unit[:, None],
            requested,
            self.fractions(refined[0].points.order.pixels),
        )
