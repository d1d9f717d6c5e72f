"""What a traced layer does, as plain data: the forward map, and the exact transposes that the rules need.

Everything runs on plain tensors, out of place: an operation never touches the module it was read from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]


class LinearMap(Protocol):
    """A layer whose output is weight times input plus bias."""

    @property
    def weight(self) -> Tensor:
        """The weight, in the layout of its torch function."""

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The map with any weight and bias."""

    def transpose(self, y: Tensor, weight: Tensor, like: Tensor) -> Tensor:
        """Its exact transpose: from the shape of the output to the shape of `like`, a tensor shaped as the input."""


@dataclass(frozen=True)
class Conv:
    """A 2-d convolution with zero padding; any kernel, stride, dilation and number of groups."""

    weight: Tensor
    bias: Tensor | None
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Convolution of x with any weight of the layer's shape."""
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def transpose(self, y: Tensor, weight: Tensor, like: Tensor) -> Tensor:
        """Transposed convolution. Rows and columns that the stride never reached are made up by the output padding."""
        sides = zip(like.shape[2:], y.shape[2:], self.weight.shape[2:], self.stride, self.padding, self.dilation, strict=True)
        extra = [n - ((m - 1) * step - 2 * pad + gap * (k - 1) + 1) for n, m, k, step, pad, gap in sides]
        return F.conv_transpose2d(y, weight, None, self.stride, self.padding, extra, self.groups, self.dilation)

    @property
    def is_pointwise(self) -> bool:
        """Whether the kernel is 1 x 1."""
        return tuple(self.weight.shape[2:]) == (1, 1)


@dataclass(frozen=True)
class Linear:
    """A fully connected layer on (N, D)."""

    weight: Tensor
    bias: Tensor | None

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """x times any weight, plus bias."""
        return F.linear(x, weight, bias)

    def transpose(self, y: Tensor, weight: Tensor, like: Tensor) -> Tensor:
        """y times the weight."""
        return y @ weight


@dataclass(frozen=True)
class Affine:
    """x scale + offset per element or channel: batch norm in eval mode, or arithmetic with a constant."""

    scale: Tensor | float
    offset: Tensor | float


@dataclass(frozen=True)
class Relu:
    """max(x, 0)."""


@dataclass(frozen=True)
class Pool:
    """A maximum or a mean over places."""

    function: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Reshape:
    """The same values in the same order under another shape."""

    function: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Add:
    """The join of two branches."""


@dataclass(frozen=True)
class Pass:
    """Does nothing in eval mode: dropout, identity."""


Operation = Conv | Linear | Affine | Relu | Pool | Reshape | Add | Pass


def forward(operation: Operation, inputs: tuple[Tensor, ...]) -> Tensor:
    """The operation's output: a new tensor, or a view of its input."""
    x = inputs[0]
    match operation:
        case Conv() | Linear():
            return operation.apply(x, operation.weight, operation.bias)
        case Affine():
            return (x * operation.scale).add_(operation.offset)
        case Relu():
            return torch.relu(x)
        case Pool() | Reshape():
            return operation.function(x)
        case Add():
            return x + inputs[1]
    return x
