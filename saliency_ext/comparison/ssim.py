"""Structural similarity of all pairs of maps, as scikit-image defines it, a map's own moments made once."""

from dataclasses import dataclass

from torch import Tensor

_K1, _K2 = 0.01, 0.03
_SMALL, _LARGE, _FROM = 7, 11, 128  # windows, and the side from which the larger one is usual


def usual_window(height: int, width: int) -> int:
    """7 for maps with a side below 128 pixels, 11 from there."""
    return _SMALL if min(height, width) < _FROM else _LARGE


def all_ssim(first: Tensor, second: Tensor, window: int, *, same: bool = False) -> Tensor:
    """Mean structural similarity (M, L) of every map (M, H, W) with every one of (L, H, W) [Wang 2004, Eq. 13].

    (2 a b + C1) (2 cov + C2) / ((a^2 + b^2 + C1) (var_a + var_b + C2)), with a and b the means of a window, covariances with one
    less than the pixels of a window, C1 = 0.01^2, C2 = 0.03^2; averaged over the windows that lie within the maps.

    Args:
        first, second: float64 with values in [0, 1].
        window: side of the window, odd, at most the side of a map.
        same: the two are the same maps: half of the pairs are computed.
    """
    one = _Moments.of(first, window)
    other = one if same else _Moments.of(second, window)
    found = first.new_empty(len(first), len(second))
    for row in range(len(first)):
        start = row if same else 0
        values = found[row, start:] = _similarity(one[row : row + 1], other[start:])
        if same:
            found[row:, row] = values
    return found


def each_ssim(first: Tensor, second: Tensor, window: int) -> Tensor:
    """Mean structural similarity (M,) of each map (M, H, W) with the one at its place; arguments as `all_ssim`."""
    return _similarity(_Moments.of(first, window), _Moments.of(second, window))


@dataclass(frozen=True)
class _Moments:
    """What maps bring to each of their pairs, scaled so that a pair needs few operations: with n the pixels of a window and
    s = n / (n - 1), pixels times sqrt(2 s / n), and over windows sqrt(2) a, a^2 + C1 / 2 and the variance + C2 / 2.
    """

    maps: Tensor
    means: Tensor
    squares: Tensor
    variances: Tensor
    window: int

    @staticmethod
    def of(maps: Tensor, window: int) -> "_Moments":
        sample = _sample(window)
        scaled = maps * ((2 * sample) ** 0.5 / window)
        means = _window_sums(maps, window) / window**2
        variances = _window_sums(scaled * scaled, window) / 2 - means**2 * sample
        return _Moments(scaled, means * 2**0.5, means**2 + _K1**2 / 2, variances + _K2**2 / 2, window)

    def __getitem__(self, which: slice) -> "_Moments":
        return _Moments(self.maps[which], self.means[which], self.squares[which], self.variances[which], self.window)


def _similarity(one: _Moments, other: _Moments) -> Tensor:
    """(L,) of maps against maps; in place, as this is where the time goes."""
    both = other.means * one.means  # 2 a b
    found = _window_sums(other.maps * one.maps, one.window)
    found.sub_(both, alpha=_sample(one.window)).add_(_K2**2).mul_(both.add_(_K1**2))
    below = (other.squares + one.squares).mul_(other.variances + one.variances)
    return found.div_(below).mean((1, 2))


def _sample(window: int) -> float:
    """From a mean of squares to a variance with one less than the pixels."""
    return window**2 / (window**2 - 1)


def _window_sums(values: Tensor, window: int) -> Tensor:
    """Sums (..., H - w + 1, W - w + 1) over windows; a tensor of its own for w > 1."""
    return _sliding_sums(_sliding_sums(values, window, -2), window, -1)


def _sliding_sums(values: Tensor, window: int, dim: int) -> Tensor:
    """Sums of `window` neighbours by doubling: four additions for 7 neighbours instead of six."""
    count = values.shape[dim] - window + 1
    parts: list[Tensor] = []
    block, size, place = values, 1, 0  # block: sums of `size` neighbours
    while window:
        if window & size:
            parts.append(block.narrow(dim, place, count))
            place += size
            window -= size
        if window:
            length = block.shape[dim] - size
            block = block.narrow(dim, 0, length) + block.narrow(dim, size, length)
            size *= 2
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
