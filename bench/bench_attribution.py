"""What attribution methods cost beyond the model: processor time with a model that costs nothing, and ratios with a real one."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from saliency_ext.attribution import AGF, RISE, IntegratedGradients, Occlusion
from saliency_ext.attribution._rise_masks import MaskSampler
from saliency_ext.infill import Constant

from .common import PIXELS, Baseline, Case, Setup, Task, max_difference
from .nets import corner, residual_net

_MASKS, _GRID, _KEEP = 1000, 7, 0.5
_WINDOW, _STRIDE = 32, 14  # 15 x 15 windows on 224 x 224
_STEPS, _SIDE, _TOGETHER = 50, 112, 10
_BATCH = 32
_NO_MODEL = "whole call with a model that costs nothing, time per image"


def cases(setup: Setup) -> list[Case]:
    """One photograph, which is what an application shows, and several, which share the masks."""
    several = setup.size(8, 32, 2)
    masked = [
        ("rise", f"{_MASKS} masks of {_GRID} x {_GRID} cells, {{}} 224 x 224", _rise),
        ("occlusion", f"225 windows of {_WINDOW} x {_WINDOW}, stride {_STRIDE}, {{}} 224 x 224", _occlusion),
    ]
    result = []
    for op, name, make in masked:
        result.append(Case(op, name.format("1 image"), _NO_MODEL, make(setup, 1), main=True))
        result.append(Case(op, name.format(f"{several} images"), _NO_MODEL, make(setup, several)))
    side = setup.size(_SIDE, 224, 32)
    result.append(
        Case(
            "integrated_gradients",
            f"{_STEPS} steps, 1 image {side} x {side}, 18-layer residual net",
            f"whole call, {_TOGETHER} points a forward",
            _integrated_gradients(setup, side),
            main=True,
        )
    )
    side = setup.size(224, 224, 64)
    result.append(Case("agf", f"2 images {side} x {side}, 50-layer residual net", "whole call", _agf(setup, side), main=True))
    return result


def _budget(seconds: float, images: int) -> Baseline:
    text = f"an aim: {seconds} s of one thread for an image"
    return Baseline(text, None, target=1.0, cpu_budget=seconds * images, note="processor time, one thread")


# ---- RISE


def _rise(setup: Setup, images: int) -> Callable[[], Task]:
    def prepare() -> Task:
        inputs = setup.normal(images, 3, 224, 224)
        method = RISE(corner, Constant(0.0), masks=_MASKS, grid=_GRID, keep=_KEEP, border="clamp")
        drawn = MaskSampler(method.grid, (224, 224), _KEEP, 0, "random").draw(_MASKS)
        grids, shifts = drawn[0].to(setup.device), drawn[1].tolist()

        def stored() -> Tensor:
            """As published code does it: all masks in memory, then forwards, then one matrix product."""
            masks = torch.cat(list(_masks(grids, shifts)))
            return torch.stack([_scores(image, masks) @ masks.flatten(1) for image in inputs]).view(-1, 224, 224) / (
                _MASKS * _KEEP
            )

        def added_up() -> Tensor:
            """As careful code does it: masks made for one forward, used by all images, and let go."""
            total = inputs.new_zeros(images, PIXELS)
            for masks in _masks(grids, shifts):
                for n, image in enumerate(inputs):
                    total[n] += _scores(image, masks) @ masks.flatten(1)
            return total.view(-1, 224, 224) / (_MASKS * _KEEP)

        note = "the grids are given, not drawn"
        return Task(
            ours=lambda: method(inputs, 0),
            baselines=[
                _budget(0.15, images),
                Baseline("torch, masks stored", stored, tolerance=1e-4, note=note),
                Baseline("torch, masks made a forward at a time", added_up, tolerance=1e-4, note=note),
            ],
            traffic=_MASKS * 3 * PIXELS * 4,
            formula="masks * 3 * 224 * 224 * 4 written",
            check=lambda result: max_difference(result, added_up()),
            tolerance=1e-4,  # sums of 1,000 float32 products, in another order
            ceiling="write",
            calls=images,
            memory_budget=100 * 2**20,
        )

    return prepare


def _masks(grids: Tensor, shifts: list[list[int]]) -> Iterator[Tensor]:
    """Dense masks (at most 32, 224, 224), in order."""
    cell = 224 // _GRID
    for first in range(0, len(grids), _BATCH):
        part = grids[first : first + _BATCH, None].float()
        large = interpolate(part, size=((_GRID + 1) * cell,) * 2, mode="bilinear", align_corners=False)[:, 0]
        own = zip(large, shifts[first : first + _BATCH], strict=True)
        yield torch.stack([mask[down : down + 224, right : right + 224] for mask, (down, right) in own])


def _scores(image: Tensor, masks: Tensor) -> Tensor:
    parts = [corner(image * part[:, None]).softmax(1)[:, 0] for part in torch.split(masks, _BATCH)]
    return torch.cat(parts)


# ---- occlusion


def _occlusion(setup: Setup, images: int) -> Callable[[], Task]:
    def prepare() -> Task:
        inputs = setup.normal(images, 3, 224, 224)
        method = Occlusion(corner, Constant(0.0), window=_WINDOW, stride=_STRIDE)
        starts = range(0, 224 - _WINDOW + _STRIDE, _STRIDE)
        windows = [(slice(top, top + _WINDOW), slice(left, left + _WINDOW)) for top in starts for left in starts]

        def copies() -> Tensor:
            """A copy per window, a forward per 32 of them."""
            found = []
            for image in inputs:
                clean = corner(image[None]).softmax(1)[0, 0]
                total, count = torch.zeros_like(image[0]), torch.zeros_like(image[0])
                for first in range(0, len(windows), _BATCH):
                    part = windows[first : first + _BATCH]
                    covered = image.repeat(len(part), 1, 1, 1)
                    for copy, window in zip(covered, part, strict=True):
                        copy[(slice(None), *window)] = 0.0
                    for fall, window in zip(clean - corner(covered).softmax(1)[:, 0], part, strict=True):
                        total[window] += fall
                        count[window] += 1
                found.append(total / count)
            return torch.stack(found)

        return Task(
            ours=lambda: method(inputs, 0),
            baselines=[
                _budget(0.05, images),
                Baseline("torch, a copy per window", copies, tolerance=1e-5, note="an image at a time"),
            ],
            traffic=(len(windows) + 1) * 3 * PIXELS * 4,
            formula="windows * 3 * 224 * 224 * 4 written",
            check=lambda result: max_difference(result, copies()),
            tolerance=1e-5,
            ceiling="write",
            calls=images,
            memory_budget=100 * 2**20,
        )

    return prepare


# ---- gradients and relevance, with a real model


def _gradient(model: nn.Module, points: Tensor) -> Tensor:
    """One forward, and one backward to the inputs: the model's weights want no gradient."""
    leaf = points.detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)[0]


