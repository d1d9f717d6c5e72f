"""Points of a curve that only some images ask: the masks, and what the model said."""

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..protocols import Infill
from .masks import RankMasks
from .orders import Order, Ranked


@dataclass(frozen=True)
class CurvePoints:
    """The masks of one curve of N images, of which each image may have others rendered.

    Args:
        order: of the pixels of all images.
        counts: (P,) rising, what `RankMasks` takes; place p of the curve is counts[p].
        keep: "head" or "tail".
        infill: what a removed pixel becomes.
    """

    order: Order
    counts: tuple[int, ...]
    keep: str
    infill: Infill

    @property
    def key(self) -> Hashable:
        """Equal keys mean equal masked inputs for the same images: two maps with equal ranks ask once."""
        return (self.order.digest, self.keep, self.counts, self.infill.key, self.infill.draws)

    def masks(self, images: Tensor, places: Tensor, total: int) -> RankMasks:
        """One mask for each pair of an image, of `total`, and a place: (R,) int64 both."""
        ranks = self.order.of(slice(0, total))
        counts = torch.tensor(self.counts)[places].to(ranks.device)
        return RankMasks(Ranked(ranks[images.to(ranks.device)]), counts[:, None], self.keep)


@dataclass(frozen=True)
class PointTable:
    """What the model said at the points of a curve: read-outs (draws, N, P, columns), and which are known, (N, P) bool."""

    known: Tensor
    rows: Tensor

    @staticmethod
    def empty(draws: int, images: int, places: int, columns: int) -> "PointTable":
        """Of which nothing is known."""
        rows = torch.full((draws, images, places, columns), torch.nan, dtype=torch.float64)
        return PointTable(torch.zeros(images, places, dtype=torch.bool), rows)

    def add(self, images: Tensor, places: Tensor, rows: Tensor) -> None:
        """Stores read-outs (draws, R, columns) of R pairs of an image and a place."""
        self.rows[:, images, places] = rows
        self.known[images, places] = True
