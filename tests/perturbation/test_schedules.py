"""Schedules: counts by hand, counts of published sizes, refusals."""

import numpy as np
import pytest

from saliency_ext.perturbation import EqualFractions, PixelSteps
from saliency_ext.perturbation.schedules import (
    Complement,
    FixedSteps,
    GivenFractions,
    GridFractions,
    OpenSteps,
    TruncatedLinspace,
    WithoutFirst,
)

FULL = 224 * 224


def test_fixed_steps_round_the_step_up():
    assert FixedSteps(20).counts(FULL) == [*range(0, FULL, 2509), FULL]
    assert FixedSteps(20).counts(1) == [0, 1] and FixedSteps(3).counts(6) == [0, 2, 4, 6]
    assert len(FixedSteps(20).counts(21)) == 12  # steps of 2: fewer than 20


def test_grid_fractions_are_exact_integers():
    assert GridFractions(28, first=1).counts(FULL) == [1792 * i for i in range(1, 29)]  # floats would make one of them 30463
    assert GridFractions(28, last=27).counts(56) == list(range(0, 56, 2))
    assert GridFractions(4).counts(2) == [0, 0, 1, 1, 2]  # repeated points stay


def test_given_fractions_are_cut_like_the_published_floats():
    assert GivenFractions((0.7, 0.1)).counts(FULL) == [5017, 35123]
    assert GivenFractions((0.29,)).counts(100) == [28]  # 0.29 * 100 is a little less than 29
    assert GivenFractions((0.1, 0.2)).counts(4) == [0, 0]


@pytest.mark.parametrize("pixels", [7, 64, 221, 1024, FULL])
@pytest.mark.parametrize("largest", [1.0, 0.7, 0.05])
def test_truncated_linspace_is_numpys(pixels, largest):
    published = np.linspace(0, np.floor(pixels * largest), 11, dtype=np.int32)
    assert TruncatedLinspace(10, largest).counts(pixels) == sorted(set(published.tolist()))


def test_open_steps_stop_short_of_everything():
    for pixels, step, last in [(1024, 51, 1020), (FULL, 2508, 50160)]:
        counts = OpenSteps().counts(pixels)
        assert len(counts) == 21 and counts[1] == step and counts[-1] == last < pixels
        assert OpenSteps(append_full=True).counts(pixels) == [*counts, pixels]
    assert len(OpenSteps().counts(1000)) == 20  # 50 divides 1000: 950 is the last
    assert OpenSteps().counts(3) == [0, 1, 2]  # a step has at least one pixel


def test_complement_and_without_first():
    assert Complement(GivenFractions((0.1, 0.9))).counts(5) == [1, 5]  # kept: int(.5) and int(4.5)
    assert Complement(EqualFractions(4)).counts(8) == [0, 2, 4, 6, 8]
    assert WithoutFirst(PixelSteps(3)).counts(7) == [3, 6, 7]


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: FixedSteps(0), ValueError, r"FixedSteps: expected steps in \[1, 2147483647\], got 0"),
        (lambda: GridFractions(4, first=5), ValueError, r"GridFractions: expected first in \[0, 4\], got 5"),
        (lambda: GridFractions(4, first=3, last=2), ValueError, r"GridFractions: expected first in \[0, 2\], got 3"),
        (lambda: GridFractions(4, last=5), ValueError, r"GridFractions: expected last in \[0, 4\], got 5"),
        (lambda: GivenFractions(()), ValueError, "GivenFractions: expected given to hold at least one fraction, got none"),
        (lambda: GivenFractions((0.5, 1.5)), ValueError, r"GivenFractions: expected given in \[0, 1\], got 1.5"),
        (lambda: TruncatedLinspace(10, "1"), TypeError, "TruncatedLinspace: expected largest to be a number, got str"),
        (lambda: OpenSteps(0.0), ValueError, "OpenSteps: expected share > 0, got 0.0"),
    ],
)
def test_refusals(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_equal_fractions_are_rounded_to_the_nearest_count():
    """8 / 3 = 2.67 and 16 / 3 = 5.33; 2.5 and 7.5 are rounded to the even count."""
    assert EqualFractions(3).counts(8) == [0, 3, 5, 8]
    assert EqualFractions(4).counts(10) == [0, 2, 5, 8, 10]
