"""Pointing game: does the most relevant pixel lie on the object?"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..checks import require_integer, require_mask
from ..nonfinite import finite_rows
from ..ops.rank import checked_saliency
from ..protocols import MetricInfo
from ._levels import levelled, score_dtype
from .base import MapMetric


@dataclass(frozen=True)
class PointingGame(MapMetric):
    """1 where the maximum of the map lies on the truth or at most `tolerance` pixels from it, else 0.

    hit = #{p in M : distance(p, truth) <= tolerance} / #M,  M = {p : saliency(p) = max saliency}  [Zhang 2016, for one maximum]
    The distance is Euclidean, between pixel centres, to the nearest truth pixel: the tolerance is a circle. Deviations: of
    several tied maxima the share that hits counts, which is what one drawn at random would score; values that differ by rounding
    alone tie (`levels.levelled`); a pixel at exactly the tolerance hits (with "<" instead, which is also in use, nothing would
    hit at tolerance 0).

    Given an `other` truth, for example that of the second object, the score is hit(truth) - hit(other). A map that ignores
    the model, such as the grey level, hits both objects equally often: report the difference beside the hit rate. A maximum
    near both counts for both.

    Direction: higher is better. Unit: share of the tied maxima; averaged over images, the hit rate. Range: [0, 1], with `other`
    [-1, 1]. Polarity: larger saliency = more relevant; of a negated map the minimum counts.

    Args:
        tolerance: pixels >= 0; 15 is usual for images of about 224 x 224 pixels.

    Raises:
        TypeError: tolerance is not an int.
        ValueError: tolerance out of [0, 2^20].

    Note:
        Deterministic. Traps: of the order of the map only the maximum is read: a map can be wrong everywhere else. The hit
        rate of a random point is the area share of the grown truth; print it beside the score. Time O(N H W min(H, tolerance)).

    Example:
        >>> import torch
        >>> saliency = torch.tensor([[[0.0, 1.0, 5.0, 0.0]]])
        >>> truth = torch.tensor([[[True, False, False, False]]])
        >>> PointingGame().score(saliency, truth), PointingGame(tolerance=2).score(saliency, truth)
        (tensor([0.]), tensor([1.]))

    References:
        Zhang, Lin, Brandt, Shen, Sclaroff. Top-down Neural Attention by Excitation Backprop. ECCV 2016.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="pointing_game",
        direction="higher",
        unit="share",
        measures="whether the most relevant pixel lies on the object; with `other`, less the same on the other object",
        reference="Zhang 2016",
        role="truth",
        needs="truth",
        range=(0.0, 1.0),
        meaning="Is the most relevant pixel on the object? A map that only finds bright spots may hit too: the "
        "difference to the other object shows that.",
        default=4,
    )

    tolerance: int = 0

    def __post_init__(self) -> None:
        require_integer("PointingGame", "tolerance", self.tolerance, 0, 2**20)

    def score(
        self, saliency: Tensor, truth: Tensor | None = None, *, other: Tensor | None = None, sample_ids: Tensor | None = None
    ) -> Tensor:
        """Hits on the truth, less hits on `other` where it is given; one value per image.

        Args:
            saliency: (N, H, W) floating, larger = more relevant. Any strides.
            truth: (N, H, W) bool, True on the object.
            other: (N, H, W) bool, True on what must not be hit.

        Returns:
            (N,) float32, float64 for float64 maps; computed in float64.
            NaN where the map has NaN or Inf or is constant, and where truth or
            other is empty.

        Raises:
            TypeError: saliency is not a floating tensor; truth or other is not a bool tensor (truth=None included).
            ValueError: shapes or devices differ.
        """
        function = "PointingGame.score"
        values = levelled(checked_saliency(function, saliency, "last"))
        masks = []
        for name, region in (("truth", truth), ("other", other))[: 1 if other is None else 2]:
            mask = require_mask(function, name, region, values, "saliency")
            masks.append(mask)
        if values.numel() == 0:
            return saliency.new_full(saliency.shape[:1], math.nan, dtype=score_dtype(saliency))
        flat = values.flatten(1)
        defined = finite_rows(flat) & (flat != flat[:, :1]).any(1)
        maxima = flat == flat.amax(1, keepdim=True)
        hits = []
        for mask in masks:
            defined &= mask.flatten(1).any(1)
            hits.append((maxima & _grown(mask, self.tolerance).flatten(1)).sum(1).double() / maxima.sum(1))
        score = hits[0] if other is None else hits[0] - hits[1]
        return torch.where(defined, score, math.nan).to(score_dtype(saliency))


def _grown(mask: Tensor, radius: int) -> Tensor:
    """True within `radius` of a True pixel: row by row, as far sideways as the circle reaches there, in exact integers."""
    height, width = mask.shape[1:]
    left_of = torch.nn.functional.pad(mask.cumsum(2), (1, 0))  # number of True pixels before each column
    columns = torch.arange(width, device=mask.device)
    grown = mask.clone()
    reach = min(radius, height - 1)
    for down in range(-reach, reach + 1):
        aside = math.isqrt(radius * radius - down * down)
        near = left_of[..., (columns + aside + 1).clamp(max=width)] > left_of[..., (columns - aside).clamp(min=0)]
        first, last = max(0, -down), min(height, height - down)
        grown[:, first:last] |= near[:, first + down : last + down]
    return grown
