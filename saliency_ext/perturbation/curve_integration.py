"""From the points of a perturbation curve to one number: the only place where curves are integrated.

Every rule is a weighted sum of the points, added from the first point to the last: the rounding of a reduction may depend on the
shape of a batch, this does not.
"""

import torch
from torch import Tensor

from ..checks import bad_value, require_choice

RULES = ("trapezoid", "even", "mean", "steps", "tenths", "percent")
BOUNDED_RULES = ("trapezoid", "even", "mean")  # means of the points: within the range of the scores


def area_under(values: Tensor, fractions: Tensor, rule: str = "trapezoid") -> Tensor:
    """One number for a curve. All rules but the first treat the points as evenly spaced.

    trapezoid  sum (t[i+1] - t[i]) (v[i] + v[i+1]) / 2, over the true fractions
    even       mean over adjacent pairs of (v[i] + v[i+1]) / 2 = (sum - first / 2 - last / 2) / (points - 1)
    mean       mean of the points; with both ends = even + (first + last - 2 even) / (2 points)
    steps      sum over adjacent pairs of (v[i] + v[i+1]) / 2: grows with the number of points
    tenths     0.1 times steps: the points are at 0, 0.1, 0.2, ...
    percent    100 times even: a flat curve of height 1 has area 100

    Args:
        values: (..., S) scores.
        fractions: (S,), or (..., S) where each curve has its own; increasing, in [0, 1]; read by "trapezoid" alone.
        rule: one of the above.

    Returns:
        (...) area; for a curve over [0, 1], "trapezoid" and "even" are its mean height.

    Raises:
        ValueError: lengths differ, fewer than two points, or an unknown rule.

    Note:
        A point repeated with the same fraction adds exactly 0 to the trapezoid area.

    Example:
        >>> area_under(torch.tensor([1.0, 0.5, 0.0]), torch.tensor([0.0, 0.5, 1.0]))
        tensor(0.5000)
    """
    require_choice("area_under", "rule", rule, RULES)
    points = fractions.shape[-1]
    if values.shape[-1] != points or points < 2:
        bad_value("area_under", "values", f"of shape (..., S) with S = {points} >= 2", tuple(values.shape))
    if rule == "mean":
        return in_order(values) / points
    pairs = values[..., 1:] + values[..., :-1]
    if rule == "trapezoid":
        return in_order(pairs * fractions.diff(dim=-1) / 2)
    steps = in_order(pairs) / 2
    if rule == "tenths":
        return steps / 10
    return steps if rule == "steps" else steps / (points - 1) * (100 if rule == "percent" else 1)


def trapezoid_weights(fractions: Tensor) -> Tensor:
    """(S,) weights of the points in the trapezoid area over fractions (S,): their sum is the last fraction minus the first.

    Example:
        >>> trapezoid_weights(torch.tensor([0.0, 0.5, 1.0]))
        tensor([0.2500, 0.5000, 0.2500])
    """
    return area_under(torch.eye(len(fractions), dtype=fractions.dtype), fractions)


def largest_error(difference: Tensor, width: Tensor, finest: Tensor) -> Tensor:
    """How far the trapezoid over one wide interval may be from that over all points of the grid, if the curve is monotone.

    Between two evaluated neighbours, `width` apart and `difference` high, the curve stays between both values. The sum over the
    grid's points differs from the line between them most if the curve jumps at the first or last grid step, of width `finest`.
    """
    return difference.abs() * (width - finest) / 2


def in_order(values: Tensor) -> Tensor:
    """(...) sums over the last dimension, from the first entry to the last."""
    return values.cumsum(-1)[..., -1]