def _integrated_gradients(setup: Setup, side: int) -> Callable[[], Task]:
    def prepare() -> Task:
        model = residual_net().requires_grad_(False).to(setup.device)
        inputs = setup.normal(1, 3, side, side)
        method = IntegratedGradients(model, Constant(0.0), steps=_STEPS, max_batch=_TOGETHER)
        alphas, weights = (
            torch.tensor(values, device=setup.device).view(-1, 1, 1, 1) for values in zip(*method.nodes, strict=True)
        )
        buffer = setup.normal(_TOGETHER, 3, side, side)

        def bare() -> None:
            for _ in range(_STEPS // _TOGETHER):
                _gradient(model, buffer)

        def at_once() -> Tensor:
            """All points in one forward, as libraries do by default."""
            return (weights * _gradient(model, alphas * inputs) * inputs).sum((0, 1))[None]

        return Task(
            ours=lambda: method(inputs, 0),
            baselines=[
                Baseline("bare forwards and backwards, same batch shape", bare, 1 / 1.1, None, note="no map", peak=True),
                Baseline("torch, all points in one forward", at_once, tolerance=_close(at_once()), note="another batch shape"),
            ],
            traffic=_STEPS * 3 * side * side * 4,
            formula=f"steps * 3 * {side} * {side} * 4 written",
            check=lambda result: max_difference(result, at_once()),
            tolerance=_close(at_once()),
            ceiling="write",
        )

    return prepare


def _close(values: Tensor) -> float:
    """1e-3 of the largest value: float32 gradients of deep nets in another batch shape."""
    return 1e-3 * float(values.abs().max())


def _agf(setup: Setup, side: int) -> Callable[[], Task]:
    def prepare() -> Task:
        model = residual_net(50).requires_grad_(False).to(setup.device)
        inputs = setup.normal(2, 3, side, side)
        method = AGF(model)

        def check(result: Tensor) -> float:
            """1 - cosine to the same in float64."""
            exact = AGF(model, dtype=torch.float64)(inputs, 0)
            pairs = zip(result.double().flatten(1), exact.double().flatten(1), strict=True)
            return 1 - min(float(torch.cosine_similarity(ours, theirs, 0)) for ours, theirs in pairs)

        return Task(
            ours=lambda: method(inputs, 0),
            baselines=[_forward_backward(model, inputs, 4.0)],
            traffic=2 * 3 * side * side * 4,
            formula=f"2 * 3 * {side} * {side} * 4 read",
            check=check,
            tolerance=1e-3,  # single pixels of deep residual nets are off by percents in float32
            ceiling="copy",
        )

    return prepare


def _forward_backward(model: Any, inputs: Tensor, most: float) -> Baseline:
    run = lambda: _gradient(model, inputs)  # noqa: E731
    return Baseline(f"one forward and backward (aim: at most {most:g} of them)", run, 1 / most, None, peak=True)
