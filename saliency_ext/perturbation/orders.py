"""Orders of pixels: of a map, at random, or from a block outwards. What a rank mask cuts into head and tail."""

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from .. import ops, rng_streams


class Order(Protocol):
    """Ranks of the pixels of N images, 0 = first."""

    @property
    def digest(self) -> Hashable:
        """Equal digests mean equal ranks for the same images."""

    @property
    def pixels(self) -> int:
        """How many places there are in each image."""

    def of(self, images: slice) -> Tensor:
        """Ranks (n, H, W) int32 of a slice of the images."""


@dataclass(frozen=True)
class Ranked:
    """Ranks (N, H, W) of one map, with a digest of their content: two maps with equal ranks are one map.

    Ranks of shape (N, C H, W) order the channel values of an image instead of its pixels.
    """

    ranks: Tensor

    @cached_property
    def digest(self) -> Hashable:
        """128 bits of SHA-256 over the ranks."""
        return digest_of(self.ranks)

    @property
    def pixels(self) -> int:
        """H W."""
        return self.ranks.shape[1] * self.ranks.shape[2]

    def of(self, images: slice) -> Tensor:
        """A view."""
        return self.ranks[images]


@dataclass
class _DrawnOrder:
    """An order drawn per image from (seed, sample id, draw) when it is needed, so that many draws cost no memory.

    Args:
        shape: (H, W).
        sample_ids: (N,) int64.
        seed, draw: which order.
        slot: where the ranks made last are kept: orders of one chunk may share it, so that one of them is in memory.
    """

    shape: tuple[int, int]
    sample_ids: Tensor
    seed: int = 0
    draw: int = 0
    slot: dict[Hashable, Tensor] = field(default_factory=dict, repr=False)

    @property
    def pixels(self) -> int:
        """H W."""
        return self.shape[0] * self.shape[1]

    def of(self, images: slice) -> Tensor:
        """Drawn on the device of the sample ids, and kept in the slot until another is drawn."""
        key = (self.digest, images.start, images.stop)
        if key not in self.slot:
            self.slot.clear()
            self.slot[key] = ops.rank(self._relevance(self.sample_ids[images]))
        return self.slot[key]

    @property
    def digest(self) -> Hashable:
        """Kind, seed and draw."""
        raise NotImplementedError

    def _relevance(self, ids: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass
class RandomOrder(_DrawnOrder):
    """Every permutation of the pixels alike: the random reference of a curve, shared by all maps of an image."""

    @property
    def digest(self) -> Hashable:
        """Seed and draw."""
        return ("random order", self.seed, self.draw)

    def _relevance(self, ids: Tensor) -> Tensor:
        return ops.philox_uniform((1, *self.shape), ids, seed=self.seed, stream=rng_streams.RANDOM_ORDER + self.draw)[:, 0]


@dataclass
class BlockOrder(_DrawnOrder):
    """A square growing from a centre drawn uniformly in the image: solid masks of any area, to hold against scattered ones."""

    @property
    def digest(self) -> Hashable:
        """Seed and draw."""
        return ("block order", self.seed, self.draw)

    def _relevance(self, ids: Tensor) -> Tensor:
        place = ops.philox_uniform((1, 1, 2), ids, seed=self.seed, stream=rng_streams.BLOCK_ORDER + self.draw)[:, 0, 0]
        height, width = self.shape
        rows = torch.arange(height, device=ids.device) - (place[:, :1] * height).long()
        columns = torch.arange(width, device=ids.device) - (place[:, 1:] * width).long()
        return -torch.maximum(rows.abs()[:, :, None], columns.abs()[:, None]).float()


def digest_of(values: Tensor) -> bytes:
    """128 bits of SHA-256 over the values: processors have instructions for it."""
    return hashlib.sha256(values.detach().cpu().contiguous().numpy().data).digest()[:16]
