"""What a metric returns: one value per image, with its parameters, status and curves."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..protocols import MetricInfo

OK = "ok"
NONFINITE_MAP = "nonfinite_map"
DEGENERATE_MAP = "degenerate_map"
NONFINITE_INPUT = "nonfinite_input"
NONFINITE_SCORE = "nonfinite_score"
FLAT_CURVE = "flat_curve"
UNDEFINED = "undefined"
METHOD_FAILED = "method_failed"
OUT_OF_MEMORY = "out_of_memory"
UNREADABLE_SAMPLE = "unreadable_sample"
# Samples with these statuses have no value. A degenerate (constant) map has one, determined by the tie rule; that of a flat curve
# carries no information about the map.
INVALID = (NONFINITE_MAP, NONFINITE_INPUT, NONFINITE_SCORE, UNDEFINED, METHOD_FAILED, OUT_OF_MEMORY, UNREADABLE_SAMPLE)


@dataclass(frozen=True)
class MetricResult:
    """Values of one metric on one set of maps.

    Attributes:
        info: name, direction, unit, source.
        values: (N,) float64, NaN where the status is one of `INVALID`.
        parameters: all that determine the value.
        status: per image: "ok"; with a value also "degenerate_map" (constant) and "flat_curve" (the score never moves);
            without one "nonfinite_map", "nonfinite_input", "nonfinite_score", "undefined" (the metric has no value there),
            "method_failed", "out_of_memory" and (in a study) "unreadable_sample".
        fractions: (S,) shares of pixels removed or inserted, or None for a metric without a curve.
        curves: name -> (N, S) float64.
        extras: name -> (N,) further values per image.
    """

    info: MetricInfo
    values: Tensor
    parameters: dict[str, object]
    status: list[str] = field(default_factory=list)
    fractions: Tensor | None = None
    curves: dict[str, Tensor] = field(default_factory=dict)
    extras: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.status:
            self.status.extend([OK] * len(self.values))

    @property
    def valid(self) -> Tensor:
        """(N,) bool: images with a value."""
        return torch.tensor([status not in INVALID for status in self.status], dtype=torch.bool) & self.values.isfinite()


def concatenate(parts: list[MetricResult]) -> MetricResult:
    """One result from the results of consecutive chunks of images."""
    first = parts[0]
    return MetricResult(
        first.info,
        torch.cat([part.values for part in parts]),
        first.parameters,
        [status for part in parts for status in part.status],
        first.fractions,
        {name: torch.cat([part.curves[name] for part in parts]) for name in first.curves},
        {name: torch.cat([part.extras[name] for part in parts]) for name in first.extras},
    )
