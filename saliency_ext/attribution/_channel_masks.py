"""Masks from the channels of a layer: upsampled and min-max normalised to [0, 1] when they are rendered."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..perturbation import DenseMasks
from ._upsampling import upsampled


@dataclass(frozen=True, eq=False, repr=False)
class ChannelMasks:
    """Keeps what a channel responds to: mask = (u - min u) / (max u - min u), u the channel scaled up to the image.

    A channel that is constant over its cells keeps nothing. Full-size masks exist for one rendering only.

    Args:
        channels: (N, S, h, w) floating, dtype of the inputs.
        size: (H, W).

    Example:
        >>> masks = ChannelMasks(torch.tensor([[[[1.0, 3.0]], [[2.0, 2.0]]]]), (1, 2))
        >>> masks.rendered([0, 1], slice(None)).flatten(1), masks.live
        (tensor([[0., 1., 0., 0.]]), tensor([[ True, False]]))
    """

    channels: Tensor
    size: tuple[int, int]

    @cached_property
    def keys(self) -> Sequence[Hashable]:
        """Step by step this object's own."""
        return [("channel", self, step) for step in range(self.channels.shape[1])]

    @cached_property
    def live(self) -> Tensor:
        """(N, S) bool: channels that are not constant."""
        return self.channels.amax((2, 3)) > self.channels.amin((2, 3))

    def rendered(self, steps: Sequence[int], images: slice) -> Tensor:
        """Masks (n, len(steps), H, W)."""
        channels, live = self.channels[images][:, list(steps)], self.live[images][:, list(steps)]
        scaled = upsampled(channels, self.size)
        low, high = scaled.amin((2, 3), keepdim=True), scaled.amax((2, 3), keepdim=True)
        return torch.where(live[:, :, None, None] & (high > low), (scaled - low) / (high - low), 0)

    def render(self, inputs: Tensor, infill: Tensor, steps: Sequence[int], images: slice, out: Tensor) -> None:
        """One call of the renderer for float masks."""
        masks = DenseMasks(self.rendered(steps, images))
        masks.render(inputs, infill, range(len(steps)), slice(None), out)
