"""From the points of a curve to one number."""

import torch
from torch import Tensor

from ..checks import bad_value, require_choice

RULES = ("trapezoid", "even", "mean", "steps", "tenths", "percent")


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
        fractions: (S,) increasing, in [0, 1]; read by "trapezoid" alone.
        rule: one of the above.

    Returns:
        (...) area; for a curve over [0, 1], "trapezoid" and "even" are its mean height.

    Raises:
        ValueError: lengths differ, fewer than two points, or an unknown rule.

    Example:
        >>> area_under(torch.tensor([1.0, 0.5, 0.0]), torch.tensor([0.0, 0.5, 1.0]))
        tensor(0.5000)
    """
    require_choice("area_under", "rule", rule, RULES)
    points = fractions.shape[0]
    if values.shape[-1] != points or points < 2:
        bad_value("area_under", "values", f"of shape (..., S) with S = {points} >= 2", tuple(values.shape))
    if rule == "trapezoid":
        return torch.trapezoid(values, fractions, dim=-1)
    if rule == "mean":
        return values.mean(-1)
    steps = torch.trapezoid(values, dx=1.0, dim=-1)
    if rule == "tenths":
        return steps / 10
    return steps if rule == "steps" else steps / (points - 1) * (100 if rule == "percent" else 1)
