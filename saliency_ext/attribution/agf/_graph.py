"""Traces a module into a list of operations and runs them on images, keeping what the backward pass needs.

The module is traced with torch.fx, not called: no hook, no mode and no parameter of it is touched. Each step is run out of
place from its own inputs, so an in-place ReLU, a reused module or `x += y` need no care later: where the module overwrites a
map, whatever reads that map afterwards reads the new one.
"""

import operator
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, fx, nn

from ...checks import bad_value
from ._layers import LEAVES, SUPPORTED, LayerReader, UnsupportedLayer, read_call, read_module
from ._operations import Add, Affine, Operation, Pass, Reshape, forward

IMAGE = 0  # position of the images among the steps
_SHAPES = ("size", "dim", "numel")


@dataclass(frozen=True)
class Step:
    """One layer of the traced module.

    Attributes:
        name: path of the module, or name of the function call.
        reading: how it is read.
        sources: positions of the steps whose outputs it reads.
        node: of the graph.
    """

    name: str
    reading: LayerReader
    sources: tuple[int, ...]
    node: fx.Node

    @property
    def kind(self) -> type[Operation]:
        """Which operation it is."""
        return self.reading.kind


@dataclass(frozen=True)
class Record:
    """One step as it ran: the operation, its inputs and its output."""

    operation: Operation
    inputs: tuple[Tensor, ...]
    output: Tensor


class _Proxy(fx.Proxy):
    """Distinguishes `x += y`, which overwrites x, from `x + y`."""

    def _overwrite(self, function: Callable[..., Any], other: Any) -> Any:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    def __iadd__(self, other: Any) -> Any:
        return self._overwrite(operator.iadd, other)

    def __isub__(self, other: Any) -> Any:
        return self._overwrite(operator.isub, other)

    def __imul__(self, other: Any) -> Any:
        return self._overwrite(operator.imul, other)

    def __itruediv__(self, other: Any) -> Any:
        return self._overwrite(operator.itruediv, other)


# torch.fx replaces what nn.Module's call and attributes do while it traces, for the whole process: one trace at a time.
_TRACING = threading.Lock()


