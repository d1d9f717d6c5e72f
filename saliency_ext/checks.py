"""Argument checks in one message style: function, argument, expected, got, and the remedy where there is one.

ValueError is for values and shapes, TypeError for dtypes and types, RuntimeError for devices and the build. A ValueError or
TypeError of a check holds an `InvalidArgument`, so that a caller need not read the message.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Self

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake


@dataclass(frozen=True)
class InvalidArgument:
    """What is wrong with an argument: the only item of `error.args`; its text is the message of the error.

    Attributes:
        function: that was called.
        argument: name of the argument.
        expected: what it must be.
        got: what it is, as text.
        remedy: what to do, or "".

    Example:
        >>> try:
        ...     bad_value("rank", "seed", "in [0, 2^63)", -1, "pass a positive seed")
        ... except ValueError as error:
        ...     print(error)
        ...     print(InvalidArgument.of(error).argument)
        rank: expected seed in [0, 2^63), got -1; pass a positive seed
        seed
    """

    function: str
    argument: str
    expected: str
    got: str
    remedy: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Self | None:
        """What an error says of an argument; None for an error that no check raised."""
        content = error.args[0] if error.args else None
        return content if isinstance(content, cls) else None

    def __str__(self) -> str:
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.function}: expected {self.argument} {self.expected}, got {self.got}{remedy}"


def bad_value(function: str, argument: str, expected: str, got: object, remedy: str = "") -> NoReturn:
    """Raises ValueError: a value or a shape is not what it must be."""
    raise ValueError(InvalidArgument(function, argument, expected, str(got), remedy))


def bad_type(function: str, argument: str, expected: str, got: object, remedy: str = "") -> NoReturn:
    """Raises TypeError: a type or a dtype is not what it must be."""
    raise TypeError(InvalidArgument(function, argument, expected, str(got), remedy))


def require_tensor(function: str, argument: str, value: Any) -> Tensor:
    """The value, if it is a strided tensor."""
    if not isinstance(value, Tensor):
        bad_type(function, argument, "to be a torch.Tensor", type(value).__name__, "convert it with torch.as_tensor")
    if value.layout != torch.strided:
        bad_type(function, argument, "to be a dense (strided) tensor", f"layout {value.layout}", "use .to_dense()")
    return value


def require_ndim(function: str, argument: str, value: Tensor, names: str) -> None:
    """Checks the number of dimensions against names such as "(N, H, W)"."""
    ndim = len([name for name in names.strip("()").split(",") if name.strip()])
    if value.ndim != ndim:
        remedy = ""
        if names == "(N, H, W)" and value.ndim == 4:
            remedy = "reduce the channels first, for example with .sum(1) or .abs().amax(1)"
        elif value.ndim == ndim - 1:
            remedy = "add the batch dimension with [None]"
        bad_value(function, argument, f"of shape {names}", _shape(value), remedy)


def require_shape(function: str, argument: str, value: Tensor, names: str, shape: Sequence[int], remedy: str = "") -> None:
    """Checks a full shape; `names` says in letters what the numbers are."""
    if tuple(value.shape) != tuple(shape):
        bad_value(function, argument, f"of shape {names} = {_tuple(shape)}", _shape(value), remedy)


def require_dtype(function: str, argument: str, value: Tensor, allowed: Sequence[torch.dtype], remedy: str = "") -> None:
    """Checks the dtype against those allowed."""
    if value.dtype not in allowed:
        names = " or ".join(dtype_name(dtype) for dtype in allowed)
        bad_type(function, argument, f"of dtype {names}", dtype_name(value.dtype), remedy)


def require_device(function: str, argument: str, value: Tensor, like: Tensor, like_name: str) -> None:
    """Checks that two tensors live on one device."""
    if value.device != like.device:
        remedy = f"move it with .to({str(like.device)!r})"
        bad_value(function, argument, f"on the device of {like_name} ({like.device})", value.device, remedy)


def require_mask(function: str, argument: str, value: Any, like: Tensor, like_name: str) -> Tensor:
    """The value, if it is a bool tensor of the shape (N, H, W) and device of another."""
    mask = require_tensor(function, argument, value)
    require_dtype(function, argument, mask, (torch.bool,), f"compare with a threshold: {argument} > 0")
    require_shape(function, argument, mask, "(N, H, W)", like.shape)
    require_device(function, argument, mask, like, like_name)
    return mask


def require_sample_ids(function: str, sample_ids: Any) -> Tensor:
    """The ids, if they are (N,) int64 in [0, 2^48); the range is checked where they are on the host."""
    require_tensor(function, "sample_ids", sample_ids)
    require_dtype(function, "sample_ids", sample_ids, (torch.int64,))
    require_ndim(function, "sample_ids", sample_ids, "(N,)")
    require_range(function, "sample_ids", sample_ids, 0, 2**48 - 1)
    return sample_ids  # type: ignore[no-any-return]


def require_choice(function: str, argument: str, value: Any, choices: Sequence[str]) -> int:
    """The position of a named choice."""
    if value not in choices:
        bad_value(function, argument, "to be one of " + ", ".join(map(repr, choices)), repr(value))
    return list(choices).index(value)


def require_integer(function: str, argument: str, value: Any, low: int, high: int) -> int:
    """An integer in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int):
        bad_type(function, argument, "to be an int", type(value).__name__)
    if not low <= value <= high:
        bad_value(function, argument, f"in [{low}, {high}]", value)
    return value


