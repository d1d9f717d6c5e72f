"""The random masks of RISE as bits and shifts, and weighted sums of them.

Mask i is a function of the seed and i alone. Sums are exact, in float64, and need no rendered mask.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from .. import rng_streams
from ..checks import bad_value
from ..ops import philox_uniform
from ._adaptive_budget import group_of
from ._perturbation_method import separable_sum

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


class MaskSums:
    """sum_i v_i M_i(u) over masks given as bits and shifts.

    A mask is M_i = D_dy G_i A_dx^T: its grid, upsampled and cropped at shift (dy, dx) by two interpolation matrices. So

        sum_i v_i M_i = sum over dy, dx of D_dy (sum over the masks with these shifts of v_i G_i) A_dx^T = D core A^T

    with all D_dy side by side in D, all A_dx in A, and a core of (cell h) by (cell w), about as large as an image, in which
    mask i adds v_i at its kept cells. Two matrix products then serve all masks.

    Memory: 8 bytes per kept cell, and the core. Differs from a sum of rendered masks by their float32 rounding only.
    """

    def __init__(self, grids: Tensor, shifts: Tensor, size: tuple[int, int], border: str) -> None:
        rows, columns = grids.shape[1:]
        self.down = upsampling(rows, size[0], border)
        self.across = upsampling(columns, size[1], border)
        self.core_shape = self.down.shape[1], self.across.shape[1]
        mask, row, column = grids.nonzero(as_tuple=True)
        place = (shifts[mask, 0] * rows + row) * self.core_shape[1] + shifts[mask, 1] * columns + column
        self._mask, self._place = mask.int(), place.int()  # a core has about as many elements as an image: int32 holds them
        self._kept = torch.cat([torch.zeros(1, dtype=torch.int64), grids.flatten(1).sum(1).cumsum(0)])

    def cores(self, values: Tensor, groups: int = 1) -> Tensor:
        """(groups, cell h, cell w) float64 for the first n masks: values (n,) float64, in groups of neighbours."""
        last = int(self._kept[len(values)])
        mask, place, elements = self._mask[:last], self._place[:last], self.core_shape[0] * self.core_shape[1]
        if groups > 1:
            place = group_of(len(values), groups)[mask] * elements + place
        sums = torch.bincount(place, weights=values[mask], minlength=groups * elements)
        return sums.view(groups, *self.core_shape)

    def maps(self, cores: Tensor, every: int = 1) -> Tensor:
        """(K, H', W') float64 of cores (K, cell h, cell w), at every `every`-th pixel along both axes."""
        return separable_sum(self.down[::every], cores, self.across[::every])


def upsampling(cells: int, size: int, border: str) -> Tensor:
    """(size, cell * cells) float64, cell = ceil(size / cells): column shift * cells + c is the weight of cell c at that shift.

    Half-pixel bilinear interpolation of the grid to (cells + 1) * cell pixels, of which `size` are read from the shift on.
    Outside the grid "mirror" does not repeat the border cell, "clamp" does.
    """
    cell = math.ceil(size / cells)
    pixel, shift = torch.arange(size, dtype=torch.float64)[:, None], torch.arange(cell, dtype=torch.float64)
    place = (pixel + shift + 0.5) * cells / ((cells + 1) * cell) - 0.5
    before = place.floor()
    fraction = place - before
    weights = torch.zeros(size, cell, cells, dtype=torch.float64)
    for index, weight in ((before.long(), 1 - fraction), (before.long() + 1, fraction)):
        if border == "mirror" and cells > 1:
            index = torch.where(index < 0, -index, index)
            index = torch.where(index >= cells, 2 * cells - 2 - index, index)
        weights.scatter_add_(2, index.clamp(0, cells - 1)[..., None], weight[..., None])
    return weights.view(size, cell * cells)
