"""`blend_rank_` against the in-place updates of the published deletion code, in numpy, and the same in torch."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from saliency_ext import ops

from .common import PIXELS, Baseline, Case, Setup, Task, host_only, max_difference


def cases(setup: Setup) -> list[Case]:
    """Steps of 224 pixels (as published) and of 5 %, for a batch and for one image; times are per step."""
    images = setup.size(16, 256, 2)
    result = []
    for count, share in ((images, "a batch"), (1, "one image")):
        for pixels, every in ((224, 8), (PIXELS // 20, 1)):
            name = f"({count}, 3, 224, 224) float32, steps of {pixels} pixels"
            regime = f"{share}; order known beforehand; " + ("every 8th of 224 steps" if every > 1 else "all 20 steps")
            main = count > 1 and every == 1
            result.append(Case("blend_rank_", name, regime, _prepare(setup, count, pixels, every), main))
    return result


def _prepare(setup: Setup, images: int, pixels: int, every: int) -> Callable[[], Task]:
    def prepare() -> Task:
        source = setup.normal(images, 3, 224, 224, seed=1)
        start = setup.normal(images, 3, 224, 224, seed=2)
        ours, theirs, thirds = start.clone(), start.clone(), start.clone()
        ranks = ops.rank(setup.normal(images, 224, 224, seed=3))
        order = ranks.flatten(1).long().argsort(1)
        bounds = [(lo, min(lo + pixels, PIXELS)) for lo in range(0, PIXELS - pixels // 2, pixels)][::every]
        host_source = source.cpu().numpy().reshape(images, 3, PIXELS)
        host_canvas = start.cpu().numpy().copy()
        flat = host_canvas.reshape(images, 3, PIXELS)
        host_order, rows = order.cpu().numpy(), np.arange(images).reshape(images, 1)

        def numpy_walk() -> np.ndarray:
            for lo, hi in bounds:
                coordinates = host_order[:, lo:hi]
                flat[rows, :, coordinates] = host_source[rows, :, coordinates]
            return host_canvas

        def scatter_walk() -> Tensor:
            for lo, hi in bounds:
                index = order[:, None, lo:hi].expand(-1, 3, -1)
                theirs.flatten(2).scatter_(2, index, source.flatten(2).gather(2, index))
            return theirs

        def where_walk() -> Tensor:
            for lo, hi in bounds:
                torch.where(((ranks >= lo) & (ranks < hi))[:, None], source, thirds, out=thirds)
            return thirds

        def our_walk() -> Tensor:
            for lo, hi in bounds:
                ops.blend_rank_(ours, source, ranks, lo, hi)
            return ours

        def check(result: Tensor) -> float:
            changed = torch.zeros(ranks.shape, dtype=torch.bool, device=ranks.device)
            for lo, hi in bounds:
                changed |= (ranks >= lo) & (ranks < hi)
            return max_difference(result, torch.where(changed[:, None], source, start))

        name = "numpy fancy-index update"
        return Task(
            ours=our_walk,
            baselines=[
                host_only(name, numpy_walk, setup, target=1.0, note="as published; needs the order, ours the ranks; one thread"),
                Baseline("torch gather + scatter_", scatter_walk, note="needs the order, ours the ranks"),
                Baseline("torch.where(out=)", where_walk),
            ],
            traffic=images * (PIXELS * 4 + pixels * 3 * 4 * 2),
            formula=f"per step: images * ({PIXELS} * 4 ranks + {pixels} * 3 * (4 read + 4 written))",
            check=check,
            tolerance=0.0,
            calls=len(bounds),
        )

    return prepare
