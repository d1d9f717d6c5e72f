"""Which layer a map is made of: by name, by module, or chosen from one traced forward."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import bad_type, bad_value
from .gradients import ordinary
from .hooks import first_tensor, intercepted, with_first
from .modes import evaluation_mode
from .outputs import logits_of
from .precision import require_full_precision
from .tokens import Grid, TokenGrid, checked_grid, infer_grid, token_grid
from .trace import Call, trace

Layer = str | nn.Module | None

_LISTED = 20


@dataclass(frozen=True)
class TargetLayer:
    """A layer, and how its activation is read.

    Attributes:
        layer_name: dotted name in the model, or the type of a module given with a plain callable.
        module: the layer.
        call: which of its `calls` in one forward counts, 0 = first.
        calls: how often the model runs it in one forward.
        grid: where the cells of the image are in the activation.
        choice: why this one, in words.
    """

    layer_name: str
    module: nn.Module
    call: int
    calls: int
    grid: TokenGrid
    choice: str


def target_layer(
    model: Callable[..., Any], inputs: Tensor, layer: Layer = None, *, grid: Grid | None = None, function: str = "target_layer"
) -> TargetLayer:
    """The layer to make a map of, from one forward of the first image.

    A given layer is taken at its last call that returns cells of the image. Otherwise the last such activation of the forward
    is chosen: feature maps of more than one cell (pooling layers themselves are left out), or the output of a transformer
    block. A block whose cells the logits do not read, because the head reads the class token alone, is passed over for the
    one before it; that costs two forwards of the image for each block looked at.

    Args:
        model: a module, or where the layer is given as a module any callable that runs it.
        inputs: (N, C, H, W), N >= 1.
        layer: dotted name, module of the model, or None.
        grid: where the cells are in the activation, as `models.tokens.token_grid` takes it; None to infer it.
        function: the name in error messages.

    Raises:
        TypeError: half precision, torch.nn.DataParallel, or no module to look in.
        ValueError: unknown layer (the message lists names), no activation with cells (the message lists what was seen), or
            a grid that does not fit.
        RuntimeError: the layer did not run.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 2))
        >>> found = target_layer(model.eval(), torch.zeros(1, 1, 6, 6))
        >>> found.layer_name, str(found.grid), found.choice
        ('1', '4 x 4 cells of 4 channels, layout NCHW', 'automatic: the last feature maps before pooling')
    """
    checked_grid(function, grid)
    given = None if layer is None else find_module(function, model, layer)
    require_full_precision(function, model if isinstance(model, nn.Module) else given[1] if given else None)
    modules = _modules(function, model) if given is None else dict([given])
    image = ordinary(inputs[:1])
    size = (inputs.shape[2], inputs.shape[3])
    with evaluation_mode(model), torch.inference_mode(False):
        calls = trace(model, modules, image)
        if given is not None:
            return _given_layer(function, *given, calls, size, grid)
        return _automatic_layer(function, model, calls, image, size, grid)


def find_module(function: str, model: Callable[..., Any], layer: str | nn.Module) -> tuple[str, nn.Module]:
    """Name and module of a layer given by either.

    Raises:
        TypeError: another type, torch.nn.DataParallel, or a name without a module to look in. ValueError: not in the model.
    """
    if not isinstance(layer, str | nn.Module):
        bad_type(function, "layer", "to be a dotted name, a module or None", type(layer).__name__)
    if isinstance(layer, nn.Module) and not isinstance(model, nn.Module):
        return type(layer).__name__, layer
    modules = _modules(function, model)
    if isinstance(layer, str):
        if layer in modules:
            return layer, modules[layer]
        bad_value(function, "layer", "to name a module of the model", repr(layer), f"modules are {_listed(layer, modules)}")
    for name, module in modules.items():
        if module is layer:
            return name, module
    remedy = f"modules are {_listed(type(layer).__name__.lower(), modules)}"
    return bad_value(function, "layer", "to be a module of the model", f"a {type(layer).__name__} that is not part of it", remedy)


def _given_layer(
    function: str, name: str, module: nn.Module, calls: list[Call], size: tuple[int, int], grid: Grid | None
) -> TargetLayer:
    if not calls:
        raise RuntimeError(
            f"{function}: layer {name!r} did not run in the forward, or returned no tensor; layers whose .forward is called "
            "directly, and layers of a compiled model, are not seen: choose another layer, or pass the uncompiled model"
        )
    for call in reversed(calls):
        cells = infer_grid(call.shape, size, grid=grid)
        if cells is not None:
            return TargetLayer(name, module, call.index, calls[-1].index + 1, cells, "given")
    cells = token_grid(calls[-1].shape, size, grid=grid, function=function)  # raises: says what was seen
    return TargetLayer(name, module, calls[-1].index, calls[-1].index + 1, cells, "given")


def _automatic_layer(
    function: str, model: Callable[..., Any], calls: list[Call], image: Tensor, size: tuple[int, int], grid: Grid | None
) -> TargetLayer:
    unread: list[tuple[int, int]] = []  # grids of blocks that the logits do not read
    for call in reversed(calls):
        cells = None if call.pooling else infer_grid(call.shape, size, grid=grid)
        if cells is None or cells.rows * cells.columns == 1:
            continue
        tokens = cells.layout in ("NLC", "LNC")
        if not call.block if tokens else call.repeats:
            continue
        # Behind an unread block only the same cells will do: attention maps have four dimensions as well.
        if unread and (cells.rows, cells.columns) not in unread:
            continue
        if cells.leading and not _reads_cells(model, image, call, cells):
            unread.append((cells.rows, cells.columns))
            continue
        choice = "the last transformer block" if tokens else "the last feature maps before pooling"
        if unread:
            choice += " whose cells the logits read"
        times = 1 + max(other.index for other in calls if other.module is call.module)
        return TargetLayer(call.name, call.module, call.index, times, cells, f"automatic: {choice}")
    seen = ", ".join(f"{call.name!r} {call.shape}" for call in calls[-_LISTED:]) or "none that returned a tensor"
    expected = "to be given, as no module returned feature maps or tokens of the image that the logits read"
    bad_value(function, "layer", expected, f"None; the last modules were {seen}")


def _reads_cells(model: Callable[..., Any], image: Tensor, call: Call, cells: TokenGrid) -> bool:
    """Whether the logits change when the cells do, the leading tokens being as they were."""

    def change(number: int, output: Any) -> Any:
        found = first_tensor(output)
        if number != call.index or found is None:
            return output
        changed = found.clone()
        view = cells.spatial(changed)
        view.copy_(1 - view)
        return with_first(output, changed)

    logits = logits_of(model(image.clone()), 1)
    with intercepted(call.module, change):
        changed = logits_of(model(image.clone()), 1)
    return bool((changed - logits).abs().max() > 1e-5 * logits.abs().max())


def _modules(function: str, model: Callable[..., Any]) -> dict[str, nn.Module]:
    """All modules below the model by name, aliases included."""
    if not isinstance(model, nn.Module):
        got = f"a {type(model).__name__}"
        bad_type(function, "model", "to be a module, where the layer is not given as one", got, "pass layer=model.the_layer")
    if any(isinstance(module, nn.DataParallel) for module in model.modules()):
        remedy = "pass model.module: replicas run copies of the layer"
        bad_type(function, "model", "not to be wrapped in torch.nn.DataParallel", "DataParallel", remedy)
    return {name: module for name, module in model.named_modules(remove_duplicate=False) if name}


def _listed(name: str, modules: dict[str, nn.Module]) -> str:
    """Names for a message, those that resemble the given one first."""
    close = difflib.get_close_matches(name, modules, n=5, cutoff=0.5)
    names = [*close, *(other for other in modules if other not in close)]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(map(repr, names[:_LISTED])) + more
