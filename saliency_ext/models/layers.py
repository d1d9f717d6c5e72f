"""Selects the target layer: by name, by module, or automatically from one traced forward."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import bad_type, bad_value
from ._compiled import uncompiled
from ._evidence import LayerEvidence
from ._modules import modules_by_name, plain_module
from ._trace import Call, trace
from .eval_mode import evaluation_mode
from .gradients import detach_inference
from .precision import require_full_precision
from .tokens import Grid, TokenGrid, checked_grid, infer_grid, token_grid

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

    A given layer is taken at its last call whose shape may be cells of the image. Otherwise the last call of the forward is
    chosen that returns feature maps of more than one cell (pooling layers themselves are left out) or is a transformer block,
    whose cells are places of the image, and of which the logits are seen to depend:

    - places of the image: rows go where the image is cut to half its height, columns where it is cut to half its width, and
      nothing else changes. Where the model takes no other size, noise on a quarter of the image must change the cells of
      that quarter more than those of others. So keys, queries, attention matrices and latent tokens are distinguished from
      feature maps.
    - the logits depend: they change when the cells do. A block whose cells the logits do not read, because the head reads the
      class token alone, is passed over with its parts for the one before it.

    Forwards of the first image alone: one; where no layer is given also two of half the image, one for each layer tested,
    five where the model takes one size, and one with all layers changed where the logits did not change.

    Args:
        model: a module, its bound forward or a partial application, or where the layer is given as a module any callable that
            runs it.
        inputs: (N, C, H, W), N >= 1.
        layer: dotted name, module of the model, or None.
        grid: where the cells are in the activation, as `models.tokens.token_grid` takes it; None to infer it.
        function: the name in error messages.

    Raises:
        TypeError: half precision, torch.nn.DataParallel, or no module to search.
        ValueError: unknown layer (the message lists names), no activation with cells (the message lists what was seen),
            logits that depend on no layer, or a grid that does not fit.
        RuntimeError: the layer did not run.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 2))
        >>> result = target_layer(model.eval(), torch.zeros(1, 1, 6, 6))
        >>> result.layer_name, str(result.grid), result.choice
        ('1', '4 x 4 cells of 4 channels, layout NCHW', 'automatic: the last feature maps before pooling')
    """
    checked_grid(function, grid)
    given = None if layer is None else find_module(function, model, layer)
    require_full_precision(function, plain_module(model) or (given[1] if given else None))
    modules = _modules(function, model) if given is None else dict([given])
    image = detach_inference(inputs[:1]).nan_to_num(0.0, 0.0, 0.0)
    size = (inputs.shape[2], inputs.shape[3])
    calls: list[Call] = []
    with evaluation_mode(model), uncompiled(), torch.inference_mode(False):
        logits = trace(model, modules, image, calls)
        if given is not None:
            return _given_layer(function, *given, calls, size, grid)
        candidates = _candidates(calls, size, grid)
        evidence = LayerEvidence(model, image, logits, candidates, square=grid is None)
        return _automatic_layer(function, calls, candidates, evidence)


def find_module(function: str, model: Callable[..., Any], layer: str | nn.Module) -> tuple[str, nn.Module]:
    """Name and module of a layer given by either.

    Raises:
        TypeError: another type, torch.nn.DataParallel, or a name without a module to search. ValueError: not in the model.
    """
    if not isinstance(layer, str | nn.Module):
        bad_type(function, "layer", "to be a dotted name, a module or None", type(layer).__name__)
    if isinstance(layer, nn.Module) and plain_module(model) is None:
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
    cells = token_grid(calls[-1].shape, size, grid=grid, function=function)  # raises, with the shapes seen
    return TargetLayer(name, module, calls[-1].index, calls[-1].index + 1, cells, "given")


def _automatic_layer(
    function: str, calls: list[Call], candidates: list[tuple[Call, TokenGrid]], evidence: LayerEvidence
) -> TargetLayer:
    unread: list[str] = []
    for call, cells in candidates:
        # Of a block that is not read its own blocks may be, but no parts of its attention.
        if not call.block and any(call.name.startswith(f"{name}.") for name in unread):
            continue
        if not evidence.of_the_image(call, cells):
            continue
        if not evidence.read(call, cells):
            if not evidence.any_read:
                remedy = "a head whose weights are zero reads nothing: load trained weights, or draw them"
                depend = "logits that depend on no layer, and stay the same whatever the layers return"
                bad_value(function, "model", "to have logits that depend on a layer", depend, remedy)
            unread.append(call.name)
            continue
        choice = "the last transformer block" if _is_tokens(cells) else "the last feature maps before pooling"
        if unread:
            choice += " whose cells the logits read"
        times = 1 + max(other.index for other in calls if other.module is call.module)
        return TargetLayer(call.name, call.module, call.index, times, cells, f"automatic: {choice}")
    seen = ", ".join(f"{call.name!r} {call.shape}" for call in calls[-_LISTED:]) or "none that returned a tensor"
    expected = "to be given, as no module returned feature maps or tokens of the image that the logits read"
    bad_value(function, "layer", expected, f"None; the last modules were {seen}")


def _candidates(calls: list[Call], size: tuple[int, int], grid: Grid | None) -> list[tuple[Call, TokenGrid]]:
    """Calls whose shape may be cells of the image, the last first."""
    result = []
    for call in reversed(calls):
        cells = None if call.pooling else infer_grid(call.shape, size, grid=grid)
        if cells is None or cells.rows * cells.columns == 1:
            continue
        if call.block if _is_tokens(cells) else not call.repeats:
            result.append((call, cells))
    return result


def _is_tokens(cells: TokenGrid) -> bool:
    return cells.layout in ("NLC", "LNC")


def _modules(function: str, model: Callable[..., Any]) -> dict[str, nn.Module]:
    """All modules below the model by name, aliases included."""
    plain = plain_module(model)
    if plain is None:
        got = f"a {type(model).__name__}"
        bad_type(function, "model", "to be a module, where the layer is not given as one", got, "pass layer=model.the_layer")
    if any(isinstance(module, nn.DataParallel) for module in plain.modules()):
        remedy = "pass model.module: replicas run copies of the layer"
        bad_type(function, "model", "not to be wrapped in torch.nn.DataParallel", "DataParallel", remedy)
    return modules_by_name(plain)


def _listed(name: str, modules: dict[str, nn.Module]) -> str:
    """Names for a message, those that resemble the given one first."""
    close = difflib.get_close_matches(name, modules, n=5, cutoff=0.5)
    names = [*close, *(other for other in modules if other not in close)]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(map(repr, names[:_LISTED])) + more
