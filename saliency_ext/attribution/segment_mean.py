"""Infill by the mean colour of each segment."""

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..infill.base import BaseInfill
from ..segmentation import Segmenter, painted, segment_counts, segment_sizes, segment_sums, segmenter_name, segments_of


@dataclass(frozen=True)
class SegmentMean(BaseInfill):
    """Infill of the mean colour of the segment a pixel belongs to: LIME's published default [Ribeiro 2016].

    infill[n, c, p] = mean of inputs[n, c] over the segment of p. Pixels of no segment (label -1) are the image's own.

    Args:
        segmenter: inputs (N, C, H, W) to labels (N, H, W); that of the method, so that the segments are the same.

    Returns:
        `fill`: (N, C, H, W), dtype and device of the inputs.

    Raises:
        TypeError, ValueError: as `fill`; labels of another shape, dtype or device.

    Note:
        Deterministic, summed in float64 on the host: neither batch nor device changes the bits. The segmenter runs once more
        per chunk of images. A part of a segment removed also becomes the mean of the whole.

    Example:
        >>> import torch
        >>> halves = lambda x: (torch.arange(4) // 2).expand(len(x), 1, 4)
        >>> SegmentMean(halves).fill(torch.tensor([[[[1.0, 3.0, 5.0, 9.0]]]]), torch.arange(1)).flatten()
        tensor([2., 2., 7., 7.])

    References:
        Ribeiro, Singh, Guestrin. "Why Should I Trust You?" KDD 2016.
    """

    segmenter: Segmenter

    @property
    def name(self) -> str:
        """Short name, for reports."""
        return "segment_mean"

    @property
    def parameters(self) -> dict[str, object]:
        """The segmenter's name and options."""
        return {"segmenter": segmenter_name(self.segmenter)}

    @property
    def key(self) -> Hashable:
        """The name and the segmenter itself."""
        return (self.name, self.segmenter)

    def _fill(self, inputs: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        labels = segments_of("SegmentMean", self.segmenter, inputs)
        segments = int(segment_counts(labels).max()) if labels.numel() > 0 else 0
        means = segment_sums(inputs, labels, segments) / segment_sizes(labels, segments).clamp(min=1)[:, None]
        filled = painted(means.to(inputs.device, inputs.dtype), labels)
        return torch.where((labels >= 0)[:, None], filled, inputs)
