"""`as_method`: methods of other libraries (captum's objects, plain functions) behind the interface of `Method`."""

import functools
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import Module

from ..checks import bad_type, bad_value, dtype_name, require_choice, require_tensor
from ..models._modules import modules_behind
from ..protocols import Forward, MethodInfo
from ._preserve_model_state import preserved
from .base import CHANNELS, Method, reduce_channels

_FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@runtime_checkable
class AttributionObject(Protocol):
    """An object as those of captum: it explains by `attribute`."""

    def attribute(self, inputs: Tensor, *, target: Tensor) -> Any:
        """Maps of inputs (N, C, H, W) for classes (N,)."""


@runtime_checkable
class HasForwardFunc(Protocol):
    """An object that names its model as those of captum do."""

    forward_func: Forward


@runtime_checkable
class HasModel(Protocol):
    """An object that names its model as those of this library do."""

    model: Forward


def explaining_function(thing: object) -> Callable[[Tensor, Tensor], Any] | None:
    """(inputs, classes) -> maps: `attribute` of an object that has it, else the thing itself; None if neither."""
    if isinstance(thing, type):
        return None
    if isinstance(thing, AttributionObject):
        return lambda inputs, classes: thing.attribute(inputs, target=classes)
    return thing if callable(thing) else None


def name_of(thing: object) -> str:
    """The name of a function, or of an object's class."""
    return thing.__name__ if isinstance(thing, FunctionType | MethodType | BuiltinFunctionType) else type(thing).__name__


def as_method(
    thing: Any, *, name: str | None = None, channels: str | None = None, model: Forward | None = None, max_batch: int = 64
) -> Method:
    """A `Method` around something that makes maps: the interface and the argument checks of this library; model state is
    preserved.

    Args:
        thing: a `Method`: returned as it is. An object with `.attribute(inputs, target=classes)`, as captum's. Any other
            callable: (inputs, classes) -> maps. It gets a copy of inputs (n, C, H, W), n <= max_batch, and classes (n,) int64.
        name: for reports and errors; the name of the class or function if not given.
        channels: how maps (N, C, H, W) become (N, H, W): "sum", "abs_sum", "max" or "max_abs". Needed for them, unless C is 1;
            applied to every map with channels; maps (N, H, W) are taken as they are.
        model: what resolves named targets ("predicted", "top-3"), and whose state is kept; found by itself behind an object with
            `forward_func` (captum) or `model`.
        max_batch: images per call of the thing.

    Returns:
        A Method. Its maps have the dtype of the inputs. Several targets per image: one call for each.

    Raises:
        TypeError: thing is a class, or nothing that can be called.
        ValueError: unknown channels; options for a Method.
        From calls, with the method's name: TypeError or ValueError for maps of a wrong type, dtype, shape or device, or with
        channels and no rule for them; ValueError for a named target without a model.

    Note:
        Gradients are enabled, also inside no_grad and inference_mode. Kept as they were, also after an exception: the inputs;
        of every module that the model or the thing can be seen to reach, also behind a function: mode (it runs in evaluation
        mode), requires_grad and .grad; the states of the generators
        of torch, numpy and Python. So a method that draws from them makes the same draws in each call of it (for each target,
        too), unless they are seeded anew between; its maps may depend on the batch, and sample ids do not reach it.

    Example:
        >>> import torch
        >>> brightness = as_method(lambda inputs, classes: inputs, name="brightness", channels="max")
        >>> brightness(torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]]), torch.tensor([[0, 4]]))
        tensor([[[[3., 2.]],
        <BLANKLINE>
                 [[3., 2.]]]])
    """
    function = "as_method"
    if isinstance(thing, Method):
        if name is not None or channels is not None or model is not None:
            bad_value(function, "name, channels and model", "not to be given with a Method", "some", "a Method has its own")
        return thing
    if isinstance(thing, type):
        bad_type(
            function, "thing", "to be an object or a function", f"the class {thing.__name__}", "make one: it needs its model"
        )
    explain = explaining_function(thing)
    if explain is None:
        remedy = "pass an object with .attribute(inputs, target=...), or a function of (inputs, classes)"
        bad_type(function, "thing", "to be a method", type(thing).__name__, remedy)
    if channels is not None:
        require_choice(function, "channels", channels, CHANNELS)
    return ForeignMethod(
        explain,
        name_of(thing) if name is None else name,
        channels,
        _model_behind(thing) if model is None else model,
        wants_gradients=isinstance(thing, AttributionObject),
        max_batch=max_batch,
    )


