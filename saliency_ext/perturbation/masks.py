"""Mask families: which pixels a masked input keeps. Each renders its steps, and gives them keys: equal masks have equal keys."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypedDict

import torch
from torch import Tensor

from .. import ops
from ..checks import bad_value
from .orders import Order, digest_of

# Keys of the two masks that every family may contain.
ALL_KEPT = ("all kept",)
NONE_KEPT = ("none kept",)


class Masks(Protocol):
    """S keep-masks per image. `keys[s]` identifies mask s: equal keys mean equal masks for the same images."""

    @property
    def keys(self) -> Sequence[Hashable]:
        """One key per step."""

    def render(self, inputs: Tensor, infill: Tensor, steps: Sequence[int], images: slice, out: Tensor) -> None:
        """Writes the masked inputs of these steps to out (len(steps), N, C, H, W). `inputs` are the images of the slice."""


@dataclass(frozen=True)
class WholeImage:
    """Keeps everything: the clean image, which every curve begins or ends with."""

    keys: Sequence[Hashable] = (ALL_KEPT,)

    def render(self, inputs: Tensor, infill: Tensor, steps: Sequence[int], images: slice, out: Tensor) -> None:
        """A copy."""
        out.copy_(inputs.expand_as(out))


@dataclass(frozen=True)
class RankMasks:
    """Keeps rank < count (`keep="head"`) or rank >= count (`keep="tail"`), for each of S counts.

    Keys are canonical: a full head and an empty tail are the clean image, whatever the map.

    Args:
        order: whose ranks; see `Order`.
        counts: S counts for all images, or (N, S) int64 counts per image.
        keep: "head" or "tail".
    """

    order: Order
    counts: Sequence[int] | Tensor
    keep: str = "head"

    def __post_init__(self) -> None:
        if self.keep not in ("head", "tail"):
            bad_value("RankMasks", "keep", "to be one of 'head', 'tail'", repr(self.keep))
        for count in {count for step in self._steps for count in step}:
            if not 0 <= count <= self.order.pixels:
                bad_value("RankMasks", "counts", f"in [0, {self.order.pixels}]", count)

    @cached_property
    def _steps(self) -> list[tuple[int, ...]]:
        """Per step the count of all images, or of each."""
        if isinstance(self.counts, Tensor):
            per_image = self.counts if self.counts.ndim == 2 else self.counts[None]
            return [tuple(step) for step in per_image.T.tolist()]
        return [(int(count),) for count in self.counts]

    @cached_property
    def keys(self) -> Sequence[Hashable]:
        """("rank", digest, side, counts), or the key of the full or empty mask."""
        return [self._key(step) for step in self._steps]

    def _key(self, counts: tuple[int, ...]) -> Hashable:
        distinct = set(counts)
        counts = counts[:1] if len(distinct) == 1 else counts
        full, empty = (self.order.pixels, 0) if self.keep == "head" else (0, self.order.pixels)
        if distinct == {full}:
            return ALL_KEPT
        return NONE_KEPT if distinct == {empty} else ("rank", self.order.digest, self.keep, counts)

    def render(self, inputs: Tensor, infill: Tensor, steps: Sequence[int], images: slice, out: Tensor) -> None:
        """One call of the renderer."""
        ranks = self.order.of(images)
        chosen: list[int] | Tensor = [self._steps[step][0] for step in steps]
        if isinstance(self.counts, Tensor) and self.counts.ndim == 2:
            chosen = self.counts[images][:, list(steps)]
        if ranks.shape[1] == inputs.shape[2]:
            ops.blend_rank(inputs, infill, ranks, chosen, keep=self.keep, **layout_of(out))
        else:  # every channel value has a rank of its own: an image of one channel and C H rows
            flat = ranks.shape[1:]
            values = inputs.reshape(-1, 1, *flat)
            full = infill.expand_as(inputs).reshape(-1, 1, *flat)
            if out.is_contiguous():  # then it is that image too, and is written once
                own = out.view(*out.shape[:2], 1, *flat)
                ops.blend_rank(values, full, ranks, chosen, keep=self.keep, dtype=out.dtype, out=own)
            else:
                out.copy_(ops.blend_rank(values, full, ranks, chosen, keep=self.keep).view(out.shape))


@dataclass(frozen=True)
class BoxMasks:
    """Keeps everything outside a window: boxes (S, 4) as `ops.blend_boxes` takes them."""

    boxes: Tensor

    @cached_property
    def keys(self) -> Sequence[Hashable]:
        """The box itself; one without pixels is the clean image."""
        return [("box", *box) if box[0] < box[2] and box[1] < box[3] else ALL_KEPT for box in self.boxes.tolist()]

    def render(self, inputs: Tensor, infill: Tensor, steps: Sequence[int], images: slice, out: Tensor) -> None:
        """One call of the renderer."""
        ops.blend_boxes(inputs, infill, self.boxes[list(steps)], **layout_of(out))


@dataclass(frozen=True)
class SegmentMasks:
    """Keeps a coalition of segments: segments (N, H, W), coalitions (S, K) as `ops.blend_segments` takes them."""

    segments: Tensor
    coalitions: Tensor

    @cached_property
    def keys(self) -> Sequence[Hashable]:
        """The coalition under the digest of the segmentation."""
        digest = digest_of(self.segments)
        return [("segment", digest, bytes(row)) for row in self.coalitions.cpu().to(torch.uint8).tolist()]

    def render(self, inputs: Tensor, infill: Tensor, steps: Sequence[int], images: slice, out: Tensor) -> None:
        """One call of the renderer."""
        ops.blend_segments(inputs, infill, self.segments[images], self.coalitions[list(steps)], **layout_of(out))


@dataclass(frozen=True)
class GridMasks:
    """RISE masks: grids (S, h, w) and shifts (S, 2) as `ops.blend_grids` takes them."""

    grids: Tensor
    shifts: Tensor
    border: str = "mirror"

    @cached_property
    def keys(self) -> Sequence[Hashable]:
        """Grid bits and shift."""
        bits = self.grids.cpu().to(torch.uint8).flatten(1).tolist()
        shape = tuple(self.grids.shape[1:])
        return [("grid", self.border, shape, bytes(row), *shift) for row, shift in zip(bits, self.shifts.tolist(), strict=True)]

    def render(self, inputs: Tensor, infill: Tensor, steps: Sequence[int], images: slice, out: Tensor) -> None:
        """One call of the renderer."""
        chosen = list(steps)
        ops.blend_grids(inputs, infill, self.grids[chosen], self.shifts[chosen], border=self.border, **layout_of(out))


@dataclass(frozen=True)
class DenseMasks:
    """Float masks (S, H, W) or per image (N, S, H, W), as `ops.blend_dense` takes them."""

    masks: Tensor

    @cached_property
    def keys(self) -> Sequence[Hashable]:
        """A digest of the whole stack and the step: dense masks are compared as a whole."""
        digest = digest_of(self.masks)
        return [("dense", digest, step) for step in range(self.masks.shape[-3])]

    def render(self, inputs: Tensor, infill: Tensor, steps: Sequence[int], images: slice, out: Tensor) -> None:
        """One call of the renderer."""
        chosen = self.masks[list(steps)] if self.masks.ndim == 3 else self.masks[images][:, list(steps)]
        ops.blend_dense(inputs, infill, chosen, **layout_of(out))


class _Layout(TypedDict):
    out: Tensor
    dtype: torch.dtype
    memory_format: torch.memory_format


def layout_of(out: Tensor) -> _Layout:
    """Renderer options that describe `out`."""
    packed = out.flatten(0, 1)
    memory_format = torch.contiguous_format if packed.is_contiguous() else torch.channels_last
    return {"out": out, "dtype": out.dtype, "memory_format": memory_format}
