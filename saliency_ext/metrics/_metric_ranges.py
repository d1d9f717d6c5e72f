"""Between which values a metric lies: what the intervals of a ranking and of an early stop rest on."""

from typing import Any

from torch import Tensor

from ..checks import bad_value, require_number

_ROUNDING = 1e-6  # areas of probabilities may leave their range by rounding
_BOUNDS = {
    "fidelity": (-1.0, 1.0),
    "symmetric_relevance_gain": (-1.0, 1.0),
    **dict.fromkeys(("deletion", "insertion", "morf", "lerf", "pointing_game", "relevance_mass", "relevance_rank"), (0.0, 1.0)),
}


def checked_bounds(function: str, metric: Any, bounds: tuple[float, float] | None) -> tuple[float, float]:
    """The bounds given, or those that the metric has for certain; a metric that prefers no direction is refused."""
    if metric.info.direction not in ("higher", "lower"):
        bad_value(function, "metric", "one of which higher or lower is better", repr(metric.info.name))
    if bounds is not None:
        low, high = (require_number(function, "bounds", bound, low=-1e300) for bound in bounds)
        if low >= high:
            bad_value(function, "bounds", "(low, high) with low < high", bounds)
        return low, high
    choices = getattr(metric, "parameters", {})
    bounded = choices.get("score", "probability") in ("probability", "accuracy") and not choices.get("relative", False)
    if metric.info.name not in _BOUNDS or not bounded or choices.get("area", "trapezoid") not in ("trapezoid", "even", "mean"):
        bad_value(function, "bounds", f"for metric {metric.info.name!r} with these choices", "None", "pass bounds=(low, high)")
    return _BOUNDS[metric.info.name]


def require_within(function: str, argument: str, values: Tensor, bounds: tuple[float, float]) -> Tensor:
    """The values, if all are within the bounds or NaN: outside them the intervals would not hold."""
    low, high = bounds
    outside = (values < low - _ROUNDING) | (values > high + _ROUNDING)
    if outside.any():
        remedy = "pass the bounds of the metric as bounds=(low, high)"
        bad_value(function, argument, f"to score in [{low:g}, {high:g}]", float(values[outside][0]), remedy)
    return values
