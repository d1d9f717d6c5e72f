"""The random masks of RISE, as bits and shifts: mask i is a function of the seed and i alone."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from .. import rng_streams
from ..checks import bad_value
from ..ops import philox_uniform

SAMPLINGS = ("random", "antithetic", "sobol")
_CHUNK = 1024  # masks made at a time


@dataclass(frozen=True)
class MaskSampler:
    """Grid bits and shifts of masks 0, 1, 2, ... for images of one size.

    Mask i takes h w + 2 uniform numbers u: cell c is kept where u_c < keep, the shifts are floor(u ceil(H / h)) and
    floor(u ceil(W / w)).

    "random": u from Philox at counter (number, i) under key `seed`. "antithetic": masks 2j and 2j + 1 share their numbers, but
    the bits of the second are those of 1 - u; for keep = 1/2 the two masks add up to 1. "sobol": u is point i of a scrambled
    Sobol sequence [Owen 1998], shifts first, since its first numbers are spread best.
    """

    grid: tuple[int, int]
    size: tuple[int, int]
    keep: float
    seed: int
    sampling: str

    @property
    def cell(self) -> tuple[int, int]:
        """ceil(H / h), ceil(W / w): how many shifts there are."""
        return math.ceil(self.size[0] / self.grid[0]), math.ceil(self.size[1] / self.grid[1])

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Masks 0 .. count - 1: grids (count, h, w) bool, shifts (count, 2) int64, on the host."""
        cells = self.grid[0] * self.grid[1]
        sobol = self._sobol(cells + 2) if self.sampling == "sobol" else None
        grids = torch.empty(count, cells, dtype=torch.bool)
        shifts = torch.empty(count, 2, dtype=torch.int64)
        for first in range(0, count, _CHUNK):
            part = slice(first, min(first + _CHUNK, count))
            size = part.stop - first
            numbers = sobol.draw(size, dtype=torch.float64) if sobol else self._philox(torch.arange(first, part.stop), cells + 2)
            shifts[part] = (numbers[:, :2] * torch.tensor(self.cell)).long()
            grids[part] = numbers[:, 2:] < self.keep
        most = torch.tensor(self.cell) - 1  # a Sobol number may be rounded up to 1
        return grids.view(count, *self.grid), torch.minimum(shifts, most)

    def _philox(self, masks: Tensor, numbers: int) -> Tensor:
        pairs = self.sampling == "antithetic"
        drawn = philox_uniform((1, 1, numbers), masks // 2 if pairs else masks, seed=self.seed, stream=rng_streams.RISE)
        uniform = drawn[:, 0, 0].double()
        if pairs:
            uniform[1::2, 2:] = (1 - 2.0**-24) - uniform[1::2, 2:]  # the levels are those of u; chunks begin with an even mask
        return uniform

    def _sobol(self, numbers: int) -> SobolEngine:
        if numbers > SobolEngine.MAXDIM:
            most = f"of at most {SobolEngine.MAXDIM - 2} cells with sampling='sobol'"
            bad_value("RISE", "grid", most, f"{numbers - 2} cells", "use sampling='random'")
        return SobolEngine(numbers, scramble=True, seed=self.seed)  # type: ignore[no-untyped-call]
