"""Mask optimisation: a step outside the model and the smooth maximum against eager torch; whole methods in CPU seconds.

python -m bench.bench_mask_optimisation writes bench/results/mask_optimisation.json: these cases, and the whole methods.
"""

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from saliency_ext import ops, reference
from saliency_ext.attribution import ExtremalPerturbation, IntrinsicMask

from .common import HEIGHT, PIXELS, WIDTH, Baseline, Case, Setup, Task, max_difference
from .report import write_json
from .timing import Timer, paired

_AREA, _VARIATION, _RATE = 2e-5, 0.01, 0.05
_GRID, _SIGMA = 7, 21.0


def cases(setup: Setup) -> list[Case]:
    """A step of the intrinsic mask at two resolutions, and the smooth maximum forward and backward."""
    images = setup.size(16, 256, 2)
    return [
        *(
            Case(
                "mask_step",
                f"({images}, 3, 224, 224) float32, {scale} pixels per cell, area and squared TV, Adam",
                "gradient of the masked inputs to the next masked inputs; state put back before each call on both sides",
                _step_task(setup, images, scale),
                main=scale == 4,
            )
            for scale in (4, 1)
        ),
        Case(
            "smooth_maximum",
            f"({images}, 1, 32, 32) float32 cells of 7 pixels, sigma 21, forward + backward",
            "autograd on both sides",
            _maximum_task(setup, images),
            main=True,
        ),
    ]


def _squared_variation(mask: Tensor) -> Tensor:
    return mask.diff(dim=3).square().sum() + mask.diff(dim=2).square().sum()


def _step_task(setup: Setup, images: int, scale: int) -> Callable[[], Task]:
    def prepare() -> Task:
        size, cells = (HEIGHT, WIDTH), (math.ceil(HEIGHT / scale), math.ceil(WIDTH / scale))
        x, reference_images = setup.normal(images, 3, *size), setup.normal(images, 3, *size, seed=1)
        gradient = setup.normal(images, 1, 1, 3, *size, seed=2) * 1e-3
        rows = torch.arange(images)
        here, ahead = (torch.stack([rows, rows.roll(k), 0 * rows, 0 * rows], 1)[:, None].to(setup.device) for k in (1, 2))
        resizing = ops.Resizing.bilinear(size, scale, device=setup.device)
        rule = ops.MaskRule(area=_AREA, variation=_VARIATION, rate=_RATE)
        start = setup.normal(images, 1, *cells, seed=3)
        moments = setup.normal(images, 1, *cells, seed=4) * 1e-3, (setup.normal(images, 1, *cells, seed=5).square() + 0.1) * 1e-6
        state = ops.MaskState.start(start, size)
        out = torch.empty(images, 1, 1, 3, *size, device=setup.device)
        ops.mask_step_(None, x, reference_images, here, here, state, out, resizing=resizing, rule=rule)
        first_mask, first_cells = state.mask.clone(), state.cells.clone()

        def ours() -> tuple[Tensor, Tensor, Tensor]:
            for part, value in zip(state[:3], (start, *moments), strict=True):
                part.copy_(value)
            state.counts.fill_(4)
            state.mask.copy_(first_mask)
            state.cells.copy_(first_cells)
            ops.mask_step_(gradient, x, reference_images, here, ahead, state, out, resizing=resizing, rule=rule)
            return state.values, state.mask, out

        w = start.clone().requires_grad_()
        first, second = (moment.clone() for moment in moments)

        def render(index: Tensor) -> tuple[Tensor, Tensor]:
            mask = functional.interpolate(w.sigmoid(), size=size, mode="bilinear")
            return mask, mask * x + (1 - mask) * reference_images[index]

        def eager() -> tuple[Tensor, Tensor, Tensor]:
            with torch.no_grad():
                for part, value in zip((w, first, second), (start, *moments), strict=True):
                    part.copy_(value)
            mask, shown = render(here[:, 0, 1])
            terms = _AREA * mask.sum() + _VARIATION * _squared_variation(mask)
            w.grad = None
            torch.autograd.backward([shown, terms], [gradient[:, 0, 0], None])
            slopes = w.grad
            with torch.no_grad():
                first.lerp_(slopes, 0.1)
                second.mul_(0.999).addcmul_(slopes, slopes, value=0.001)
                w.addcdiv_(first, (second / (1 - 0.999**5)).sqrt_().add_(1e-8), value=-_RATE / (1 - 0.9**5))
                mask, shown = render(ahead[:, 0, 1])
            return w.detach(), mask, shown[:, None, None]

        def check(result: tuple[Tensor, Tensor, Tensor]) -> float:
            exact = ops.MaskState.start(start.double(), size)
            exact.exp_avg.copy_(moments[0])
            exact.exp_avg_sq.copy_(moments[1])
            exact.counts.fill_(4)
            exact.mask.copy_(first_mask)
            exact.cells.copy_(first_cells)
            axes = [part.double() for part in (resizing.down, resizing.across)]
            shown = torch.empty(out.shape, dtype=torch.float64, device=setup.device)
            read = [part.double() for part in (gradient, x, reference_images)]
            flags = (True, True, False, 2, rule.rate, rule.beta1, rule.beta2, rule.eps, rule.area, rule.variation, 1.0)
            reference.mask_step(*read, here, ahead, *axes, *exact, shown, *flags)
            return max_difference(result, (exact.values, exact.mask, shown))

        traffic = 4 * images * PIXELS * (3 * 6 + 3)
        return Task(
            ours=ours,
            baselines=[Baseline("eager: autograd, Adam, render", eager, 15.0 if setup.device == "cpu" else None, tolerance=1e-4)],
            traffic=traffic,
            formula=f"images * {PIXELS} * 4 * (3 channels * (gradient, 2 images, 2 infills, out) + mask read, written, gradient)",
            check=check,
            tolerance=1e-4,
        )

    return prepare


