"""Infill by independent noise for every pixel and channel."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from ..checks import bad_value
from ..ops import philox_normal, philox_uniform
from ..protocols import InfillInfo
from .base import Channels, InfillOptions, RandomInfill


@dataclass(frozen=True)
class UniformNoise(RandomInfill):
    """Infill of uniform noise, independent for each pixel and channel.

    infill[n, c, h, w] = low[c] + (high[c] - low[c]) u, u uniform in [0, 1), keyed by (seed, sample id, draw, channel, pixel).

    Args:
        low, high: one number each, or C numbers, in model input space; low < high. Raw [0, 1] is (0 - mean) / std to
            (1 - mean) / std in normalised space.
        seed: in [0, 2^63).
        draws: independent draws averaged per perturbed input, >= 1.

    Returns:
        `fill`: (N, C, H, W), dtype and device of the inputs, in [low, high].

    Raises:
        TypeError: low or high is not made of numbers; seed or draws is not an int.
        ValueError: low >= high in a channel; not finite; seed or draws out of range; other channels than the inputs.

    Note:
        Deterministic; no generator state is read or changed; neither batch nor order changes the bits. 2^24 levels, in
        float64 too. Memory: the output.

    Example:
        >>> import torch
        >>> noise, images = UniformNoise(-1.0, 1.0, seed=0), torch.zeros(2, 1, 4, 4)
        >>> together = noise.fill(images, torch.tensor([7, 9]))
        >>> bool((noise.fill(images[:1], torch.tensor([9]))[0] == together[1]).all())
        True
    """

    info: ClassVar[InfillInfo] = InfillInfo("uniform_noise", "uniform noise between black and white")

    low: Channels
    high: Channels
    seed: int
    draws: int = 1

    @classmethod
    def from_options(cls, options: InfillOptions, **further: Any) -> Self:
        """From black to white."""
        return cls(options.colour(0.0), options.colour(1.0), options.seed, **further)

    def __post_init__(self) -> None:
        low, high = self._numbers("low", self.low), self._numbers("high", self.high)
        lows, highs = (value if isinstance(value, tuple) else (value,) for value in (low, high))
        if len(lows) != len(highs) and 1 not in (len(lows), len(highs)):
            bad_value("UniformNoise", "low and high", "to hold as many numbers", f"{len(lows)} and {len(highs)}")
        channels = max(len(lows), len(highs))
        for bottom, top in zip(lows * (channels // len(lows)), highs * (channels // len(highs)), strict=True):
            if bottom >= top:
                bad_value("UniformNoise", "low", "< high in each channel", f"{bottom} and {top}", "for one colour use Constant")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        self._check_randomness(self.seed, self.draws)

    def _fill(self, inputs: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        low, high = self._per_channel("low", self.low, inputs), self._per_channel("high", self.high, inputs)
        noise = philox_uniform(inputs.shape[1:], sample_ids, seed=self.seed, stream=draw).to(inputs.dtype)
        return noise.mul_(high - low).add_(low).clamp_(max=high)  # rounding may pass the upper end


@dataclass(frozen=True)
class GaussianNoise(RandomInfill):
    """Infill of normal noise, independent for each pixel and channel.

    infill[n, c, h, w] = mean[c] + std[c] z, z standard normal, keyed by (seed, sample id, draw, channel, pixel).

    Args:
        mean, std: one number each, or C numbers, in model input space; std > 0. Mean 0, std 1 is noise with the statistics of
            the data set in normalised space.
        seed: in [0, 2^63).
        draws: independent draws averaged per perturbed input, >= 1.

    Returns:
        `fill`: (N, C, H, W), dtype and device of the inputs.

    Raises:
        TypeError: mean or std is not made of numbers; seed or draws is not an int.
        ValueError: std <= 0; not finite; seed or draws out of range; other channels than the inputs.

    Note:
        Deterministic; no generator state is read or changed; neither batch nor order changes the bits. z has the precision of
        float32, in float64 too. Memory: the output.

    Example:
        >>> import torch
        >>> noise = GaussianNoise(1.0, 0.5, seed=0).fill(torch.zeros(4, 1, 64, 64), torch.arange(4))
        >>> round(float(noise.mean()), 1), round(float(noise.std()), 1)
        (1.0, 0.5)
    """

    info: ClassVar[InfillInfo] = InfillInfo("gaussian_noise", "noise with the statistics of the training data")

    mean: Channels
    std: Channels
    seed: int
    draws: int = 1

    @classmethod
    def from_options(cls, options: InfillOptions, **further: Any) -> Self:
        """With the statistics of normalised training data."""
        return cls(0.0, 1.0, options.seed, **further)

    def __post_init__(self) -> None:
        mean, std = self._numbers("mean", self.mean), self._numbers("std", self.std)
        smallest = min(std) if isinstance(std, tuple) else std
        if smallest <= 0:
            bad_value("GaussianNoise", "std", "> 0", smallest, "for one colour use Constant")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "std", std)
        self._check_randomness(self.seed, self.draws)

    def _fill(self, inputs: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        mean, std = self._per_channel("mean", self.mean, inputs), self._per_channel("std", self.std, inputs)
        noise = philox_normal(inputs.shape[1:], sample_ids, seed=self.seed, stream=draw).to(inputs.dtype)
        return noise.mul_(std).add_(mean)
