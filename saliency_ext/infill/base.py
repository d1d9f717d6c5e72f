"""Base of all infills: identity from their fields, argument checks, values per channel."""

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from .._registry import Variant
from ..checks import (
    bad_type,
    bad_value,
    require_device,
    require_dtype,
    require_integer,
    require_ndim,
    require_sample_ids,
    require_shape,
    require_tensor,
)
from ..protocols import Infill, InfillInfo

Channels = float | Sequence[float] | Tensor

_DTYPES = (torch.float32, torch.float64)
_NUMBERS = "to be a number, or one per channel"


@dataclass(frozen=True)
class InfillOptions:
    """Properties of the model's inputs, for infills that are made by name.

    Attributes:
        size: (H, W) of the inputs.
        mean, std: per channel, of pixels in [0, 1], by which they were normalised.
        seed: of random draws.
    """

    size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    seed: int = 0

    def colour(self, level: float) -> tuple[float, ...]:
        """A grey level in [0, 1], from black to white, in model input space."""
        return tuple((level - mean) / std for mean, std in zip(self.mean, self.std, strict=True))


@dataclass(frozen=True)
class BaseInfill(ABC):
    """An infill whose identity is its dataclass fields: subclasses set `info` and implement `_fill`."""

    def __init_subclass__(cls, **options: Any) -> None:
        """A subclass of an infill may make other pixels: its keys differ from those of its parent."""
        super().__init_subclass__(**options)
        derived = any("_fill" in vars(parent) and parent is not BaseInfill for parent in cls.__mro__[1:-1] if parent is not cls)
        if derived and "key" not in vars(cls):
            inherited: Any = cls.key
            cls.key = property(lambda self: (type(self), inherited.__get__(self, type(self))))  # type: ignore[method-assign, assignment]

    info: ClassVar[InfillInfo]
    variants: ClassVar[tuple[Variant, ...]] = ()

    @classmethod
    def from_options(cls, options: InfillOptions, **further: Any) -> Self:
        """The infill as the command line makes it, with further arguments of its own; by default with those alone."""
        return cls(**further)

    @property
    def name(self) -> str:
        """Short name, for reports: that of `info`."""
        return self.info.name

    @property
    def parameters(self) -> dict[str, object]:
        """What was chosen, as plain values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def key(self) -> Hashable:
        """Class, name and what decides the pixels of a draw: how many draws are averaged is no part of it."""
        return (type(self), self.name, *(_shortest(value) for name, value in self.parameters.items() if name != "draws"))

    @property
    def draws(self) -> int:
        """Independent draws averaged per perturbed input."""
        return 1

    def fill(self, inputs: Tensor, sample_ids: Tensor, draw: int = 0) -> Tensor:
        """What removed pixels become, for inputs (N, C, H, W) of samples (N,): broadcasts to the inputs.

        Args:
            inputs: (N, C, H, W) float32 or float64, in model input space. Any strides. Not modified; no gradient flows.
            sample_ids: (N,) int64 in [0, 2^48), on the inputs' device: whose images these are.
            draw: in [0, 2^31): which independent draw; without meaning where the infill has none.

        Returns:
            A tensor that broadcasts to the inputs, same dtype and device, sharing no memory with them.

        Raises:
            TypeError: inputs are not float32 or float64; sample_ids are not int64; draw is not an int.
            ValueError: wrong shape or device; sample_ids or draw out of range; inputs that do not fit the infill's parameters.

        Example:
            >>> import torch
            >>> from saliency_ext.infill import Constant
            >>> Constant(0.5).fill(torch.zeros(2, 3, 8, 8), torch.arange(2)).expand(2, 3, 8, 8).mean()
            tensor(0.5000)
        """
        function = type(self).__name__
        require_tensor(function, "inputs", inputs)
        remedy = "images of 8-bit integers are first scaled and normalised as the model wants them"
        require_dtype(function, "inputs", inputs, _DTYPES, remedy if inputs.dtype == torch.uint8 else "convert with .float()")
        require_ndim(function, "inputs", inputs, "(N, C, H, W)")
        require_sample_ids(function, sample_ids)
        require_shape(function, "sample_ids", sample_ids, "(N,)", inputs.shape[:1])
        require_device(function, "sample_ids", sample_ids, inputs, "inputs")
        require_integer(function, "draw", draw, 0, 2**31 - 1)
        return self._fill(inputs.detach(), sample_ids, draw)

    @abstractmethod
    def _fill(self, inputs: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        """The pixels, from checked arguments."""

    def _numbers(self, argument: str, value: Channels) -> float | tuple[float, ...]:
        """One finite number, or a tuple of one per channel."""
        function = type(self).__name__
        if isinstance(value, Tensor):
            if value.ndim > 1:
                bad_value(function, argument, "of shape () or (C,)", tuple(value.shape), "an image of infill: use OtherImage")
            value = value.tolist()
        if not isinstance(value, Sequence):
            return self._number(argument, value, _NUMBERS)
        if len(value) == 0:
            bad_value(function, argument, "to hold one number per channel", "none")
        return tuple(self._number(argument, item, _NUMBERS) for item in value)

    def _number(self, argument: str, value: object, expected: str = "to be a number") -> float:
        """A finite number; -0 becomes 0."""
        function = type(self).__name__
        if isinstance(value, bool) or not isinstance(value, int | float):
            bad_type(function, argument, expected, type(value).__name__)
        if not math.isfinite(value):
            bad_value(function, argument, "finite", value)
        return float(value) + 0.0

    def _per_channel(self, argument: str, value: Channels, inputs: Tensor) -> Tensor:
        """Numbers as a tensor (1, C or 1, 1, 1) that broadcasts to the inputs."""
        values = [value] if isinstance(value, int | float) else list(value)
        if not isinstance(value, int | float) and len(values) != inputs.shape[1]:
            expected = f"to hold C = {inputs.shape[1]} numbers, one per channel of the inputs"
            bad_value(type(self).__name__, argument, expected, len(values), "one plain number stands for all channels")
        return torch.tensor(values, dtype=inputs.dtype, device=inputs.device).view(1, -1, 1, 1)


@dataclass(frozen=True)
class RandomInfill(BaseInfill, ABC):
    """An infill with a keyed draw. Subclasses declare `seed` and `draws: int = 1` as their last two fields."""

    def _check_randomness(self, seed: int, draws: int) -> None:
        require_integer(type(self).__name__, "seed", seed, 0, 2**63 - 1)
        require_integer(type(self).__name__, "draws", draws, 1, 2**31 - 1)


def _shortest(value: Hashable) -> Hashable:
    """Equal numbers for all channels are one number: the same pixels have the same key."""
    if isinstance(value, tuple) and len(set(value)) == 1:
        value = value[0]
    return value


def require_infill(function: str, infill: object, argument: str = "infill") -> Infill:
    """The infill, if it has the members of `protocols.Infill`; the first one that is missing is named.

    Raises:
        TypeError: it is a class, or has no such member.

    Example:
        >>> require_infill("Deletion", "black")
        Traceback (most recent call last):
        ...
        TypeError: Deletion: expected infill to be an Infill, got str, which has no 'name'; see docs/how-to/own-infill.md
    """
    if isinstance(infill, type):
        bad_type(function, argument, "to be an Infill", f"the class {infill.__name__}", f"make one: {infill.__name__}(...)")
    if isinstance(infill, Infill):
        return infill
    missing = next(member for member in ("name", "parameters", "key", "draws", "fill") if member not in dir(infill))
    got = f"{type(infill).__name__}, which has no {missing!r}"
    remedy = "see docs/how-to/own-infill.md"
    if isinstance(infill, int | float):
        remedy = f"{remedy}; one value for all pixels is infill.Constant({infill})"
    return bad_type(function, argument, "to be an Infill", got, remedy)
