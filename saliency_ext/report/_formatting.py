"""Numbers as text, and round places for ticks."""

import math


def number(value: float, digits: int = 3) -> str:
    """A number with as many decimals as it deserves; "n/a" where there is none.

    Example:
        >>> number(0.12345), number(1234.5), number(0.00012), number(float("nan")), number(-0.0)
        ('0.123', '1234', '0.00012', 'n/a', '0.000')
    """
    if not math.isfinite(value):
        return "n/a"
    size = abs(value)
    if size == 0 or 10**-digits <= size < 100:
        return f"{value + 0.0:.{digits}f}"
    return f"{value:.{digits - 1}g}" if size < 100 else f"{value:.4g}"


def span(low: float, high: float) -> str:
    """An interval; empty where there is none."""
    return f"[{number(low)}, {number(high)}]" if math.isfinite(low) and math.isfinite(high) else ""


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers that cover [low, high], at most about `most`: the first is <= low, the last >= high.

    Example:
        >>> ticks(0.03, 0.97), ticks(-1.2, 3.9)
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [-2.0, 0.0, 2.0, 4.0])
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = 0.0, 1.0
    width = high - low
    if width <= 1e-12 * max(1.0, abs(low)):
        low, high, width = low - 0.5, low + 0.5, 1.0
    power = 10.0 ** math.floor(math.log10(width / most))
    step = next(power * factor for factor in (1, 2, 5, 10) if width / (power * factor) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]
