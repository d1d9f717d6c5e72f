"""Infill by one colour for all images."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from .._registry import Variant
from ..protocols import InfillInfo
from .base import BaseInfill, Channels, InfillOptions


@dataclass(frozen=True)
class Constant(BaseInfill):
    """Infill of one colour: every removed pixel becomes `value`.

    infill[n, c, h, w] = value[c]. Raw black is (0 - mean) / std in normalised space, not 0: choose deliberately.

    Args:
        value: a number for all channels, or C numbers (a sequence or a (C,) tensor), in model input space. Finite.

    Returns:
        `fill`: (1, 1, 1, 1) or (1, C, 1, 1), dtype and device of the inputs.

    Raises:
        TypeError: value is not made of numbers.
        ValueError: value is not finite, has more than one dimension, or holds another number of channels than the inputs.

    Note:
        Deterministic; memory: C numbers. Equal numbers for all channels have the key of the one number.

    Example:
        >>> import torch
        >>> Constant((0.0, 1.0)).fill(torch.ones(1, 2, 4, 4), torch.arange(1)).flatten()
        tensor([0., 1.])
    """

    info: ClassVar[InfillInfo] = InfillInfo("constant", "one colour", by_name=False)
    variants: ClassVar[tuple[Variant, ...]] = (
        Variant("black", "black", {"level": 0.0}),
        Variant("grey", "mid-grey", {"level": 0.5}),
        Variant("white", "white", {"level": 1.0}),
    )

    value: Channels

    @classmethod
    def from_options(cls, options: InfillOptions, **further: Any) -> Self:
        """The colour of a grey level in [0, 1]."""
        return cls(options.colour(further["level"]))

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", self._numbers("value", self.value))

    def _fill(self, inputs: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        return self._per_channel("value", self.value, inputs)


@dataclass(frozen=True)
class DatasetMean(BaseInfill):
    """Infill of the mean colour of the data set the model's normalisation was made of: zero in normalised space.

    infill[n, c, h, w] = 0. The usual deletion infill of published codes [Petsiuk 2018, code]. It is the mean only where the
    inputs were normalised by that mean: for other inputs pass the mean to `Constant`.

    Returns:
        `fill`: (1, 1, 1, 1) zero, dtype and device of the inputs.

    Raises:
        TypeError, ValueError: as `fill`.

    Note:
        Deterministic. The key is that of `Constant(0)`, whose pixels these are.

    Example:
        >>> import torch
        >>> DatasetMean().fill(torch.ones(1, 3, 4, 4), torch.arange(1)).flatten()
        tensor([0.])

    References:
        Petsiuk, Das, Saenko: RISE, randomized input sampling for explanation of black-box models, 2018 (arXiv 1806.07421).
    """

    info: ClassVar[InfillInfo] = InfillInfo("dataset_mean", "the mean colour of the model's training data")

    @property
    def key(self) -> Hashable:
        """The key of the constant 0."""
        return Constant(0.0).key

    def _fill(self, inputs: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        return inputs.new_zeros((1, 1, 1, 1))