def _maximum_task(setup: Setup, images: int) -> Callable[[], Task]:
    def prepare() -> Task:
        cells = HEIGHT // _GRID
        values = setup.normal(images, 1, cells, cells).sigmoid().requires_grad_()
        upstream = setup.normal(images, 1, HEIGHT + 42, WIDTH + 42, seed=1)

        def finish(out: Tensor) -> tuple[Tensor, Tensor]:
            return out.detach(), torch.autograd.grad(out, values, upstream)[0]

        def ours() -> tuple[Tensor, Tensor]:
            return finish(ops.smooth_maximum(values, (HEIGHT, WIDTH), step=_GRID, sigma=_SIGMA))

        reach, margin = 1 + math.ceil(_SIGMA / _GRID), round(_SIGMA)
        y = torch.arange(-margin, HEIGHT + margin)
        nearest = torch.div(y, _GRID, rounding_mode="floor")
        offsets = torch.arange(-reach, reach + 1)
        apart = (y[None] - _GRID * (nearest[None] + offsets[:, None])).double()
        distance = (apart[:, None, :, None].square() + apart[None, :, None, :].square()).sqrt() / _SIGMA
        weights = torch.exp(-2 * (distance - 0.5).clamp(min=0) ** 2).flatten(0, 1).float().to(setup.device)[None]
        border = reach + int(-nearest[0])
        index = (nearest - nearest[0]).to(setup.device)

        def eager_one(part: Tensor) -> Tensor:
            grid = functional.pad(part, (border,) * 4)
            around = functional.unfold(grid, 2 * reach + 1).view(len(part), -1, *(2 * (grid.shape[2] - 2 * reach,)))
            terms = weights * around[:, :, index][..., index]
            return (terms * (20.0 * terms).softmax(1)).sum(1, keepdim=True)

        def eager() -> tuple[Tensor, Tensor]:
            parts = []  # image by image: a batch would hold gigabytes of neighbours
            for part, up in zip(values.detach().split(1), upstream.split(1), strict=True):
                one = part.requires_grad_()
                out = eager_one(one)
                parts.append((out.detach(), torch.autograd.grad(out, one, up)[0]))
            return torch.cat([out for out, _ in parts]), torch.cat([slope for _, slope in parts])

        def check(result: tuple[Tensor, Tensor]) -> float:
            one = values[:1].detach().double().requires_grad_()
            out = reference.smooth_maximum(one, (HEIGHT, WIDTH), _GRID, _SIGMA)
            (slopes,) = torch.autograd.grad(out, one, upstream[:1].double())
            largest = float(slopes.abs().max())
            return max(max_difference(result[0][:1], out), max_difference(result[1][:1], slopes) / largest)

        return Task(
            ours=ours,
            baselines=[
                Baseline(
                    "eager: unfold, weights, softmax", eager, 15.0 if setup.device == "cpu" else None, tolerance=2e-3,
                    note="one image after the other: a batch would hold gigabytes",
                )
            ],
            traffic=4 * images * (4 * (HEIGHT + 42) * (WIDTH + 42)),
            formula="images * 266 * 266 * 4 * (out and sums written, both and the gradient read)",
            check=check,
            tolerance=1e-4,
        )  # fmt: skip

    return prepare


