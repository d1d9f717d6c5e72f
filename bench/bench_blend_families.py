"""The other renderers against eager torch: boxes, grids, segments, dense masks forward and forward + backward."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from saliency_ext import ops, reference

from .bench_blend_rank import check_steps, empty_channels_last, floors
from .common import BF16_STEP, MEAN, PIXELS, STD, Baseline, Case, Setup, Task, compiled, max_difference

_CELLS = 7
_CELL = math.ceil(224 / _CELLS)
_SEGMENTS = 50
_ROUNDING = 2e-6  # float32 arithmetic in another order, values below 3


def finish(mixed: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normalise, cast to bfloat16, lay out channels_last."""
    cast = ((mixed - mean) / std).to(torch.bfloat16)
    return cast.flatten(0, 1).contiguous(memory_format=torch.channels_last).view(mixed.shape)


def boxes_eager(inputs: Tensor, infill: Tensor, boxes: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Windows as comparisons of coordinates."""
    keep = reference.box_weights(boxes, 224, 224)[:, None, None] > 0
    return finish(torch.where(keep, inputs, infill), mean, std)


def _boxes_slices(inputs: Tensor, infill: Tensor, boxes: list[list[int]], mean: Tensor, std: Tensor, out: Tensor) -> Tensor:
    image, other = ((x - mean) / std for x in (inputs, infill))
    out.copy_(image.expand_as(out))
    for step, (top, left, bottom, right) in enumerate(boxes):
        out[step, :, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
    return out


def grid_masks(grids: Tensor, shifts: list[list[int]]) -> Tensor:
    """RISE's masks: bilinear upsampling by torch, then a crop per mask."""
    size = (_CELLS + 1) * _CELL
    up = torch.nn.functional.interpolate(grids.float()[:, None], size=(size, size), mode="bilinear", align_corners=False)
    return torch.stack([up[i, 0, y : y + 224, x : x + 224] for i, (y, x) in enumerate(shifts)])


def dense_eager(inputs: Tensor, infill: Tensor, mask: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """A float mask (S, H, W)."""
    keep = mask[:, None, None]
    return finish(keep * inputs + (1 - keep) * infill, mean, std)


def segments_eager(inputs: Tensor, infill: Tensor, labels: Tensor, bits: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Coalition bits looked up by label."""
    return finish(torch.where(bits[:, labels][:, :, None], inputs, infill), mean, std)


def cases(setup: Setup) -> list[Case]:
    """Each family to bfloat16 channels_last with normalisation; the dense one also in float32 with gradients."""
    images, steps = setup.size(16, 64, 2), setup.size(20, 20, 4)
    suffix = f"{steps} steps of ({images}, 3, 224, 224), normalised, to bf16 channels_last"
    new = "a new output in each call, ours and theirs"
    gradient = f"{steps} steps of ({images}, 3, 224, 224), float32, forward + backward"
    return [
        Case("blend_boxes", f"32 x 32 windows, {suffix}", new, lambda: _boxes(setup, images, steps), main=True),
        Case("blend_grids", f"7 x 7 grids, {suffix}", new, lambda: _grids(setup, images, steps), main=True),
        Case("blend_segments", f"50 segments, {suffix}", new, lambda: _segments(setup, images, steps), main=True),
        Case("blend_dense", f"float masks, {suffix}", new, lambda: _dense(setup, images, steps), main=True),
        Case("blend_dense", f"{gradient}, to the mask", "gradient of the mask only", lambda: _backward(setup, images, steps, 1)),
        Case(
            "blend_dense",
            f"{gradient}, to all",
            "gradients of mask, inputs and infill",
            lambda: _backward(setup, images, steps, 3),
        ),
    ]


def _images(setup: Setup, images: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    inputs, infill = (torch.sigmoid(setup.normal(images, 3, 224, 224, seed=seed)) for seed in (1, 2))
    mean, std = (torch.tensor(values, device=setup.device) for values in (MEAN, STD))
    return inputs, infill, mean, std


def _task(
    setup: Setup,
    images: int,
    steps: int,
    parameter_bytes: int,
    ours: Callable[..., Tensor],
    weights: Callable[[int], Tensor],
    eager: Callable[..., Tensor],
    args: tuple[Tensor, ...],
    extra: Callable[[Tensor], list[Baseline]] = lambda out: [],
    tolerance: float = 0.0,
) -> Task:
    """The case of one family; the images and `args` are what `eager` takes."""
    inputs, infill, mean, std = _images(setup, images)
    full = (inputs, infill, *args, mean.view(-1, 1, 1), std.view(-1, 1, 1))
    out = empty_channels_last(steps, images, setup)
    options = {"mean": mean, "std": std, "dtype": torch.bfloat16, "memory_format": torch.channels_last}

    def expected(step: int) -> Tensor:
        return reference.blend(inputs, infill, weights(step), mean, std)[0].bfloat16()

    return Task(
        ours=lambda: ours(inputs, infill, **options),
        baselines=[
            Baseline("eager", lambda: eager(*full), tolerance=tolerance),
            compiled("torch.compile: eager", eager, *full, setup=setup, tolerance=BF16_STEP),
            *extra(out),
            *floors(out, setup, given=False),
        ],
        traffic=images * PIXELS * (3 * 4 * 2 + steps * 3 * 2) + parameter_bytes,
        formula=f"images * {PIXELS} * (3 * 4 image + 3 * 4 infill + {steps} steps * 3 * 2 written) + mask parameters",
        check=lambda result: check_steps(result, expected),
        tolerance=tolerance,
        ceiling="write",
    )


def _boxes(setup: Setup, images: int, steps: int) -> Task:
    corners = setup.integers(0, 224 - 32, steps, 2, seed=4)
    boxes = torch.cat([corners, corners + 32], 1)
    inputs, infill, mean, std = _images(setup, images)
    full = (inputs, infill, boxes.tolist(), mean.view(-1, 1, 1), std.view(-1, 1, 1))
    name = "eager, normalised first, slices into out"
    return _task(
        setup,
        images,
        steps,
        boxes.numel() * 8,
        lambda x, other, **options: ops.blend_boxes(x, other, boxes, **options),
        lambda step: reference.box_weights(boxes[step : step + 1], 224, 224),
        boxes_eager,
        (boxes,),
        lambda out: [Baseline(name, lambda: _boxes_slices(*full, out), note="it writes to an output that exists")],
    )


def _grids(setup: Setup, images: int, steps: int) -> Task:
    grids = setup.integers(0, 2, steps, _CELLS, _CELLS, seed=5).bool()
    shifts = setup.integers(0, _CELL, steps, 2, seed=6)
    places = shifts.tolist()
    inputs, infill, mean, std = _images(setup, images)
    stored = grid_masks(grids, places)
    channels = mean.view(-1, 1, 1), std.view(-1, 1, 1)

    def eager(inputs: Tensor, infill: Tensor, grids: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        return dense_eager(inputs, infill, grid_masks(grids, places), mean, std)

    return _task(
        setup,
        images,
        steps,
        steps * (_CELLS**2 + 8),
        lambda x, other, **options: ops.blend_grids(x, other, grids, shifts, border="clamp", **options),
        lambda step: reference.grid_weights(grids[step : step + 1], shifts[step : step + 1], 224, 224, mirror=False),
        eager,
        (grids,),
        lambda out: [
            Baseline(
                "eager, masks already in memory",
                lambda: dense_eager(inputs, infill, stored, *channels),
                tolerance=BF16_STEP,
                note="as published: float32 masks made beforehand and kept; making them is not timed",
            )
        ],
        tolerance=BF16_STEP,
    )


def _segments(setup: Setup, images: int, steps: int) -> Task:
    labels = setup.integers(0, _SEGMENTS, images, 14, 14, seed=7).repeat_interleave(16, 1).repeat_interleave(16, 2)
    bits = setup.integers(0, 2, steps, _SEGMENTS, seed=8).bool()
    return _task(
        setup,
        images,
        steps,
        labels.numel() * 8 + bits.numel(),
        lambda x, other, **options: ops.blend_segments(x, other, labels, bits, **options),
        lambda step: reference.segment_weights(labels, bits[step : step + 1]),
        segments_eager,
        (labels, bits),
    )


def _dense(setup: Setup, images: int, steps: int) -> Task:
    mask = torch.sigmoid(setup.normal(steps, 224, 224, seed=9))
    return _task(
        setup,
        images,
        steps,
        mask.numel() * 4,
        lambda x, other, **options: ops.blend_dense(x, other, mask, **options),
        lambda step: mask[step : step + 1],
        dense_eager,
        (mask,),
        tolerance=BF16_STEP,
    )


def _backward(setup: Setup, images: int, steps: int, wanted: int) -> Task:
    """Gradient of the mask alone (`wanted` = 1), or of mask, inputs and infill (3). The upstream gradient is given."""
    inputs, infill, *_ = _images(setup, images)
    mask = torch.sigmoid(setup.normal(steps, 224, 224, seed=9))
    upstream = setup.normal(steps, images, 3, 224, 224, seed=10)
    leaves = [mask, inputs, infill][:wanted]
    for leaf in leaves:
        leaf.requires_grad_()

    def mix(inputs: Tensor, infill: Tensor, mask: Tensor) -> Tensor:
        keep = mask[:, None, None]
        return keep * inputs + (1 - keep) * infill

    def gradients(result: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(result, leaves, upstream)

    def expected(result: tuple[Tensor, ...]) -> float:
        total = [torch.zeros_like(leaf) for leaf in leaves]
        for step in range(steps):
            part = reference.blend(inputs, infill, mask[step : step + 1])
            for sum_, gradient in zip(total, torch.autograd.grad(part, leaves, upstream[step : step + 1]), strict=True):
                sum_ += gradient
        return max_difference(result, tuple(total))

    tolerance = 1e-4  # sums of 20 to 48 float32 products in another order
    written = (0 if wanted == 1 else 2 * 3 * 4) * images
    return Task(
        ours=lambda: gradients(ops.blend_dense(inputs, infill, mask)),
        baselines=[
            Baseline("eager", lambda: gradients(mix(inputs, infill, mask)), tolerance=tolerance),
            compiled("torch.compile: eager", mix, inputs, infill, mask, setup=setup, then=gradients, tolerance=tolerance),
        ],
        traffic=PIXELS * (images * (2 * 2 * 3 * 4 + steps * 3 * 4 * 2) + 3 * 4 * steps + written),
        formula=(
            f"{PIXELS} * (images * (2 passes * 24 image and infill + {steps} steps * 3 * (4 written + 4 upstream)) "
            f"+ {steps} steps * 12 mask and its gradient{' + images * 24 written' if wanted == 3 else ''})"
        ),
        check=expected,
        tolerance=tolerance,
    )