class ForeignMethod(Method):
    """What `as_method` returns: a foreign function (inputs, classes) -> maps, called with care.

    Args:
        explain: (inputs (n, C, H, W), classes (n,)) -> (n, H, W), (n, 1, H, W) or (n, C, H, W).
        name, channels, model: as in `as_method`.
        wants_gradients: whether the copy of the inputs that explain gets requires gradients (captum warns otherwise).
        max_batch: images per call.

    Polarity, unit, cost, memory, determinism: those of the foreign method.
    """

    def __init__(
        self,
        explain: Callable[[Tensor, Tensor], Any],
        name: str,
        channels: str | None,
        model: Forward | None,
        *,
        wants_gradients: bool = False,
        max_batch: int = 64,
    ) -> None:
        super().__init__(functools.partial(_no_model, name) if model is None else model, max_batch=max_batch)
        self.explain = explain
        self.channels = channels
        self.wants_gradients = wants_gradients
        self._modules = [*({} if model is None else dict.fromkeys(modules_behind(model))), *modules_behind(explain)]
        signed = channels in (None, "sum", "max")
        self.info = MethodInfo(name, "foreign", signed, "unknown", "")  # type: ignore[misc]  # one class, many methods

    def _explain(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        parts = zip(torch.split(inputs, self.max_batch), torch.split(classes, self.max_batch), strict=True)
        return torch.cat(
            [torch.stack([self._maps(images, each) for each in requested.unbind(1)], 1) for images, requested in parts]
        )

    def _maps(self, images: Tensor, classes: Tensor) -> Tensor:
        """(n, H, W) for one target of each image."""
        return self._checked(self.raw(images, classes), images).detach().to(images.dtype)

    def raw(self, images: Tensor, classes: Tensor) -> Any:
        """What the foreign method returns, unchecked. What goes in are copies: it may do with them what it wants."""
        with preserved(self._modules, images.device):
            return self.explain(images.clone().requires_grad_(self.wants_gradients), classes.clone())

    def _checked(self, maps: Any, images: Tensor) -> Tensor:
        """The maps without channels."""
        name, what = self.info.name, "its maps"
        count, channels, height, width = images.shape
        values = require_tensor(name, what, maps)
        if values.dtype not in _FLOATING:
            bad_type(name, what, "of a floating dtype", dtype_name(values.dtype), "return relevance, not a mask or indices")
        if values.device != images.device:
            bad_value(
                name, what, f"on the device of the inputs ({images.device})", values.device, "return them where the inputs are"
            )
        if values.shape == (count, height, width):
            return values
        if values.shape[:1] + values.shape[2:] != (count, height, width) or values.shape[1] not in (1, channels):
            shapes = f"(N, H, W) = ({count}, {height}, {width}), (N, 1, H, W) or (N, C, H, W) with C = {channels}"
            bad_value(name, what, f"of shape {shapes}", tuple(values.shape), "upsample them to the inputs")
        if self.channels is not None:
            return reduce_channels(name, values, self.channels)
        if values.shape[1] > 1:
            remedy = "say how to reduce the channels: as_method(..., channels='sum'), or 'abs_sum', 'max', 'max_abs'"
            bad_value(name, what, "without channels", f"{values.shape[1]} channels", remedy)
        return values[:, 0]


def _no_model(name: str, inputs: Tensor) -> Tensor:
    """In place of a model that is not known: called only for named targets."""
    bad_value(name, "target", "to be class indices", "a named target", "its model is not known: as_method(..., model=...)")


def _model_behind(thing: Any) -> Forward | None:
    """The model of an object, or of the object that a method belongs to, if it can be found."""
    owners = (thing, thing.__self__) if isinstance(thing, MethodType) else (thing,)
    for owner in owners:
        if isinstance(owner, HasForwardFunc) and callable(owner.forward_func):
            return owner.forward_func
        if isinstance(owner, HasModel) and callable(owner.model):
            return owner.model
        if isinstance(owner, Module) and "model" in dict(owner.named_children()):
            return owner.get_submodule("model")
    return None
