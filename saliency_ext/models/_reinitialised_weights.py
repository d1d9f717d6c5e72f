"""Re-initialises parameters in place, layer by layer from the output, and restores them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Module

from .. import rng_streams
from ..ops import philox_normal
from ._trace import Call, trace
from .eval_mode import evaluation_mode, weights_replaced


@dataclass(frozen=True)
class Layer:
    """Parameters that a module holds itself, each with its place in model.parameters()."""

    name: str
    parameters: list[tuple[int, Tensor]]


def layers_from_output(model: Module, image: Tensor) -> list[Layer]:
    """Layers with parameters that a draw can change, the one that finishes last in a forward first.

    A layer that runs several times counts where it runs last. One that is never called itself (its parameters are read by the
    module around it) counts as its nearest caller, in reverse order of registration. A shared parameter belongs to its layer
    nearest to the output.

    Args:
        image: (1, C, H, W) for the forward that finds the order.
    """
    modules = dict(model.named_modules())
    calls: list[Call] = []
    with evaluation_mode(model):
        trace(model, modules, image, calls)
    finished = {call.module: number for number, call in enumerate(calls)}
    places = {id(parameter): place for place, parameter in enumerate(model.parameters())}
    last = len(modules) + max(finished.values(), default=0)

    def position(name: str) -> int:
        while name and modules[name] not in finished:
            name = name.rpartition(".")[0]
        return finished.get(modules[name], last)

    registered = {name: number for number, name in enumerate(modules)}
    result = []
    for name in sorted(modules, key=lambda name: (position(name), registered[name]), reverse=True):
        own = [each for each in modules[name].parameters(recurse=False) if id(each) in places and _can_change(each)]
        if own:
            result.append(Layer(name or type(model).__name__, [(places.pop(id(each)), each.data) for each in own]))
    return result


def redraw(layers: Sequence[Layer], seed: int) -> None:
    """Each parameter becomes mean + std z, with mean and deviation over its entries, z standard normal.

    z is keyed by (seed, place of the parameter in model.parameters(), entry).
    """
    for layer in layers:
        for place, parameter in layer.parameters:
            with torch.inference_mode(parameter.is_inference()), torch.no_grad():
                redraw_parameter(parameter, place, seed)


def redraw_parameter(parameter: Tensor, place: int, seed: int) -> None:
    """In place: mean + std z, as in `redraw`. Outside of any graph."""
    values = parameter.double()
    ids = torch.tensor([place], device=parameter.device)
    noise = philox_normal((1, 1, parameter.numel()), ids, seed=seed, stream=rng_streams.WEIGHTS).view(values.shape)
    parameter.copy_(noise * values.std(correction=0) + values.mean())


@contextmanager
def restored(model: Module) -> Iterator[None]:
    """Afterwards, also after an exception, every parameter and buffer is the object of before, with its bits.

    Values are written through `.data`: a graph that the caller has recorded stays valid. Threads that want to run the model
    wait meanwhile.

    Raises:
        RuntimeError: another thread is running the model.
    """
    kept, copies = [], {}
    for module in model.modules():
        for store in (module._parameters, module._buffers):
            for name, tensor in store.items():
                kept.append((store, name, tensor))
                if tensor is not None:
                    copies[id(tensor)] = (tensor.data, tensor.detach().clone())
        # Weights that a hook recomputes in each forward are plain attributes.
        kept += [(vars(module), name, value) for name, value in vars(module).items() if isinstance(value, Tensor)]
    try:
        with weights_replaced("restored", model):
            yield
    finally:
        for store, name, tensor in kept:
            store[name] = tensor  # type: ignore[assignment]  # a parameter to parameters, a buffer to buffers
        for tensor, copy in copies.values():
            if not torch.equal(tensor, copy):
                with torch.inference_mode(tensor.is_inference()), torch.no_grad():
                    tensor.copy_(copy)


def _can_change(parameter: Tensor) -> bool:
    """Whether it has entries that differ: a draw keeps mean and deviation."""
    return parameter.is_floating_point() and parameter.numel() > 0 and bool((parameter != parameter.flatten()[0]).any())
