"""Coalitions of segments, another set for each image: the masks of surrogate models and of segment-wise curves."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .. import ops
from ..checks import require_device, require_dtype, require_ndim, require_shape, require_tensor
from .masks import ALL_KEPT, NONE_KEPT, layout_of
from .orders import digest_of


@dataclass(frozen=True)
class CoalitionMasks:
    """Keeps, at step s in image n, the segments k with coalitions[n, s, k]; the others are infill, label -1 is always kept.

    Images with fewer segments than K leave their last columns unread: only segments that an image has decide the key. A mask
    that keeps everything in all images, or nothing, has the canonical key.

    Args:
        segments: (N, H, W) int32 or int64 labels in [-1, K).
        coalitions: (N, S, K) bool.

    Raises:
        TypeError, ValueError: another shape, dtype or device; a label out of range is found when rendering.

    Example:
        >>> import torch
        >>> masks = CoalitionMasks(torch.tensor([[[0, 1, 1]]]), torch.tensor([[[1, 1], [0, 1], [0, 0]]]) > 0)
        >>> masks.keys[0], masks.keys[2]
        (('all kept',), ('none kept',))
    """

    segments: Tensor
    coalitions: Tensor

    def __post_init__(self) -> None:
        name = "CoalitionMasks"
        require_ndim(name, "segments", require_tensor(name, "segments", self.segments), "(N, H, W)")
        require_dtype(name, "segments", self.segments, (torch.int64, torch.int32))
        require_dtype(name, "coalitions", require_tensor(name, "coalitions", self.coalitions), (torch.bool,))
        require_ndim(name, "coalitions", self.coalitions, "(N, S, K)")
        require_shape(name, "coalitions", self.coalitions, "(N, S, K)", (len(self.segments), *self.coalitions.shape[1:]))
        require_device(name, "coalitions", self.coalitions, self.segments, "segments")
        object.__setattr__(self, "segments", self.segments.int())  # once, not at each rendering

    @cached_property
    def keys(self) -> Sequence[Hashable]:
        """("coalition", digest of the segmentation, digest of what is kept), or the key of the full or empty mask."""
        n, _, k = self.coalitions.shape
        labels = self.segments.flatten(1).long() + 1
        present = torch.zeros(n, k + 1, dtype=torch.bool, device=labels.device).scatter_(1, labels, True)
        has, never_removed = present[:, None, 1:], bool(present[:, 0].any())
        full = (self.coalitions | ~has).all(2).all(0).tolist()
        kept = self.coalitions & has
        empty = (~kept.any(2).any(0)).tolist()
        bits = np.packbits(kept.transpose(0, 1).flatten(1).cpu().numpy(), axis=1)
        digest = digest_of(self.segments)
        keys: list[Hashable] = []
        for row, whole, nothing in zip(bits, full, empty, strict=True):
            if whole:
                keys.append(ALL_KEPT)
            elif nothing and not never_removed:
                keys.append(NONE_KEPT)
            else:
                keys.append(("coalition", digest, hashlib.blake2b(row.tobytes(), digest_size=16).digest()))
        return keys

    def render(self, inputs: Tensor, infill: Tensor, steps: Sequence[int], images: slice, out: Tensor) -> None:
        """One call of the renderer."""
        chosen = self.coalitions[images][:, list(steps)]
        ops.blend_segments(inputs, infill, self.segments[images], chosen, **layout_of(out))
