"""Supported modules, functions and methods of torch, and the operation that each becomes. Others are not supported."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._operations import Add, Affine, Conv, Linear, Operation, Pair, Pass, Pool, Relu, Reshape

SUPPORTED = (
    "Conv2d, Linear, BatchNorm, ReLU, max and average pooling, mean over places, Dropout, Identity, flatten and reshape, "
    "additions of two maps, and arithmetic with constants"
)
Cast = Callable[[Tensor], Tensor]


class UnsupportedLayer(Exception):
    """The reason for which a layer is refused."""


@dataclass(frozen=True)
class LayerReader:
    """How a node of the graph is read: the kind of operation, how it is made, and whether it overwrites its input.

    `make` takes the node's arguments, tensors already cast; for a module it takes the module and the cast.
    """

    kind: type[Operation]
    make: Callable[..., Operation]
    in_place: bool = False


def _pair(value: Any) -> Pair:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def _conv(
    input: Any, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Conv:
    steps = _pair(dilation)
    if padding == "valid":
        padding = 0
    elif padding == "same":
        totals = [step * (size - 1) for step, size in zip(steps, weight.shape[2:], strict=True)]
        if any(total % 2 for total in totals):
            raise UnsupportedLayer("padding 'same' of an even kernel is one-sided; pad explicitly")
        padding = [total // 2 for total in totals]
    return Conv(weight, bias, _pair(stride), _pair(padding), steps, int(groups))


def _conv_module(module: Any, cast: Cast) -> Conv:
    return _conv(None, *_weights(module, cast), module.stride, module.padding, module.dilation, module.groups)


def _weights(module: Any, cast: Cast) -> tuple[Tensor, Tensor | None]:
    return cast(module.weight), None if module.bias is None else cast(module.bias)


def _norm(input: Any, mean: Tensor, var: Tensor, weight: Any = None, bias: Any = None, *rest: Any, eps: float = 1e-5) -> Affine:
    """Batch norm with stored statistics: scale = weight / sqrt(var + eps), offset = bias - mean scale."""
    scale = (var + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    offset = -mean * scale if bias is None else bias - mean * scale
    shape = (-1,) + (1,) * (input.ndim - 2)
    return Affine(scale.view(shape), offset.view(shape))


def _norm_function(
    input: Any, mean: Any, var: Any, weight: Any = None, bias: Any = None, training: bool = False, momentum: Any = 0.1,
    eps: float = 1e-5,
) -> Affine:  # fmt: skip
    return _norm(input, mean, var, weight, bias, eps=eps)


def _norm_module(module: Any, cast: Cast, input: Tensor) -> Affine:
    stored = [None if t is None else cast(t) for t in (module.running_mean, module.running_var, module.weight, module.bias)]
    return _norm(input, *stored, eps=module.eps)  # type: ignore[arg-type]


def _function_of(function: Callable[..., Tensor], kind: type[Pool] | type[Reshape]) -> LayerReader:
    """A pool or a reshape given as a function of the map and further arguments."""

    def make(input: Any, *args: Any, **kwargs: Any) -> Operation:
        return kind(lambda x: function(x, *args, **kwargs))

    return LayerReader(kind, make)


def _mean(x: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    return x.mean(dim, keepdim)


def _reshape(x: Tensor, *sizes: Any) -> Tensor:
    shape = sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    return x.reshape(tuple(shape))


_RELU = LayerReader(Relu, lambda *args, **kwargs: Relu())
_RELU_IN_PLACE = LayerReader(Relu, lambda *args, **kwargs: Relu(), in_place=True)
_PASS = LayerReader(Pass, lambda *args, **kwargs: Pass())
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Identity)
LEAVES = (nn.Conv2d, nn.Linear, nn.ReLU, nn.Flatten, *_POOLS, *_NORMS, *_DROPOUTS)

_FLATTEN = _function_of(torch.flatten, Reshape)
_RESHAPE = _function_of(_reshape, Reshape)
_SQUEEZE = _function_of(torch.squeeze, Reshape)
_CALLS: dict[Any, LayerReader] = {
    torch.conv2d: LayerReader(Conv, _conv),
    F.linear: LayerReader(Linear, lambda input, weight, bias=None: Linear(weight, bias)),
    F.batch_norm: LayerReader(Affine, _norm_function),
    torch.relu: _RELU,
    F.relu: _RELU,
    "relu": _RELU,
    torch.relu_: _RELU_IN_PLACE,
    F.relu_: _RELU_IN_PLACE,
    "relu_": _RELU_IN_PLACE,
    **{f: _function_of(f, Pool) for f in (F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d)},
    torch.max_pool2d: _function_of(F.max_pool2d, Pool),
    torch.mean: _function_of(_mean, Pool),
    "mean": _function_of(_mean, Pool),
    torch.flatten: _FLATTEN,
    "flatten": _FLATTEN,
    torch.reshape: _RESHAPE,
    "reshape": _RESHAPE,
    "view": _RESHAPE,
    torch.squeeze: _SQUEEZE,
    "squeeze": _SQUEEZE,
    "contiguous": _PASS,
}
_DROPOUT_CALLS = (F.dropout, F.dropout2d, F.alpha_dropout)
_ARITHMETIC: dict[Any, str] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), "add"),
    **dict.fromkeys((operator.sub, operator.isub, torch.sub, "sub", "sub_"), "sub"),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul", "mul_"), "mul"),
    **dict.fromkeys((operator.truediv, operator.itruediv, torch.div, "div", "div_"), "div"),
}
_IN_PLACE = (operator.iadd, operator.isub, operator.imul, operator.itruediv, "add_", "sub_", "mul_", "div_")


def read_module(module: nn.Module) -> LayerReader:
    """The reading of a leaf module; its `make` takes (cast, input)."""
    if isinstance(module, nn.Conv2d):
        if module.padding_mode != "zeros":
            raise UnsupportedLayer(f"padding_mode {module.padding_mode!r}; only 'zeros'")
        return LayerReader(Conv, lambda cast, input: _conv_module(module, cast))
    if isinstance(module, nn.Linear):
        return LayerReader(Linear, lambda cast, input: Linear(*_weights(module, cast)))
    if isinstance(module, _NORMS):
        if module.running_mean is None:
            raise UnsupportedLayer("without running statistics it couples the images")
        return LayerReader(Affine, partial(_norm_module, module))
    if isinstance(module, nn.ReLU):
        return _RELU_IN_PLACE if module.inplace else _RELU
    if isinstance(module, _POOLS):
        return LayerReader(Pool, lambda cast, input: Pool(module.forward))
    if isinstance(module, nn.Flatten):
        return LayerReader(Reshape, lambda cast, input: Reshape(module.forward))
    if isinstance(module, _DROPOUTS):
        return _PASS
    raise UnsupportedLayer("")


def read_call(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], maps: list[bool]) -> LayerReader:
    """The reading of a call of a function, or of a method by its name; `maps` says which operands depend on the image."""
    if target in _ARITHMETIC:
        return _arithmetic(target, kwargs, maps)
    if target in _DROPOUT_CALLS:
        if (args[2:] or [kwargs.get("training", True)])[0]:
            raise UnsupportedLayer("it is active in eval mode")
        return _PASS
    if target not in _CALLS:
        raise UnsupportedLayer("")
    if sum(maps) > 1 or not (maps[0] if args else "input" in kwargs):
        raise UnsupportedLayer("only its input may depend on the image")
    if target is F.batch_norm and (
        (args[5:] or [kwargs.get("training")])[0] or (args[1:] or [kwargs["running_mean"]])[0] is None
    ):
        raise UnsupportedLayer("batch statistics couple the images")
    if target in (torch.mean, "mean"):
        dims = (args[1:] or [kwargs.get("dim")])[0]
        if dims is None or 0 in (dims if isinstance(dims, tuple | list) else [dims]):
            raise UnsupportedLayer("over the batch it couples the images; name the dimensions, such as mean([2, 3])")
    in_place = target is F.relu and (args[1:] or [kwargs.get("inplace", False)])[0]
    return _RELU_IN_PLACE if in_place else _CALLS[target]


def _arithmetic(target: Any, kwargs: dict[str, Any], maps: list[bool]) -> LayerReader:
    name, in_place = _ARITHMETIC[target], target in _IN_PLACE and maps[0]
    if kwargs or len(maps) != 2:
        raise UnsupportedLayer(f"with keyword arguments {sorted(kwargs)}")
    if all(maps):
        if name != "add":
            raise UnsupportedLayer("of two maps")
        return LayerReader(Add, lambda *args: Add(), in_place)
    first = maps[0]
    if name == "div" and not first:
        raise UnsupportedLayer("of a constant by a map")
    return LayerReader(Affine, lambda left, right: _affine(name, first, right if first else left), in_place)


def _affine(name: str, first: bool, constant: Tensor | float) -> Affine:
    if name == "add":
        return Affine(1.0, constant)
    if name == "sub":
        return Affine(1.0, -constant) if first else Affine(-1.0, constant)
    return Affine(constant if name == "mul" else 1.0 / constant, 0.0)
