"""Adaptive sampling: each image's curve is refined where its area is least certain."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import bad_value, require_integer, require_ndim, require_number, require_shape, require_tensor
from .curve_integration import area_under, in_order, largest_error
from .schedules import EqualFractions


@dataclass(frozen=True)
class AdaptiveCurves:
    """What is known of N images, whose K curves were refined together on a grid of P points.

    Attributes:
        curves: (N, K, P) float64, evaluated points, and straight lines between them.
        requested: (N, K, P) bool, the points that were evaluated.
        areas: (N, K) float64, trapezoid areas over the evaluated points.
        bound: (N,) float64: no sum or difference of the K areas is further from the whole grid's, if the curves are monotone.
        evaluated: (N,) int64, points of the K curves together; both ends count in each.
        certified: (N,) bool, the bound is within the tolerance, and the evaluated points of each curve are monotone.
    """

    curves: Tensor
    requested: Tensor
    areas: Tensor
    bound: Tensor
    evaluated: Tensor
    certified: Tensor


@dataclass(frozen=True)
class AdaptiveSteps:
    """Points of a fine grid that each image chooses for itself: a few at first, then more where the area is least certain.

    Between two evaluated neighbours, h apart and v and w high, a monotone curve stays between v and w; so the trapezoid is off by
    at most

        bound = |v - w| (h - d) / 2,   d = the smaller of the first and the last grid step between them,

    which is attained by a jump next to a neighbour, and 0 where no grid point is left out. The intervals with the largest bounds
    are bisected until their sum is at most the tolerance; an odd number of steps is cut towards the middle of the grid, so that a
    curve read backwards is asked the same if G is even. Where several curves make one number, as in `Fidelity`, their intervals
    compete, and the sum is over all of them.

    In a round an image asks for the middles of all intervals whose bound is at least half of the largest (their halves are
    never larger than that, so one at a time would come to them before any half), the largest first, and no more than would meet
    the tolerance if each half kept half of the difference. What an image asks depends on its own scores alone, so no number
    depends on the other images, maps or metrics.

    Args:
        tolerance: > 0, of the metric's value, in its unit, against its value on the whole grid.
        grid: G >= 2, equal fractions of the grid; repeats are dropped where an image has fewer than G pixels.
        first: in [1, G], equal parts of the grid, whose ends are asked whatever the bound; 1: only the two ends of the curve.

    Note:
        In results the extras of an image are `bound`; `evaluated`, points of its curve or curves, both ends counted in each; and
        `certified`: 1 if the bound was met and the evaluated points rise or fall throughout, else 0, an estimate. Curves are on
        the whole grid, straight between evaluated points, and so are their means.
        Traps: the certificate is conditional: no evaluated point tells of a bump between two others, and curves of real models
        are seldom monotone to the last step, so some estimates are off by more than the tolerance. `first` finds wide bumps,
        which matter most where a curve ends as high as it began: its bound is 0 as long as nothing else is known. Errors are not
        random: other than with `StratifiedSteps` the mean over images is right up to the tolerance only, so `rank_methods` and
        `StopRule` refuse such steps.
        Deterministic. Memory beside the engine's: the ranks of all maps of a chunk, 4 bytes per pixel each, until it is scored.
        Cost: a round ends with a forward that may be padded; many maps or metrics, or larger chunks, leave less of that. The
        infill is made anew for each point of a round, where other schedules make it once per image.

    Example:
        >>> curves = torch.tensor([[1.0, 0, 0, 0, 0, 0, 0, 0, 0], [8.0, 7, 6, 5, 4, 3, 2, 1, 0]]) / torch.tensor([[1.0], [8.0]])
        >>> result = AdaptiveSteps(0.1, grid=8, first=1).simulate(curves)
        >>> result.requested[0, 0].nonzero().flatten().tolist(), result.areas[0].item(), result.bound[0].item()
        ([0, 2, 4, 8], 0.125, 0.0625)
        >>> result.evaluated.tolist(), result.certified.tolist(), torch.trapezoid(curves, dx=1 / 8).tolist()
        ([4, 5], [True, True], [0.0625, 0.5])
    """

    tolerance: float = 0.01
    grid: int = 100
    first: int = 4

    def __post_init__(self) -> None:
        require_number("AdaptiveSteps", "tolerance", self.tolerance, above=0.0)
        require_integer("AdaptiveSteps", "grid", self.grid, 2, 2**24)
        require_integer("AdaptiveSteps", "first", self.first, 1, self.grid)

    def grid_counts(self, pixels: int) -> list[int]:
        """Counts (P,) of the whole grid, P = G + 1 unless there are fewer pixels."""
        return EqualFractions(self.grid).counts(pixels)

    def first_places(self, points: int) -> list[int]:
        """Which of the grid's points is requested for every image, the same from either end."""
        ends = ((i, i * (points - 1)) for i in range(self.first + 1))
        return sorted({-(-end // self.first) if 2 * i < self.first else end // self.first for i, end in ends})

    def next_points(self, scores: Tensor, requested: Tensor, fractions: Tensor) -> Tensor:
        """The points to request for each image in its next round: none where it is done, or where a score is not finite.

        Args:
            scores: (N, K, P) float64, of K curves of each image; only those that were requested are read.
            requested: (N, K, P) bool, `first_places` among them.
            fractions: (P,) float64, of the grid.

        Returns:
            (N, K, P) bool, of points not requested before.
        """
        after, bounds = _bounds(scores, requested, fractions)
        flat = bounds.flatten(1)
        ordered, order = flat.sort(dim=1, descending=True, stable=True)
        total = in_order(flat)[:, None]
        places = torch.arange(len(fractions))
        steps = (after - places).flatten(1).gather(1, order)
        spared = ordered * steps / (2 * (steps - 1)).clamp(min=1)  # all that goes if each half keeps half of the difference
        still = total - (spared.cumsum(1) - spared)
        chosen = (ordered >= ordered[:, :1] / 2) & (ordered > 0) & (still > self.tolerance) & total.isfinite()
        chosen = torch.zeros_like(chosen).scatter(1, order, chosen).view_as(requested)
        twice = places + after
        middles = (twice + (twice < len(places) - 1)) // 2
        return torch.zeros_like(requested).scatter_reduce(2, middles, chosen, "amax") & ~requested

    def converged(self, scores: Tensor, requested: Tensor, fractions: Tensor) -> AdaptiveCurves:
        """What follows from the points that were requested; arguments as in `next_points`."""
        after, bounds = _bounds(scores, requested, fractions)
        rise = torch.where(_starts(requested), scores.gather(2, after) - scores, 0.0)
        monotone = ((rise >= 0).all(2) | (rise <= 0).all(2)).all(1)
        bound = in_order(bounds.flatten(1))
        curves = _interpolated(scores, requested, fractions)
        areas = area_under(curves, fractions)
        return AdaptiveCurves(curves, requested, areas, bound, requested.sum((1, 2)), monotone & (bound <= self.tolerance))

    def simulate(self, curves: Tensor, fractions: Tensor | None = None) -> AdaptiveCurves:
        """The refinement on curves that are already known on the whole grid: for studies, without a model.

        Args:
            curves: (N, G + 1) scores on the whole grid, or (N, K, G + 1) where K curves are refined together.
            fractions: (P,) rising, of a grid that is not even, with curves (N, P) or (N, K, P); None: i / G.

        Returns:
            `AdaptiveCurves`, on the host; K = 1 for curves (N, G + 1).

        Raises:
            TypeError, ValueError: curves or fractions are no tensors of such shapes.
        """
        name = "AdaptiveSteps.simulate"
        given = require_tensor(name, "curves", curves)
        if given.ndim == 2:
            given = given[:, None]
        require_ndim(name, "curves", given, "(N, K, P)")
        at = torch.arange(self.grid + 1, dtype=torch.float64) / self.grid
        if fractions is not None:
            require_ndim(name, "fractions", require_tensor(name, "fractions", fractions), "(P,)")
            at = fractions.detach().double().cpu()
            if len(at) < 2 or not (at.diff() > 0).all():
                bad_value(name, "fractions", "at least two, rising", at.tolist())
        require_shape(name, "curves", given, "(N, K, P)", (*given.shape[:2], len(at)))
        scores = given.detach().double().cpu()
        requested = torch.zeros(scores.shape, dtype=torch.bool)
        requested[..., self.first_places(len(at))] = True
        active = torch.arange(len(scores))
        while len(active):
            more = self.next_points(scores[active], requested[active], at)
            requested[active] |= more
            active = active[more.flatten(1).any(1)]
        return self.converged(scores, requested, at)


def _starts(requested: Tensor) -> Tensor:
    """(N, K, P) bool, evaluated points at which an interval begins: all but the last."""
    return requested & (torch.arange(requested.shape[2]) < requested.shape[2] - 1)


def _following(requested: Tensor) -> Tensor:
    """(N, K, P) int64, the first evaluated point at each place or after it."""
    last = requested.shape[2] - 1
    places = torch.where(requested, torch.arange(last + 1), last)
    return places.flip(2).cummin(2).values.flip(2)


def _bounds(scores: Tensor, requested: Tensor, fractions: Tensor) -> tuple[Tensor, Tensor]:
    """For the interval that begins at each evaluated point: where it ends, and how far off its area may be, (N, K, P) both."""
    last = len(fractions) - 1
    after = _following(requested)[..., [*range(1, last + 1), last]]
    steps = fractions.diff()
    width = fractions[after] - fractions
    finest = torch.minimum(steps[[*range(last), last - 1]], steps[(after - 1).clamp(min=0)])
    off = largest_error(scores.gather(2, after) - scores, width, finest)
    return after, torch.where(_starts(requested), off, 0.0)


def _interpolated(scores: Tensor, requested: Tensor, fractions: Tensor) -> Tensor:
    """(N, K, P) the evaluated points, and straight lines between them."""
    before = torch.where(requested, torch.arange(requested.shape[2]), 0).cummax(2).values
    after = _following(requested)
    low, high = scores.gather(2, before), scores.gather(2, after)
    share = (fractions - fractions[before]) / (fractions[after] - fractions[before])
    return torch.where(requested, scores, low + (high - low) * share)
