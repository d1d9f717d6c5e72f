"""Tests a layer by forwards of one image: do its cells correspond to image positions, and do the logits depend on them?"""

import contextlib
import copy
import itertools
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ._modules import modules_behind, modules_by_name
from ._trace import Call, trace
from .hooks import first_tensor, intercepted, with_first
from .logits import model_logits
from .tokens import TokenGrid

Key = tuple[str, int]  # the name of a module, and which of its calls

# Minimal ratio of the response of cells to their own quarter of the image and to another one, multiplied over a pair.
# Measured with random weights: at least 5 for cells of the image, near 1 for activations that mix all positions.
_LOCAL = 1.3


class LayerEvidence:
    """Evidence for one model and one image, inside `evaluation_mode`.

    Args:
        model: the forward.
        image: (1, C, H, W), finite.
        logits: (1, K) of the image.
        candidates: calls that may be cells of the image, and how they would be read.
        square: whether patches are taken to be square, where shapes are ambiguous.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        image: Tensor,
        logits: Tensor,
        candidates: list[tuple[Call, TokenGrid]],
        square: bool = True,
    ) -> None:
        self._model, self._image, self._logits = model, image, logits
        self._parameters = [part for module in modules_behind(model) for part in module.parameters(recurse=False)]
        self._candidates, self._square = candidates, square

    def of_the_image(self, call: Call, cells: TokenGrid) -> bool:
        """Whether the cells are places of the image.

        They are where halving the image's height takes rows away and nothing else, and halving its width columns; they are
        not where the shape changes otherwise (attention over tokens). Where the model takes no other size, or the shape stays
        the same, the cells of each quarter must respond to noise on that quarter of the image more than to noise on others.
        """
        halves = [shapes.get((call.name, call.index)) for shapes in self._half_sizes]
        follows = _follows(call.shape, cells, *halves)
        return self._local[call.name, call.index] if follows is None else follows

    def read(self, call: Call, cells: TokenGrid) -> bool:
        """Whether the logits change when the cells do, all else of the activation being as it was: one forward."""
        return self._read([(call, cells)])

    @cached_property
    def any_read(self) -> bool:
        """Whether the logits change when the cells of all candidates do: one forward."""
        return self._read(self._candidates)

    def _read(self, candidates: list[tuple[Call, TokenGrid]]) -> bool:
        def change(call: Call, cells: TokenGrid) -> Callable[[int, Any], Any]:
            def visit(number: int, output: Any) -> Any:
                result = first_tensor(output)
                if number != call.index or result is None:
                    return output
                changed = result.clone()
                view = cells.spatial(changed)
                view.add_(_noise_like(view))
                return with_first(output, changed)

            return visit

        with ExitStack() as stack:
            for call, cells in candidates:
                stack.enter_context(intercepted(call.module, change(call, cells)))
            return self._differs(model_logits(self._model, self._image.clone()))

    def _differs(self, changed: Tensor) -> bool:
        """More than rounding differs; logits that are not finite count as changed."""
        finite = self._logits.isfinite() & changed.isfinite()
        if not bool(finite.all()):
            return True
        rounding = 8 * torch.finfo(self._logits.dtype).eps * self._logits.abs().max()
        return bool((changed - self._logits).abs().max() > rounding)

    @cached_property
    def _noise(self) -> Tensor:
        return _noise_like(self._image)

    @cached_property
    def _half_sizes(self) -> list[dict[Key, tuple[int, ...]]]:
        """Shapes of the calls for the upper and for the left half of the image, as far as the model runs them.

        A copy of the model runs, which shares its parameters: some models keep what they computed for a size, or reduce their
        windows to it.
        """
        height, width = self._image.shape[2:]
        result: list[dict[Key, tuple[int, ...]]] = []
        for part in (self._image[:, :, : max(1, height // 2)], self._image[:, :, :, : max(1, width // 2)]):
            calls: list[Call] = []
            with contextlib.suppress(Exception):  # of any kind: the model takes no other size, and what ran before was seen
                model = copy.deepcopy(self._model, {id(each): each for each in self._parameters})
                trace(model, modules_by_name(model), part.contiguous(), calls)
            result.append({(call.name, call.index): call.shape for call in calls})
        return result

    @cached_property
    def _local(self) -> dict[Key, bool]:
        """For each candidate, whether its cells respond to their own positions: five forwards in all."""
        clean = self._activations(self._image)
        outputs: list[dict[Key, Tensor]] = []
        for rows, columns in _quarters(*self._image.shape[2:]):
            image = self._image.clone()
            image[:, :, rows, columns] += self._noise[:, :, rows, columns]
            after = self._activations(image)
            outputs.append({key: (after[key] - clean[key]).double().norm(dim=0) for key in clean if key in after})
        result = {}
        for call, cells in self._candidates:
            key = call.name, call.index
            maps = [output[key] for output in outputs if key in output]
            shaped = not self._square or cells.has_aspect_of(*self._image.shape[2:])
            result[key] = shaped and len(maps) == len(outputs) and _is_local(maps)
        return result

    def _activations(self, image: Tensor) -> dict[Key, Tensor]:
        """Maps (C, rows, columns) of all candidates for an image."""
        result: dict[Key, Tensor] = {}

        def keep(call: Call, cells: TokenGrid) -> Callable[[int, Any], Any]:
            def visit(number: int, output: Any) -> Any:
                tensor = first_tensor(output)
                if tensor is not None and number == call.index:
                    result[call.name, number] = cells.spatial(tensor)[0].detach().clone()
                return output

            return visit

        with ExitStack() as stack:
            for call, cells in self._candidates:
                stack.enter_context(intercepted(call.module, keep(call, cells)))
            model_logits(self._model, image.clone())
        return result


def _noise_like(values: Tensor) -> Tensor:
    """Normal noise of a fixed seed, as wide as the values are spread, and at least of width 1."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(values.shape, generator=draw).to(values)
    return noise * values.std(correction=0).clamp_min(1.0)