def require_number(function: str, argument: str, value: Any, *, low: float = 0.0, above: float | None = None) -> float:
    """A finite number >= low, or > above."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        bad_type(function, argument, "to be a number", type(value).__name__)
    fits = value >= low if above is None else value > above
    if not (fits and -math.inf < value < math.inf):  # not math.isfinite: numbers may be symbols while tracing
        bad_value(function, argument, f">= {low:g} and finite" if above is None else f"> {above:g} and finite", value)
    return float(value)


def holds_values(tensor: Tensor) -> bool:
    """Whether a tensor's values can be looked at: not while tracing, on meta, as a fake tensor, or inside torch.vmap."""
    if torch.compiler.is_compiling() or tensor.device.type == "meta":
        return False
    return not in_vmap(tensor) and (type(tensor) is Tensor or not is_fake(tensor))


def in_vmap(tensor: Tensor) -> bool:
    """Whether torch.vmap hides a dimension of the tensor, under whatever other transforms."""
    if torch.compiler.is_compiling() or not torch._C._are_functorch_transforms_active():
        return False
    layers = torch._C._functorch
    while layers.is_functorch_wrapped_tensor(tensor):
        if layers.is_batchedtensor(tensor):
            return True
        tensor = layers.get_unwrapped(tensor)
    return False


def has_address(tensor: Tensor) -> bool:
    """Whether a tensor is memory of its own here: it holds values, and no transform of torch.func wraps it."""
    wrapped = torch._C._are_functorch_transforms_active() and torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    return not wrapped and holds_values(tensor)


def on_host(tensor: Tensor) -> bool:
    """Whether values can be looked at without stalling an accelerator."""
    return tensor.device.type == "cpu" and holds_values(tensor)


def require_range(function: str, argument: str, values: Tensor, low: int, high: int) -> None:
    """Checks integers that are on the host. Values on an accelerator are left alone: reading them would stall it."""
    if values.numel() == 0 or not on_host(values):
        return
    smallest, largest = torch.aminmax(values)
    if smallest < low or largest > high:
        bad_value(function, argument, f"in [{low}, {high}]", int(smallest if smallest < low else largest))


def dtype_name(dtype: torch.dtype) -> str:
    """Name of a dtype without the torch prefix."""
    return str(dtype).removeprefix("torch.")


def _shape(value: Tensor) -> str:
    return _tuple(value.shape)


def _tuple(shape: Sequence[int]) -> str:
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
