"""Infill by a random permutation of the pixels of the image."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from ..ops import philox_uniform, rank
from ..protocols import InfillInfo
from .base import InfillOptions, RandomInfill


@dataclass(frozen=True)
class Shuffle(RandomInfill):
    """Infill of the image's own pixels in random order: its colours stay exactly, all structure goes.

    infill[n, c, p] = inputs[n, c, pi(p)], pi the rank of uniform noise keyed by (seed, sample id, draw, pixel): one
    permutation for all channels of an image, so that pixels move as a whole.

    Args:
        seed: in [0, 2^63).
        draws: independent draws averaged per perturbed input, >= 1.

    Returns:
        `fill`: (N, C, H, W), dtype and device of the inputs; in each image the pixels of the input.

    Raises:
        TypeError: seed or draws is not an int.
        ValueError: seed or draws out of range.

    Note:
        Deterministic; no generator state is read or changed; neither batch nor order changes the permutation. Noise has 2^24
        levels and equal noise keeps row-major order: of 224 x 224 pixels about 75 pairs do, not noticeably. Memory: the output
        and 16 bytes per pixel.

    Example:
        >>> import torch
        >>> line = torch.arange(6.0).view(1, 1, 2, 3)
        >>> Shuffle(seed=0).fill(line, torch.arange(1)).flatten()
        tensor([4., 1., 2., 3., 0., 5.])
    """

    info: ClassVar[InfillInfo] = InfillInfo("shuffle", "other pixels of the image")

    seed: int
    draws: int = 1

    @classmethod
    def from_options(cls, options: InfillOptions, **further: Any) -> Self:
        """With the seed."""
        return cls(options.seed, **further)

    def __post_init__(self) -> None:
        self._check_randomness(self.seed, self.draws)

    def _fill(self, inputs: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        noise = philox_uniform((1, *inputs.shape[2:]), sample_ids, seed=self.seed, stream=draw)
        source = rank(noise[:, 0], nan="last").flatten(1).long()[:, None].expand(-1, inputs.shape[1], -1)
        return inputs.flatten(2).gather(2, source).view(inputs.shape)