def _follows(
    shape: tuple[int, ...], cells: TokenGrid, lower: tuple[int, ...] | None, narrower: tuple[int, ...] | None
) -> bool | None:
    """Whether the grid loses rows with an image of half the height, and columns with one of half the width; None: not seen."""
    if lower is None or narrower is None or lower == narrower == shape:
        return None
    if len(lower) != len(shape) or len(narrower) != len(shape):
        return False
    if cells.layout in ("NLC", "LNC"):
        axis = 1 if cells.layout == "NLC" else 0
        return all(
            _others_stay(shape, half, axis) and _half_is_lost(shape[axis] - half[axis], cells, side)
            for half, side in ((lower, cells.rows), (narrower, cells.columns))
        )
    rows, columns = (2, 3) if cells.layout == "NCHW" else (1, 2)
    return all(
        _others_stay(shape, half, axis) and (half[axis] < shape[axis] or shape[axis] == 1)
        for half, axis in ((lower, rows), (narrower, columns))
    )


def _others_stay(shape: tuple[int, ...], half: tuple[int, ...], axis: int) -> bool:
    return shape[:axis] == half[:axis] and shape[axis + 1 :] == half[axis + 1 :]


def _half_is_lost(lost: int, cells: TokenGrid, side: int) -> bool:
    """Half of a side's lines are lost, one more or less where they were odd."""
    line = cells.rows * cells.columns // side
    return (lost > 0 or side == 1) and abs(lost - side * line / 2) <= line


def _quarters(rows: int, columns: int) -> list[tuple[slice, slice]]:
    """Of a grid; a middle line belongs to none, and a single line to both halves."""
    down, right = max(1, rows // 2), max(1, columns // 2)
    parts = slice(0, down), slice(rows - down, rows)
    return [(part, other) for part in parts for other in (slice(0, right), slice(columns - right, columns))]


def _is_local(maps: list[Tensor]) -> bool:
    """Whether maps (rows, columns) of change, for noise on each quarter of the image, lie where the noise was.

    Of two quarters each must change more by noise of its own. Compared are products, in which what is particular to a cell or
    to a noise cancels: a cell that responds more to everything is in both.
    """
    quarters = _quarters(*maps[0].shape)
    changes = torch.stack([torch.stack([change[quarter].mean() for quarter in quarters]) for change in maps])
    if not bool(changes.isfinite().all()):
        return True  # nothing can be seen
    own = changes.diagonal()
    pairs = [(a, b) for a, b in itertools.combinations(range(4), 2) if quarters[a] != quarters[b]]
    return all(bool(own[a] * own[b] > _LOCAL * changes[a, b] * changes[b, a]) for a, b in pairs)
