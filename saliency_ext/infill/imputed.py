"""Imputation from the kept pixels around: infills that need the mask."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..checks import bad_value, require_number
from ..ops.linear_infill import linear_infill
from ..protocols import InfillInfo
from .base import BaseInfill, Channels, InfillOptions, RandomInfill


class _Imputed(BaseInfill, ABC):
    """An infill per mask. `fill`, which knows of no mask, is the one for an image of which everything is removed."""

    def fill_removed(self, inputs: Tensor, remove: Tensor, sample_ids: Tensor, draw: int = 0) -> Tensor:
        """The images with their removed pixels filled from the kept ones.

        Args:
            inputs: (N, C, H, W) float32 or float64. The values of removed pixels are not used.
            remove: (S, N, H, W) bool, True = removed.
            sample_ids: (N,) int64.
            draw: in [0, 2^27); without meaning where the infill has none.

        Returns:
            (S, N, C, H, W); kept pixels have the bits of the inputs.

        Raises:
            TypeError, ValueError: as `ops.linear_infill`.
        """
        return self._impute(inputs.detach(), remove, sample_ids, draw)

    @abstractmethod
    def _impute(self, inputs: Tensor, remove: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        """The filled images."""

    def _fill(self, inputs: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        n, _, h, w = inputs.shape
        return self._impute(inputs, torch.ones(1, n, h, w, dtype=torch.bool, device=inputs.device), sample_ids, draw)[0]


@dataclass(frozen=True)
class NoisyLinear(_Imputed, RandomInfill):
    """Infill of weighted means of the neighbours plus a little noise: the imputation of ROAD [Rong 2022, Sec. 4.2].

    infill(u) = sum over neighbours v of w(u, v) x(v) / sum of w(u, v) + noise_std[c] z,   x the image where it is kept, else the
    same mean; w 1/6 for direct and 1/12 for diagonal neighbours inside the image. See `ops.linear_infill`.
    The shape of the mask hardly shows in the picture: a classifier cannot read it off, which it can with one colour. Solid
    removed regions do become visible blurs: `metrics.MaskDetectability` measures it.

    Args:
        noise_std: one number, or C numbers, >= 0, in model input space. Published: 0.01 of a range of [0, 1], which is
            0.01 / std of each channel after normalisation.
        seed: in [0, 2^63).
        draws: independent draws averaged per perturbed input, >= 1.
        tolerance: > 0, of the solution, in model input space; well below the noise.

    Returns:
        `fill_removed`: (S, N, C, H, W) for masks (S, N, H, W). `fill`: 0 plus noise, as if everything was removed.

    Raises:
        TypeError: noise_std is not made of numbers; seed or draws is not an int; tolerance is no number.
        ValueError: noise_std < 0 or not finite; tolerance <= 0; seed or draws out of range; other channels than the inputs.

    Note:
        The noise of a pixel depends on (seed, sample id, draw, channel, pixel), not on the mask: the same at each step of a
        curve, where the published code draws it anew. Deterministic in any batch. A soft mask removes where it keeps less
        than half. Everything removed is 0 plus noise.

    Example:
        >>> import torch
        >>> line = torch.tensor([[[[1.0, 9.0, 9.0, 4.0]]]])
        >>> remove = torch.tensor([[[[False, True, True, False]]]])
        >>> NoisyLinear(0.0, tolerance=1e-6).fill_removed(line, remove, torch.arange(1)).flatten()
        tensor([1., 2., 3., 4.])

    References:
        Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods, ICML 2022.
    """

    info: ClassVar[InfillInfo] = InfillInfo(
        "noisy_linear", "weighted means of the pixels around, with a little noise", "Rong 2022"
    )

    noise_std: Channels = 0.01
    seed: int = 0
    draws: int = 1
    tolerance: float = 1e-3

    @classmethod
    def from_options(cls, options: InfillOptions, **further: Any) -> Self:
        """With the published noise, 0.01 of a range of [0, 1]."""
        return cls([0.01 / std for std in options.std], options.seed, **further)

    def __post_init__(self) -> None:
        deviation = self._numbers("noise_std", self.noise_std)
        smallest = min(deviation) if isinstance(deviation, tuple) else deviation
        if smallest < 0:
            bad_value("NoisyLinear", "noise_std", ">= 0", smallest)
        object.__setattr__(self, "noise_std", deviation)
        object.__setattr__(self, "tolerance", require_number("NoisyLinear", "tolerance", self.tolerance, above=0.0))
        self._check_randomness(self.seed, self.draws)

    def _impute(self, inputs: Tensor, remove: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        deviation = self._per_channel("noise_std", self.noise_std, inputs).flatten().tolist()
        return linear_infill(
            inputs,
            remove,
            tolerance=self.tolerance,
            noise_std=deviation[0] if len(deviation) == 1 else deviation,
            seed=self.seed,
            sample_ids=sample_ids,
            draw=draw,
        )


@dataclass(frozen=True)
class Harmonic(_Imputed):
    """Infill of the smoothest surface through the kept pixels: each removed pixel is the mean of its 4 neighbours.

    The discrete Laplace equation with the kept pixels as boundary values, no noise. See `ops.linear_infill`.

    Args:
        tolerance: > 0, of the solution, in model input space.

    Returns:
        `fill_removed`: (S, N, C, H, W) for masks (S, N, H, W), within the range of the kept pixels. `fill`: 0, as if everything
        was removed.

    Raises:
        TypeError: tolerance is no number. ValueError: tolerance <= 0 or not finite.

    Note:
        Deterministic in any batch. Removed regions are smooth, so a model may recognise them: `metrics.MaskDetectability`.

    Example:
        >>> import torch
        >>> line = torch.tensor([[[[1.0, 9.0, 5.0]]]])
        >>> Harmonic().fill_removed(line, torch.tensor([[[[False, True, False]]]]), torch.arange(1)).flatten()
        tensor([1., 3., 5.])
    """

    info: ClassVar[InfillInfo] = InfillInfo("harmonic", "the smoothest surface through the pixels around")

    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        object.__setattr__(self, "tolerance", require_number("Harmonic", "tolerance", self.tolerance, above=0.0))

    def _impute(self, inputs: Tensor, remove: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        return linear_infill(inputs, remove, stencil="harmonic", tolerance=self.tolerance, noise_std=0.0, sample_ids=sample_ids)
