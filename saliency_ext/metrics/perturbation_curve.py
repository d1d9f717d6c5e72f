"""The two perturbation curves and their one number: most relevant pixels first, and least relevant pixels first.

Deletion, MoRF and the MIF half of fidelity are one curve; insertion and LeRF (LIF) are the other, read in opposite directions.
With `AdaptiveSteps` each image chooses its points: first a few, then more where the area is least certain, round by round.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..checks import bad_value, require_choice
from ..perturbation import AdaptiveSteps, CurvePoints, Order, Outputs, RankMasks, StratifiedSteps
from .context import Keys, MetricContext, RequestedPoints
from .curve_metric import CurveMetric
from .result import MetricResult


@dataclass
class RefinedCurve:
    """What a metric holds of a curve between rounds: the only thing about it that changes.

    Attributes:
        points: its masks; `backwards` where the metric's fractions count from their end.
        first: keys of the points that every image was asked, at `places`.
        requested: (N, P) bool, points requested so far, in the order of the metric's fractions.
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
_SUMMARIES = ("auc", "aopc")
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
        wanted = self.schedule.next_points(*known)
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


@dataclass(frozen=True)
class PerturbationCurve(RefinableMetric):
    """One curve and its one number.

    Args:
        summary: "auc", the area by the rule `area`; or "aopc", the mean over the steps of (clean score - score)
            [Samek 2017, Eq. 12], whose direction is the opposite one.
    """

    summary: str = "auc"

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        require_choice(name, "summary", self.summary, _SUMMARIES)
        if self.summary == "aopc" and isinstance(self.schedule, StratifiedSteps | AdaptiveSteps):
            how = "drawn" if isinstance(self.schedule, StratifiedSteps) else "adaptive"
            bad_value(name, "summary", f"'auc' where steps are {how}", "'aopc'")

    @property
    def parameters(self) -> dict[str, object]:
        """All parameters, as plain values."""
        return {**super().parameters, "summary": self.summary}

    @property
    def value_range(self) -> tuple[float, float] | None:
        """That of the area; a mean drop may be negative and is not held to a range."""
        return super().value_range if self.summary == "auc" else None

    @abstractmethod
    def curve(self, context: MetricContext, order: Order) -> Curve:
        """Requests the points of the curve."""

    def request(self, context: MetricContext) -> tuple[Curve, int]:
        """The curve, and what its fractions are of."""
        return self.curve(context, self.order(context)), self.places(context)

    def compute(self, outputs: Outputs, requested: tuple[Curve, int]) -> MetricResult:
        """The area, or the mean drop."""
        fractions, ((curve,), extras) = self.fractions(requested[1]), self.read_curves(outputs, requested[:1])
        info, values = self.info, (curve[:, :1] - curve).mean(1)
        if self.summary == "auc":
            values = self.summarise(curve, fractions, requested[1])
        else:
            opposite = {"lower": "higher", "higher": "lower"}[info.direction]
            info = replace(info, name=f"{info.name}_aopc", direction=opposite, unit="mean drop of the score", range=None)
        return MetricResult(info, values, self.parameters, fractions=fractions, curves={info.name: curve}, extras=extras)


class MostRelevantFirst(PerturbationCurve):
    """The score as the most relevant pixels are removed one after the other: deletion, MoRF, MIF."""

    def curve(self, context: MetricContext, order: Order) -> Curve:
        """Fraction t: the image without its t n most relevant pixels."""
        return self.curve_most_removed(context, order)


class LeastRelevantFirst(PerturbationCurve):
    """The score as the least relevant pixels are removed: LeRF, LIF; read from its other end, insertion.

    Removing the n - k least relevant pixels is inserting the k most relevant ones into the infill.
    """

    from_the_infill: ClassVar[bool] = False  # insertion: fraction t holds the t n most relevant pixels

    def curve(self, context: MetricContext, order: Order) -> Curve:
        """Fraction t: the image without its t n least relevant pixels, or, from the infill, with its t n most relevant ones."""
        return (self.curve_most_inserted if self.from_the_infill else self.curve_least_removed)(context, order)
