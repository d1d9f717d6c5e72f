"""Structural similarity of all pairs of maps, as scikit-image defines it, a map's own moments made once."""

from dataclasses import dataclass

import torch
from torch import Tensor

_K1, _K2 = 0.01, 0.03
_SMALL, _LARGE, _FROM = 7, 11, 128  # windows, and the side from which the larger one is usual
_PIXELS = 2**18  # of one operation: its operands stay in cache, and it is worth more than one thread


def usual_window(height: int, width: int) -> int:
    """7 for maps with a side below 128 pixels, 11 from there."""
    return _SMALL if min(height, width) < _FROM else _LARGE


def all_ssim(maps: Tensor, window: int) -> Tensor:
    """Mean structural similarity (n, M, M) of every two of M maps of an image, (n, M, H, W) [Wang 2004, Eq. 13].

    (2 a b + C1) (2 cov + C2) / ((a^2 + b^2 + C1) (var_a + var_b + C2)), with a and b the means of a window, covariances with one
    less than the pixels of a window, C1 = 0.01^2, C2 = 0.03^2; averaged over the windows that lie within the maps.

    Args:
        maps: float64 with values in [0, 1].
        window: side of the window, odd, at most the side of a map.
    """
    images, several = maps.shape[:2]
    result = maps.new_empty(images, several, several)
    for part in _parts(maps):
        moments = _Moments.of(maps[part], window)
        for apart in range(several):  # map i with map i + apart: views, no copy of a moment
            values = _similarity(moments[: several - apart], moments[apart:])
            result[part].diagonal(apart, 1, 2).copy_(values)
            result[part].diagonal(-apart, 1, 2).copy_(values)
    return result


def each_ssim(first: Tensor, second: Tensor, window: int) -> Tensor:
    """Mean structural similarity (n, M) of each map (n, M, H, W) with the one at its place; arguments as `all_ssim`."""
    result = first.new_empty(first.shape[:2])
    for part in _parts(first):
        result[part] = _similarity(_Moments.of(first[part], window), _Moments.of(second[part], window))
    return result


def _parts(maps: Tensor) -> list[slice]:
    """Images in slices of about as many pixels as one operation is given."""
    step = max(1, _PIXELS // max(1, maps[:1].numel()))
    return [slice(start, min(start + step, len(maps))) for start in range(0, len(maps), step)]


@dataclass(frozen=True)
class _Moments:
    """What maps bring to each of their pairs, scaled so that a pair needs few operations: with n the pixels of a window and
    s = n / (n - 1), pixels times sqrt(2 s / n), and over windows sqrt(2) a, a^2 + C1 / 2 and the variance + C2 / 2.

    All are rows (n, M, P) of pixels, or of windows by their first pixel, as `_Windows` has them.
    """

    maps: Tensor
    means: Tensor
    squares: Tensor
    variances: Tensor
    windows: "_Windows"

    @staticmethod
    def of(maps: Tensor, window: int) -> "_Moments":
        windows, flat = _Windows(maps.shape[2], maps.shape[3], window), maps.flatten(2)
        sample = windows.sample
        scaled = flat * ((2 * sample) ** 0.5 / window)
        means = windows.sums(flat) / window**2
        variances = windows.sums(scaled * scaled) / 2 - means**2 * sample
        return _Moments(scaled, means * 2**0.5, means**2 + _K1**2 / 2, variances + _K2**2 / 2, windows)

    def __getitem__(self, which: slice) -> "_Moments":
        maps, means, squares, variances = (each[:, which] for each in (self.maps, self.means, self.squares, self.variances))
        return _Moments(maps, means, squares, variances, self.windows)


def _similarity(one: _Moments, other: _Moments) -> Tensor:
    """(n, M) of maps with maps; in place, as this is where the time goes."""
    windows = one.windows
    both = one.means * other.means  # 2 a b
    result = windows.sums(one.maps * other.maps)
    result.sub_(both, alpha=windows.sample).add_(_K2**2).mul_(both.add_(_K1**2))
    below = (one.squares + other.squares).mul_(one.variances + other.variances)
    return windows.mean(result.div_(below))


@dataclass(frozen=True)
class _Windows:
    """Windows on maps whose rows lie one behind the other, so that every sum runs along one long row.

    A window that begins within w - 1 pixels of a row's end reaches into the next row: it is summed like the others, which costs
    less than to leave it out, and `mean` does not count it.
    """

    height: int
    width: int
    window: int

    @property
    def sample(self) -> float:
        """From a mean of squares to a variance with one less than the pixels."""
        return self.window**2 / (self.window**2 - 1)

    def sums(self, flat: Tensor) -> Tensor:
        """(..., (H - w + 1) W - w + 1) from pixels (..., H W)."""
        return _sliding_sums(_sliding_sums(flat, self.window, self.width), self.window, 1)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the windows that lie within the map."""
        rows, columns = self.height - self.window + 1, self.width - self.window + 1
        shape, strides = (*values.shape[:-1], rows, columns), (*values.stride()[:-1], self.width, 1)
        return values.as_strided(shape, strides).mean((-2, -1))


def _sliding_sums(values: Tensor, window: int, apart: int) -> Tensor:
    """Sums of `window` values that lie `apart`, along the last dimension, by doubling: four additions for 7 instead of six."""
    count = values.shape[-1] - (window - 1) * apart
    parts: list[Tensor] = []
    block, size, place = values, 1, 0  # block: sums of `size` values
    while window:
        if window & size:
            parts.append(block.narrow(-1, place * apart, count))
            place += size
            window -= size
        if window:
            length = block.shape[-1] - size * apart
            block = block.narrow(-1, 0, length) + block.narrow(-1, size * apart, length)
            size *= 2
    total = torch.add(parts[0], parts[1]) if len(parts) > 1 else parts[0].clone()
    for part in parts[2:]:
        total += part
    return total