def trivial(inputs: Tensor) -> Tensor:
    """A model that costs one read of the image: eight logits, each the mean of another band of rows."""
    return inputs.unflatten(2, (8, -1)).mean((1, 3, 4))


def whole(images: int, steps: float = 1.0) -> list[dict[str, Any]]:
    """CPU seconds per image of whole methods on the trivial model, all threads counted."""
    inputs = torch.randn(images, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    reference_images = torch.randn(20, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    many, fewer = (max(1, int(steps * count)) for count in (2000, 800))
    intrinsic = {"area": _AREA, "variation": _VARIATION, "reduction": "sum", "infills": 1, "steps": many}
    methods: dict[str, tuple[Any, float]] = {
        f"IntrinsicMask, {many} steps, 1 infill": (IntrinsicMask(trivial, reference_images, **intrinsic), 2.0),
        f"ExtremalPerturbation, 1 area, {fewer} steps": (ExtremalPerturbation(trivial, steps=fewer), 8.0),
    }
    rows = []
    for name, (method, aim) in methods.items():
        start, cpu = time.perf_counter(), time.process_time()
        method(inputs, 3)
        spent, used = time.perf_counter() - start, time.process_time() - cpu
        rows.append({"method": name, "images": images, "cpu_seconds_per_image": used / images, "wall_seconds": spent, "aim": aim})
    return rows


def main() -> None:
    """Times everything in processor time of one thread, which neighbours disturb less than a clock, and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mask_optimisation.json")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--images", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = []
    for case in cases(Setup()):
        task = case.prepare()
        (baseline,) = task.baselines
        error = task.check(task.ours())
        pair = paired(
            task.ours,
            baseline.run or task.ours,
            seconds=options.seconds,
            min_rounds=2,
            warmup=1,
            check=max_difference,
            tolerance=baseline.tolerance or 0.0,
            timer=Timer(clock=time.process_time),
        )
        row = {"op": case.op, "case": case.name, "baseline": baseline.name, "target": baseline.target, "max_error": error}
        row |= {"ratio": pair.ratio, "ratio_low": pair.low, "ratio_high": pair.high, "rounds": pair.rounds}
        row |= {"ours_cpu_ms": pair.a_seconds * 1e3, "baseline_cpu_ms": pair.b_seconds * 1e3}
        result.append(row)
        print(row, flush=True)
    complete = whole(options.images)
    print(complete)
    write_json(options.out, {"threads": 1, "time": "processor time", "rows": result, "whole": complete})


if __name__ == "__main__":
    main()
