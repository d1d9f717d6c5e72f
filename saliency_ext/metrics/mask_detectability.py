"""Detectability of the mask: can the removed region be recognised in the perturbed image, by its local detail alone?

If so, the model may respond to the mask instead of the missing content.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from ..checks import require_choice, require_integer
from ..infill.base import require_infill
from ..perturbation import GivenFractions, Outputs, Schedule
from ..protocols import Infill, MaskedInfill, MetricInfo
from .base import MetricOptions, ModelMetric
from .context import TIES, MetricContext
from .curve_metric import infill_parameters, require_same_counts
from .result import OK, UNDEFINED, MetricResult


@dataclass(frozen=True)
class MaskDetectability(ModelMetric):
    """How well local detail tells removed pixels from kept ones, mean over fractions removed most relevant first.

    energy(u) = mean over the 3 x 3 pixels around u and the channels of (4 x(u) - sum of the 4 direct neighbours)^2
    value = mean over t of |2 A(t) - 1|,   A = chance that a removed pixel has more energy than a kept one, ties half

    |2 A - 1| is 0 where the energies of both are distributed alike and 1 where one threshold separates them: one colour and
    smooth surfaces have too little energy, independent noise too much. It is a lower bound of what a classifier could find.
    Lower is better for an infill. A property of infill, image and mask shape; the model is not used.

    Args:
        infill: the infill under test.
        schedule: fractions removed, default 0.1, 0.3, 0.5, 0.7, 0.9. With no or all pixels removed there is nothing to detect.
        ties, seed: as in `CurveMetric`.

    Unit: share, in [0, 1]. curves: detectability, and energy_order = A. Status "undefined" where no fraction leaves both kinds.

    Note:
        No forward; one filled image and a sort per fraction; memory: one filled copy of the images. Deterministic. The first
        draw of the infill is used. Traps: 0 is no proof that a network cannot see the mask; on images without detail nothing can
        be detected, and the value is uninformative.

    Example:
        >>> import torch
        >>> picture = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> remove = torch.arange(64).view(1, 8, 8) < 24
        >>> grey = torch.where(remove[:, None], 0.5, picture)
        >>> bool(energy_order(grey, remove) < 0.1), bool(energy_order(picture, remove) < 0.7)
        (True, True)

    References:
        Rong et al., ICML 2022, Sec. 4 (class information that leaks through the mask's shape).
    """

    infill: Infill
    schedule: Schedule = field(default_factory=lambda: GivenFractions((0.1, 0.3, 0.5, 0.7, 0.9)))
    ties: str = "random"
    seed: int = 0

    info: ClassVar[MetricInfo] = MetricInfo(
        name="mask_detectability",
        direction="lower",
        unit="share",
        measures="how well the infill hides the mask",
        reference="this library",
        role="form",
        meaning="Can the removed region be recognised in the perturbed image by its local detail alone? Then the model may "
        "respond to the mask. It evaluates the infill under the map's masks, not the map.",
    )

    @classmethod
    def from_options(cls, options: MetricOptions) -> Self:
        """The metric with those of the shared options that apply to it."""
        return cls(options.infill, seed=options.seed)

    def __post_init__(self) -> None:
        name = "MaskDetectability"
        require_infill(name, self.infill)
        require_same_counts(name, self.schedule)
        require_choice(name, "ties", self.ties, TIES)
        require_integer(name, "seed", self.seed, 0, 2**63 - 1)

    @property
    def parameters(self) -> dict[str, object]:
        """All parameters, as plain values."""
        return {**infill_parameters(self.infill), "schedule": repr(self.schedule), "ties": self.ties, "seed": self.seed}

    def request(self, context: MetricContext) -> tuple[Tensor, int]:
        """No perturbed inputs: the energy order (N, S) of the filled images."""
        ranks = context.ranked(self.ties, self.seed).ranks
        masks = [ranks < count for count in self.schedule.counts(context.pixels)]
        orders = [energy_order(filled, mask) for mask, filled in zip(masks, self._filled(context, masks), strict=True)]
        return torch.stack(orders, 1).cpu(), context.pixels

    def compute(self, outputs: Outputs, requested: tuple[Tensor, int]) -> MetricResult:
        """Turns the energy order into values."""
        order, pixels = requested
        detectability = (2 * order - 1).abs()
        values = detectability.nanmean(1)
        status = [UNDEFINED if missing else OK for missing in values.isnan().tolist()]
        fractions = torch.tensor(self.schedule.counts(pixels), dtype=torch.float64) / max(pixels, 1)
        curves = {"detectability": detectability, "energy_order": order}
        return MetricResult(self.info, values, self.parameters, status, fractions, curves)

    def _filled(self, context: MetricContext, masks: list[Tensor]) -> Iterator[Tensor]:
        """The images (N, C, H, W) under each mask (N, H, W)."""
        if isinstance(self.infill, MaskedInfill):
            yield from (self.infill.fill_removed(context.inputs, mask[None], context.sample_ids)[0] for mask in masks)
        else:
            infill = self.infill.fill(context.inputs, context.sample_ids)
            yield from (torch.where(mask[:, None], infill, context.inputs) for mask in masks)


def energy_order(filled: Tensor, remove: Tensor) -> Tensor:
    """(N,) float64: chance that a removed pixel has more local energy than a kept one, ties half; NaN where there is no pair.

    Args:
        filled: (N, C, H, W) images. remove: (N, H, W) bool, True = removed.
    """
    padded = torch.nn.functional.pad(filled.double(), (1, 1, 1, 1), mode="replicate")
    centre, rows, columns = padded[..., 1:-1, 1:-1], padded[..., 1:-1], padded[..., 1:-1, :]
    laplacian = 4 * centre - (rows[..., :-2, :] + rows[..., 2:, :]) - (columns[..., :-2] + columns[..., 2:])
    detail = torch.nn.functional.avg_pool2d(laplacian.square(), 3, 1, 1, count_include_pad=False).mean(1).flatten(1)
    ordered = detail.sort(1).values
    below = torch.searchsorted(ordered, detail) + torch.searchsorted(ordered, detail, right=True)  # twice, ties half
    removed = remove.flatten(1)
    count = removed.sum(1).double()
    wins = torch.where(removed, below, 0).sum(1).double() / 2 - count.square() / 2  # less those against other removed pixels
    return wins / (count * (removed.shape[1] - count))
