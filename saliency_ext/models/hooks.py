"""Captures the output of a layer in a forward, and gradients with respect to it; hooks are removed afterwards."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import bad_type, require_dtype
from ._compiled import uncompiled
from .precision import FULL_PRECISION


def first_tensor(output: Any) -> Tensor | None:
    """The tensor a module returned: the output itself, or the first item of a tuple or list; None if there is none."""
    result = output[0] if isinstance(output, tuple | list) and len(output) > 0 else output
    return result if isinstance(result, Tensor) else None


def with_first(output: Any, tensor: Tensor) -> Any:
    """The output with its first tensor replaced; type and other items stay."""
    if isinstance(output, Tensor):
        return tensor
    items = (tensor, *output[1:])
    return type(output)._make(items) if hasattr(output, "_make") else type(output)(items)


@contextmanager
def intercepted(module: nn.Module, visit: Callable[[int, Any], Any]) -> Iterator[None]:
    """Within the block, what the module returns at its n-th call (0 = first) is replaced by visit(n, what it returns).

    The hook runs after the caller's own hooks, and is removed also after an exception. It sees the calls of its own thread
    alone: others may run the module meanwhile.
    """
    calls, me = 0, threading.get_ident()

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        nonlocal calls
        if threading.get_ident() != me:
            return None
        calls += 1
        return visit(calls - 1, output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


class Capture:
    """What a layer returned in one forward, made by `captured`.

    Attributes:
        calls: how often the layer has run so far.
    """

    def __init__(self, function: str, name: str, call: int | None, differentiable: bool) -> None:
        self.calls = 0
        self._function, self._name, self._call, self._differentiable = function, name, call, differentiable
        self._kept: Tensor | None = None

    def visit(self, number: int, output: Any) -> Any:
        """Keeps the tensor of the wanted call, and sends a copy on: what follows may write into it."""
        self.calls = number + 1
        if self._call not in (None, number):
            return output
        tensor = first_tensor(output)
        if tensor is None:
            expected = "to return a tensor, or a tuple that begins with one"
            bad_type(self._function, f"layer {self._name!r}", expected, type(output).__name__, "choose a layer inside it")
        remedy = "run the model in float32 with model.float() and without autocast: small gradients vanish in half precision"
        require_dtype(self._function, f"the activation of layer {self._name!r}", tensor, FULL_PRECISION, remedy)
        # Cut from what came before: the graph up to here is freed, and frozen parameters do not matter.
        self._kept = tensor.detach()
        if not self._differentiable:
            return with_first(output, self._kept.clone())
        with torch.enable_grad():  # the layer may be the last of a trunk that runs without gradients
            return with_first(output, self._kept.requires_grad_().clone())

    @property
    def activation(self) -> Tensor:
        """The tensor the layer returned, before anything wrote into it.

        Raises:
            RuntimeError: the layer did not run, or fewer times than requested.
        """
        if self._kept is None:
            ran = "did not run" if self.calls == 0 else f"ran {self.calls} times, and call {self._call} was asked"
            raise RuntimeError(
                f"{self._function}: layer {self._name!r} {ran} in the forward; layers whose .forward is called directly, and "
                "layers of a compiled model, are not seen: choose another layer, or pass the uncompiled model"
            )
        return self._kept

    def gradients(self, scores: Tensor) -> Iterator[Tensor]:
        """d scores[:, t] / d activation for t = 0 .. T - 1, each of the activation's shape: one backward per target.

        Made one at a time, so that each may be reduced before the next. Images must be independent.

        Args:
            scores: (N, T), from the forward of the block.

        Raises:
            RuntimeError: the scores do not depend differentiably on the layer.
        """
        activation, targets = self.activation, scores.shape[1]
        for t in range(targets):
            gradient = None
            if scores.requires_grad:
                total, more = scores[:, t].sum(), t + 1 < targets
                gradient = torch.autograd.grad(total, activation, retain_graph=more, allow_unused=True)[0]
            if gradient is None:
                raise RuntimeError(
                    f"{self._function}: the logits do not depend differentiably on layer {self._name!r}; choose a layer on "
                    "the way to the logits, with no detach() or no_grad() after it"
                )
            yield gradient


@contextmanager
def captured(
    function: str, module: nn.Module, name: str, *, call: int | None = None, differentiable: bool = False
) -> Iterator[Capture]:
    """Captures the activation of a layer while the model runs inside the block.

    The layer's activation is kept as it left the layer, also where an in-place operation follows: what follows gets a copy.

    Args:
        function: the name in error messages.
        module: the layer, anywhere in what will be run.
        name: its name, for messages.
        call: which of its calls in one forward counts, 0 = first; None for the last.
        differentiable: gradients will be taken with respect to it. The graph before the layer is cut, and freed once the layer
            has run: the gradients are partial derivatives with respect to this activation, and cost no more than what follows it.

    Raises:
        TypeError: the activation is no tensor, or of half precision. RuntimeError: as `Capture.activation`.

    Note:
        Forwards of other threads are not seen. Compiled parts of the model run uncompiled. Memory: the activation and one copy.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.ReLU(inplace=True))
        >>> _ = torch.nn.init.constant_(model[0].weight, -1.0)
        >>> with captured("example", model[0], "0") as capture:
        ...     _ = model(torch.ones(1, 1))
        >>> capture.activation
        tensor([[-1.]])
    """
    capture = Capture(function, name, call, differentiable)
    with uncompiled(), intercepted(module, capture.visit):
        yield capture
