"""From the points of a curve to one number."""

import torch
from torch import Tensor

from ..checks import bad_value


def area_under(values: Tensor, fractions: Tensor) -> Tensor:
    """Trapezoid over true fractions: sum (t[i+1] - t[i]) (v[i] + v[i+1]) / 2.

    Args:
        values: (..., S) scores.
        fractions: (S,) increasing, in [0, 1].

    Returns:
        (...) area; for a curve over [0, 1] the mean height.

    Raises:
        ValueError: lengths differ, or fewer than two points.

    Example:
        >>> area_under(torch.tensor([1.0, 0.5, 0.0]), torch.tensor([0.0, 0.5, 1.0]))
        tensor(0.5000)
    """
    if values.shape[-1] != fractions.shape[0] or fractions.shape[0] < 2:
        bad_value("area_under", "values", f"of shape (..., S) with S = {fractions.shape[0]} >= 2", tuple(values.shape))
    return torch.trapezoid(values, fractions, dim=-1)
