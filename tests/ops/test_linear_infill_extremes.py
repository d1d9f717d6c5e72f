"""The linear infill on images that are long and thin, and on huge and tiny numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.backends import Backend, same_bits
from tests.ops.test_linear_infill import FINE, direct, fill, scattered, smooth


def few(h: int, w: int) -> Tensor:
    """Two pixels are left, at a third of the long side from its ends, one in each corner of the short side."""
    remove = torch.ones(h, w, dtype=torch.bool)
    remove[h // 3 if h > w else 0, w // 3 if w > h else 0] = remove[-1 - h // 3, -1 - w // 3] = False
    return remove


THIN = [(1, 300), (300, 1), (2, 300), (3, 300), (4, 300), (200, 7)]


@pytest.mark.parametrize("stencil", ["road", "harmonic"])
@pytest.mark.parametrize("size", THIN, ids=lambda size: f"{size[0]}x{size[1]}")
def test_long_gaps_in_a_thin_image(backend: Backend, size: tuple[int, int], stencil: str) -> None:
    """The residual of a long gap is much smaller than its error: what stops the solver must know."""
    image = smooth(*size)
    for remove in (scattered(*size, 0.99), few(*size)):
        for given in (image, image.double(), 0.01 * image + 5):
            expected = direct(given, remove, stencil)
            for tolerance in (1e-3, FINE):
                filled = fill(backend, given, remove, stencil=stencil, tolerance=tolerance)
                rounding = 0 if given.dtype == torch.float64 else 5e-7  # of results of 5
                assert (filled.double() - expected).abs().max() <= tolerance + rounding, (given.dtype, tolerance)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [(torch.float64, 1e304), (torch.float64, 1e160), (torch.float64, 1e-300), (torch.float32, 1e37), (torch.float32, 1e-30)],
)
def test_numbers_of_any_size(backend: Backend, dtype: torch.dtype, size: float) -> None:
    """Neither sums nor squares overflow or vanish: the result scales with the image."""
    h, w = 90, 100
    image, remove = smooth(h, w).to(dtype), scattered(h, w, 0.1)
    expected = fill(backend, image.double(), remove, tolerance=1e-8)
    filled = fill(backend, size * image, remove, tolerance=1e-4 * size)
    assert (filled.double() / size - expected).abs().max() <= 1.01e-4


def test_a_large_offset(backend: Backend) -> None:
    """The sum of 10^4 times 1e305 is no number; the mean is."""
    image = torch.full((100, 101), 1e305, dtype=torch.float64)
    same_bits(fill(backend, image, scattered(100, 101, 0.5)), image)
