"""Adaptive steps on known curves: the bound holds and is attained, what is asked is known by hand, rows are alone."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saliency_ext.perturbation import AdaptiveSteps
from saliency_ext.perturbation.curve_integration import area_under


def middle(i, j, last):
    """Half-way; of two candidates the one nearer to the middle of the grid."""
    return min((i + j) // 2, (i + j + 1) // 2, key=lambda place: abs(2 * place - last))


def naive_round(curves, requested, at, tolerance):
    """What one image asks next, K curves as lists: the rule of the docstring, word by word."""
    intervals = []
    for k, (curve, known) in enumerate(zip(curves, requested, strict=True)):
        for i, j in itertools.pairwise(sorted(known)):
            finest = min(at[i + 1] - at[i], at[j] - at[j - 1])
            intervals.append((abs(curve[j] - curve[i]) * (at[j] - at[i] - finest) / 2, k, i, j))
    intervals.sort(key=lambda item: -item[0])
    left, wanted = sum(item[0] for item in intervals), []
    for bound, k, i, j in intervals:
        if left > tolerance and bound > 0 and bound >= intervals[0][0] / 2:
            wanted.append((k, middle(i, j, len(at) - 1)))
            left -= bound * (j - i) / (2 * (j - i - 1))
    return wanted


def naive(curves, at, tolerance, first):
    requested = [set(first) for _ in curves]
    while wanted := naive_round(curves, requested, at, tolerance):
        for k, place in wanted:
            requested[k].add(place)
    return requested


def one_at_a_time(curve, tolerance):
    """Bisects the worst interval until the bound is met, on an even grid."""
    last, requested = len(curve) - 1, {0, len(curve) - 1}

    def bound(interval):
        return abs(curve[interval[1]] - curve[interval[0]]) * (interval[1] - interval[0] - 1) / last / 2

    while sum(map(bound, itertools.pairwise(sorted(requested)))) > tolerance:
        requested.add(middle(*max(itertools.pairwise(sorted(requested)), key=bound), last))
    return requested


def places(found, row=0, curve=0):
    return set(found.requested[row, curve].nonzero().flatten().tolist())


def monotone(n, points, seed=0, power=8):
    falls = torch.rand(n, points - 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** power
    falls = torch.cat([torch.zeros(n, 1, dtype=torch.float64), falls.cumsum(1)], 1)
    return 1 - falls / falls[:, -1:]


heights = st.lists(st.floats(-3, 3).map(lambda x: round(x, 2)), min_size=2, max_size=24)


@given(heights, st.lists(st.integers(1, 9), min_size=24, max_size=24), st.sampled_from([0.001, 0.05, 0.3]), st.booleans())
@settings(max_examples=300, deadline=None)
def test_the_bound_holds_for_every_monotone_curve(values, steps, tolerance, rising):
    """Also on grids that are not even, with ties and jumps; nothing is asked once the bound is met."""
    curve = torch.tensor(sorted(values, reverse=not rising), dtype=torch.float64)
    at = torch.tensor([0, *itertools.accumulate(steps[: len(values) - 1])], dtype=torch.float64)
    at = at / at[-1]
    result = AdaptiveSteps(tolerance, grid=max(len(values) - 1, 2), first=1).simulate(curve[None], at)
    error = abs(float(result.areas[0, 0]) - float(area_under(curve, at)))
    assert error <= float(result.bound[0]) + 1e-12
    assert float(result.bound[0]) <= tolerance and bool(result.certified[0])


eighths = st.lists(st.integers(-24, 24).map(lambda x: x / 8), min_size=33, max_size=33)


@given(eighths, eighths, st.sampled_from([4, 8, 16, 32]), st.sampled_from([0.0031, 0.0507, 0.3003]), st.sampled_from([1, 2, 4]))
@settings(max_examples=200, deadline=None)
def test_any_curves_are_asked_what_the_rule_says(one, other, grid, tolerance, first):
    """Heights and places are such that bounds are exact and tie often; no rounding decides."""
    curves = torch.tensor([one[: grid + 1], other[: grid + 1]], dtype=torch.float64)
    at = [place / grid for place in range(grid + 1)]
    steps = AdaptiveSteps(tolerance, grid, first)
    result = steps.simulate(curves[None])
    expected = naive(curves.tolist(), at, tolerance, range(0, grid + 1, grid // first))
    assert [places(result, 0, 0), places(result, 0, 1)] == expected
    assert result.evaluated.tolist() == [sum(map(len, expected))] and float(result.bound[0]) <= tolerance


@pytest.mark.parametrize(("grid", "more"), [(64, 0), (100, 1)])
@pytest.mark.parametrize("tolerance", [0.02, 0.005])
def test_rounds_ask_no_more_than_one_at_a_time(grid, more, tolerance):
    """A grid that halves to the end: the same points. Else at most one more, for the halves are not equal."""
    curves = monotone(60, grid + 1)
    result = AdaptiveSteps(tolerance, grid, first=1).simulate(curves)
    for row, curve in enumerate(curves.tolist()):
        alone = one_at_a_time(curve, tolerance)
        assert alone == places(result, row) if more == 0 else abs(len(alone) - len(places(result, row))) <= more


def test_by_hand():
    """1 0 0 0 0 0 0 0 0: the interval (0, j) has the bound (j - 1) / 16: 7/16, 3/16, 1/16, 0."""
    drop = torch.tensor([[1.0, 0, 0, 0, 0, 0, 0, 0, 0]])
    for tolerance, requested, bound in (
        (0.5, {0, 8}, 7 / 16),
        (3 / 16, {0, 4, 8}, 3 / 16),  # met exactly: done
        (0.1874, {0, 2, 4, 8}, 1 / 16),
        (0.0624, {0, 1, 2, 4, 8}, 0.0),
    ):
        result = AdaptiveSteps(tolerance, grid=8, first=1).simulate(drop)
        assert (places(result), float(result.bound[0])) == (requested, bound)
        assert result.evaluated.tolist() == [len(requested)] and result.certified.tolist() == [True]
    assert float(result.areas[0, 0]) == 1 / 16  # the whole grid's: half of the first step


def test_the_bound_is_attained_by_a_jump_beside_a_neighbour():
    """Ends alone say 1/2; the curve that falls at once has the area 1/16, the one that falls last 15/16: 7/16 off, both."""
    for curve in ([1.0] + [0.0] * 8, [1.0] * 8 + [0.0]):
        result = AdaptiveSteps(0.5, grid=8, first=1).simulate(torch.tensor([curve]))
        error = (result.areas[0, 0] - torch.trapezoid(torch.tensor(curve).double(), dx=1 / 8)).abs()
        assert float(error) == float(result.bound[0]) == 7 / 16


def test_a_constant_curve_takes_two_points_and_a_step_its_logarithm():
    constant = AdaptiveSteps(1e-6, grid=64, first=1).simulate(torch.full((1, 65), 0.3))
    assert places(constant) == {0, 64} and float(constant.bound[0]) == 0 and bool(constant.certified[0])
    assert float(constant.areas[0, 0]) == pytest.approx(0.3, abs=1e-7)
    for at in (1, 20, 63, 64):
        step = (torch.arange(65) < at).double()[None]
        result = AdaptiveSteps(1e-6, grid=64, first=1).simulate(step)
        assert len(places(result)) == 2 + 6  # 64 = 2^6
        assert float(result.areas[0, 0]) == float(torch.trapezoid(step[0], dx=1 / 64))


def test_curves_are_straight_between_evaluated_points_and_exact_at_them():
    curve = monotone(5, 33)
    result = AdaptiveSteps(0.05, grid=32).simulate(curve)
    for row in range(5):
        known = sorted(places(result, row))
        assert torch.equal(result.curves[row, 0, known], curve[row, known])
        for i, j in itertools.pairwise(known):
            line = torch.linspace(float(curve[row, i]), float(curve[row, j]), j - i + 1, dtype=torch.float64)
            torch.testing.assert_close(result.curves[row, 0, i : j + 1], line)
    torch.testing.assert_close(result.areas[:, 0], torch.trapezoid(result.curves[:, 0], dx=1 / 32))


def test_a_curve_that_turns_is_estimated_even_if_the_bound_is_met():
    turns = torch.tensor([[1.0, 0.2, 0.1, 0.0, 0.4, 0.4, 0.4, 0.4, 0.4]])
    for tolerance in (0.1, 1e-9):
        result = AdaptiveSteps(tolerance, grid=8, first=1).simulate(turns)
        assert float(result.bound[0]) <= tolerance and result.certified.tolist() == [False]
    assert places(result) >= {0, 1, 2, 3, 4}
    assert float(result.areas[0, 0]) == pytest.approx(float(torch.trapezoid(turns[0].double(), dx=1 / 8)))


def test_the_certificate_is_conditional():
    """A bump between evaluated points that are monotone: certified, and wrong by far more than the tolerance."""
    bump = torch.tensor([[0.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.0]])
    result = AdaptiveSteps(0.01, grid=8, first=1).simulate(bump)
    assert result.certified.tolist() == [True] and places(result) == {0, 8}
    assert float(torch.trapezoid(bump[0], dx=1 / 8)) - float(result.areas[0, 0]) > 0.7


def test_curves_of_one_number_share_the_tolerance():
    """Differences and sums of the two areas stay within the bound; the curve that moves gets the points."""
    curves = torch.stack([monotone(40, 101), monotone(40, 101, seed=1, power=1).flip(1)], 1)
    curves[0, 1] = 0.4
    result = AdaptiveSteps(0.01, first=1).simulate(curves)
    truth = torch.trapezoid(curves, dx=0.01)
    off = result.areas - truth
    assert ((off[:, 1] - off[:, 0]).abs() <= result.bound + 1e-12).all() and (off.abs().sum(1) <= result.bound + 1e-12).all()
    assert (result.bound <= 0.01).all() and result.certified.all()
    assert places(result, 0, 1) == {0, 100}
    assert result.evaluated.tolist() == [len(places(result, row, 0)) + len(places(result, row, 1)) for row in range(40)]


def test_a_row_is_the_same_in_any_company():
    wild = torch.rand(30, 2, 51, generator=torch.Generator().manual_seed(4)) * torch.linspace(1, 0, 51)
    steps = AdaptiveSteps(0.02, grid=50)
    whole, turned = steps.simulate(wild), steps.simulate(wild.flip(0).transpose(1, 2).contiguous().transpose(1, 2))
    for row in range(30):
        alone = steps.simulate(wild[row : row + 1])
        for name in ("curves", "requested", "areas", "bound", "evaluated", "certified"):
            own = getattr(whole, name)[row]
            assert torch.equal(own, getattr(alone, name)[0]) and torch.equal(own, getattr(turned, name)[29 - row])


def test_points_that_were_not_asked_are_not_read():
    curves = monotone(20, 101)
    before = curves.clone()
    result = AdaptiveSteps(0.01).simulate(curves)
    hidden = AdaptiveSteps(0.01).simulate(torch.where(result.requested[:, 0], curves, torch.nan))
    assert torch.equal(result.curves, hidden.curves) and torch.equal(result.requested, hidden.requested)
    assert torch.equal(curves, before)


@pytest.mark.parametrize(
    ("bad", "at", "requested"), [(torch.nan, 32, {0, 32, 64}), (torch.inf, 32, {0, 32, 64}), (-torch.inf, 64, {0, 64})]
)
def test_a_score_that_is_not_finite_ends_the_search_of_its_image_alone(bad, at, requested):
    """Also where it ends a curve that falls throughout: there is no bound."""
    curves = monotone(3, 65)
    whole = AdaptiveSteps(0.01, 64, first=1).simulate(curves)
    curves[1, at] = bad
    result = AdaptiveSteps(0.01, 64, first=1).simulate(curves)
    assert places(result, 1) == requested and not bool(result.certified[1]) and not bool(result.areas[1].isfinite().all())
    for row in (0, 2):
        assert torch.equal(result.requested[row], whole.requested[row]) and bool(result.certified[row])


def test_a_curve_read_backwards_is_asked_the_same():
    for points in (101, 65, 91):
        curves = monotone(50, points)
        for first in (1, 3, 4):
            steps = AdaptiveSteps(0.013, grid=points - 1, first=first)
            assert torch.equal(steps.simulate(curves).requested, steps.simulate(curves.flip(1)).requested.flip(2))


def test_the_first_points_are_asked_of_everyone():
    """Equal parts, their inner ends rounded towards the middle of the grid; a wide bump is found."""
    assert AdaptiveSteps(grid=100).first_places(101) == [0, 25, 50, 75, 100]
    assert AdaptiveSteps(grid=10).first_places(11) == [0, 3, 5, 7, 10]
    assert AdaptiveSteps(grid=10).first_places(3) == [0, 1, 2]
    assert AdaptiveSteps(grid=10, first=10).first_places(11) == list(range(11))
    bump = torch.tensor([[0.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.0]])
    result = AdaptiveSteps(0.01, grid=8).simulate(bump)
    assert places(result) == set(range(9)) - {3, 5} and not result.certified.any()
    assert float(result.areas[0, 0]) == pytest.approx(float(torch.trapezoid(bump[0], dx=1 / 8)))
    flat = AdaptiveSteps(grid=64).simulate(torch.full((1, 65), 0.3))
    assert places(flat) == {0, 16, 32, 48, 64} and flat.certified.all()


def test_no_images_and_few_pixels():
    none = AdaptiveSteps().simulate(torch.rand(0, 101))
    assert none.areas.shape == (0, 1) and none.evaluated.shape == none.bound.shape == none.certified.shape == (0,)
    assert AdaptiveSteps(grid=10).grid_counts(4) == [0, 1, 2, 3, 4]
    assert AdaptiveSteps(grid=4).grid_counts(10) == [0, 2, 5, 8, 10]
    single = AdaptiveSteps(1e-9, grid=10).simulate(torch.tensor([[0.2, 0.8]]), torch.tensor([0.0, 1.0]))
    assert float(single.areas[0, 0]) == pytest.approx(0.5) and single.evaluated.tolist() == [2]


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: AdaptiveSteps(0.0), ValueError, "AdaptiveSteps: expected tolerance > 0 and finite, got 0.0"),
        (lambda: AdaptiveSteps(-0.1), ValueError, "tolerance > 0"),
        (lambda: AdaptiveSteps(float("nan")), ValueError, "tolerance > 0 and finite, got nan"),
        (lambda: AdaptiveSteps(True), TypeError, "tolerance to be a number, got bool"),
        (lambda: AdaptiveSteps(grid=1), ValueError, r"AdaptiveSteps: expected grid in \[2, "),
        (lambda: AdaptiveSteps(grid=10.0), TypeError, "grid to be an int"),
        (lambda: AdaptiveSteps(grid=10, first=11), ValueError, r"AdaptiveSteps: expected first in \[1, 10\], got 11"),
        (lambda: AdaptiveSteps(first=0), ValueError, r"first in \[1, 100\], got 0"),
        (lambda: AdaptiveSteps().simulate([[1.0]]), TypeError, "AdaptiveSteps.simulate: expected curves to be a torch.Tensor"),
        (
            lambda: AdaptiveSteps().simulate(torch.rand(2, 21)),
            ValueError,
            r"simulate: expected curves of shape \(N, K, P\) =",
        ),
        (lambda: AdaptiveSteps().simulate(torch.rand(101)), ValueError, r"curves of shape \(N, K, P\), got \(101,\)"),
        (
            lambda: AdaptiveSteps().simulate(torch.rand(2, 3), torch.tensor([0.0, 0.0, 1.0])),
            ValueError,
            "fractions at least two, rising",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, kind, text):
    with pytest.raises(kind, match=text):
        make()
