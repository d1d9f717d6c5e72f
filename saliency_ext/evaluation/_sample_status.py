"""Status of each sample: whether it has a value, and why not."""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from ..metrics._levels import constant_rows
from ..metrics.result import (
    DEGENERATE_MAP,
    FLAT_CURVE,
    METHOD_FAILED,
    NONFINITE_INPUT,
    NONFINITE_MAP,
    NONFINITE_SCORE,
    OK,
    OUT_OF_MEMORY,
    UNDEFINED,
    MetricResult,
)
from ..nonfinite import finite_rows, with_zeros
from .maps import MapBatch


@dataclass(frozen=True)
class SampleErrors:
    """Errors of one map on one chunk, known before any metric is computed: (N,) bool each, on the host."""

    images: Tensor
    maps: Tensor
    failed: Tensor
    constant: Tensor

    @staticmethod
    def of(bad_images: Tensor, map_batch: MapBatch) -> "tuple[SampleErrors, Tensor]":
        """The errors, and the maps (N, H, W) with zeros where they are not finite."""
        good = finite_rows(map_batch.saliency)
        saliency = with_zeros(map_batch.saliency, good)
        constant = constant_rows(saliency)
        return SampleErrors(bad_images.cpu(), ~good.cpu(), map_batch.failed, constant.cpu()), saliency

    def with_labels(self, bad: Tensor, failed: Tensor) -> "SampleErrors":
        """These and the errors of the maps of further labels: (N,) bool each."""
        return dataclasses.replace(self, maps=self.maps | bad.cpu(), failed=self.failed | failed)


def with_status(result: MetricResult, sample_errors: SampleErrors, no_memory: Tensor | None) -> MetricResult:
    """The result with a status per image, and NaN where the status is invalid."""
    of_model = no_memory is not None
    flat = _flat(result)
    status, invalid = [], []
    for index, (value, status_of_metric) in enumerate(zip(result.values.tolist(), result.status, strict=True)):
        reasons = [
            (NONFINITE_INPUT, bool(sample_errors.images[index])),
            (METHOD_FAILED, bool(sample_errors.failed[index])),
            (NONFINITE_MAP, bool(sample_errors.maps[index])),
            (OUT_OF_MEMORY, no_memory is not None and bool(no_memory[index])),
            (status_of_metric, status_of_metric != OK),
            (NONFINITE_SCORE if of_model else UNDEFINED, value != value or value in (float("inf"), -float("inf"))),
        ]
        fatal = next((name for name, holds in reasons if holds), None)
        invalid.append(fatal is not None)
        status.append(fatal or (DEGENERATE_MAP if sample_errors.constant[index] else FLAT_CURVE if flat[index] else OK))
    drop = torch.tensor(invalid, dtype=torch.bool)
    return dataclasses.replace(
        result,
        values=torch.where(drop, torch.nan, result.values),
        status=status,
        curves={name: torch.where(drop[:, None], torch.nan, curve) for name, curve in result.curves.items()},
        extras={name: torch.where(drop, torch.nan, extra) for name, extra in result.extras.items()},
    )


def _flat(result: MetricResult) -> list[bool]:
    """Images all of whose curves are constant. Not for accuracy, a step function that is often constant."""
    flat = torch.ones(len(result.values), dtype=torch.bool)
    if all(curve.shape[1] < 2 for curve in result.curves.values()) or result.parameters.get("score") == "accuracy":
        return [False] * len(flat)
    for curve in result.curves.values():
        if curve.shape[1] > 1:
            flat &= constant_rows(curve.float())
    return flat.tolist()