class _Tracer(fx.Tracer):
    """Stops at layers that have a rule, also subclassed without a forward of their own. Other threads do not notice it."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = next((base for base in LEAVES if isinstance(m, base)), None)
        return super().is_leaf_module(m, module_qualified_name) if known is None else type(m).forward is known.forward

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, m.forward, args, kwargs)  # past its hooks

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)


class Network:
    """A module as steps, in the order in which they run.

    Attributes:
        steps: steps[0] stands for the images.
        output: position of the step whose output the module returns.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.steps: list[Step] = []
        self._made: dict[fx.Node, int] = {}  # the step that first made a map
        self._positions: dict[fx.Node, int] = {}  # the step that holds it now: another one where it was overwritten
        self._storage: list[int] = []  # equal where one step may be a view of another
        self._stale: set[int] = set()
        refused: list[str] = []
        try:
            with _TRACING:
                graph = _Tracer().trace(model)
        except Exception as error:  # whatever the module's own forward raises on symbolic inputs
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            bad_value("AGF", "model", "to be traceable by torch.fx", reason, "its forward may not branch on the values of a map")
        for node in graph.nodes:
            try:
                self._read(node)
            except UnsupportedLayer as reason:
                refused.append(self._described(node) + (f": {reason}" if str(reason) else ""))
                self._append(node, LayerReader(Pass, Pass), (IMAGE,))  # go on, to name them all
        if refused:
            self._refuse(refused)

    def _read(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            if not self.steps:
                self._append(node, LayerReader(Pass, Pass), ())
            elif not node.args:
                bad_value("AGF", "model", "to take images alone", f"a second argument, {node.target}")
            return
        if node.op == "output":
            self.output = self._positions[_logits_node(node.args[0], self._positions)]
            return
        operands = [*node.args, *node.kwargs.values()]
        maps = [isinstance(argument, fx.Node) and argument in self._positions for argument in operands]
        if not any(source in self._positions for source in node.all_input_nodes) or _requests_shape(node):
            return  # a constant, or a size: evaluated where it is used
        if node.op == "call_module":
            reading = read_module(self.model.get_submodule(str(node.target)))
        else:
            reading = read_call(node.target, node.args, dict(node.kwargs), maps)
        sources = tuple(self._positions[a] for a, is_map in zip(operands, maps, strict=True) if is_map and isinstance(a, fx.Node))
        if any(source in self._stale for source in sources):
            raise UnsupportedLayer("it reads a view of a map that was overwritten in place")
        if reading.kind is Pass:
            self._positions[node] = self._made[node] = sources[0]
        else:
            self._append(node, reading, sources)

    def _append(self, node: fx.Node, reading: LayerReader, sources: tuple[int, ...]) -> None:
        """Adds a step. In place, all names of the map it overwrites now mean its output, and views of that map are stale."""
        position = len(self.steps)
        name = str(node.target) if node.op == "call_module" else node.name
        self.steps.append(Step(name, reading, sources, node))
        self._positions[node] = self._made[node] = position
        self._storage.append(self._storage[sources[0]] if reading.in_place or reading.kind is Reshape else position)
        if reading.in_place:
            for other, at in self._positions.items():
                if at == sources[0]:
                    self._positions[other] = position
            family = self._storage[position]
            self._stale |= {at for at, storage in enumerate(self._storage) if storage == family and at != position}

    def _refuse(self, layers: list[str]) -> NoReturn:
        bad_value("AGF", "model", f"to be made of {SUPPORTED}", "; ".join(layers), "other layers have no rule")

    def _described(self, node: fx.Node) -> str:
        if node.op == "call_module":
            return f"{node.target} ({type(self.model.get_submodule(str(node.target))).__name__})"
        target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        return f"{node.name} ({'method' if node.op == 'call_method' else 'function'} {target})"

    def run(self, images: Tensor) -> list[Record]:
        """One record per step, in the dtype of the images: stored weights are cast, one layer at a time."""
        records = [Record(Pass(), (), images)]
        values: dict[fx.Node, Any] = {}
        with torch.no_grad():
            for step in self.steps[1:]:
                inputs = tuple(records[source].output for source in step.sources)
                operation = self.operation(step, images.dtype, lambda node: records[self._made[node]].output, values)
                output = forward(operation, inputs)
                if output.shape[:1] != images.shape[:1]:
                    bad_value("AGF", "model", "to keep one row per image", f"shape {tuple(output.shape)} at {step.name}")
                if isinstance(operation, Add | Affine) and any(x.shape != output.shape for x in inputs):
                    bad_value("AGF", "model", "to add maps of one shape", f"a broadcast to {tuple(output.shape)} at {step.name}")
                records.append(Record(operation, inputs, output))
        return records

    def operation(
        self, step: Step, dtype: torch.dtype, map_of: Callable[[fx.Node], Any], values: dict[fx.Node, Any] | None = None
    ) -> Operation:
        """The operation of a step. `map_of` gives the map of a node that depends on the images; `values` remembers constants."""
        known = {} if values is None else values

        def cast(tensor: Tensor) -> Tensor:
            return tensor.detach().to(dtype) if tensor.is_floating_point() else tensor.detach()

        def value(node: fx.Node) -> Any:
            if node in self._positions:
                return map_of(node)
            if node not in known:
                known[node] = self._constant(node, value, cast)
            return known[node]

        try:
            if step.node.op == "call_module":
                return step.reading.make(cast, map_of(step.node.all_input_nodes[0]))
            return step.reading.make(*fx.map_arg(step.node.args, value), **fx.map_arg(step.node.kwargs, value))
        except UnsupportedLayer as reason:
            self._refuse([f"{self._described(step.node)}: {reason}"])

    def _constant(self, node: fx.Node, value: Callable[[fx.Node], Any], cast: Callable[[Tensor], Tensor]) -> Any:
        if node.op == "placeholder":
            return node.args[0] if node.args else None
        if node.op == "get_attr":
            path, _, name = str(node.target).rpartition(".")
            result = getattr(self.model.get_submodule(path), name)
            return cast(result) if isinstance(result, Tensor) else result
        args, kwargs = fx.map_arg(node.args, value), fx.map_arg(node.kwargs, value)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        if node.op == "call_module":
            return self.model.get_submodule(str(node.target))(*args, **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]


def _requests_shape(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in _SHAPES
    return node.target is getattr and node.args[1] in ("shape", "ndim", "dtype", "device")


def _logits_node(output: Any, known: dict[fx.Node, int]) -> fx.Node:
    """The node of the logits (N, K), also inside a tuple that begins with them, or a mapping that holds them."""
    result = output.get("logits") if isinstance(output, dict) else output[0] if isinstance(output, tuple | list) else output
    if not isinstance(result, fx.Node) or result not in known:
        bad_value("AGF", "model", "to return logits that depend on the images", str(output))
    return result
