"""`topk_mask` against torch.topk, a full sort, and numpy's argpartition."""

import numpy as np
import torch
from torch import Tensor

from saliency_ext import ops, reference

from .bench_rank import sorted_ranks
from .common import PIXELS, Baseline, Case, Setup, Task, compiled, host_only, max_difference


def _topk_scatter(saliency: Tensor, k: int) -> Tensor:
    index = saliency.flatten(1).topk(k, dim=1, sorted=False).indices
    mask = torch.zeros(saliency.shape, dtype=torch.bool, device=saliency.device)
    mask.flatten(1).scatter_(1, index, True)
    return mask[None]


def _kth_value(saliency: Tensor, k: int) -> Tensor:
    flat = saliency.flatten(1)
    threshold = flat.kthvalue(flat.shape[1] - k + 1, dim=1).values
    return (saliency >= threshold.view(-1, 1, 1))[None]


def _argpartition(values: np.ndarray, k: int) -> np.ndarray:
    index = np.argpartition(values, values.shape[1] - k, axis=1)[:, -k:]
    mask = np.zeros(values.shape, bool)
    np.put_along_axis(mask, index, True, axis=1)
    return mask


def _all_steps(saliency: Tensor, counts: Tensor) -> Tensor:
    return sorted_ranks(saliency)[None] < counts.view(-1, 1, 1, 1)


def cases(setup: Setup) -> list[Case]:
    """One count (10 % of the pixels), and all counts of a curve of 20 steps."""
    images = setup.size(16, 256, 2)
    shape = f"({images}, 224, 224) float32"

    def one() -> Task:
        saliency, k = setup.distinct(images, 224, 224), PIXELS // 10
        values = saliency.cpu().numpy().reshape(images, -1)
        return Task(
            ours=lambda: ops.topk_mask(saliency, k),
            baselines=[
                Baseline("torch.topk + scatter", lambda: _topk_scatter(saliency, k), note="ties undefined; values are distinct"),
                compiled("torch.compile: topk + scatter", _topk_scatter, saliency, k, setup=setup),
                Baseline("torch.kthvalue + compare", lambda: _kth_value(saliency, k), note="wrong under ties"),
                Baseline("our rank + compare", lambda: (ops.rank(saliency) < k)[None]),
                host_only(
                    "numpy argpartition + scatter",
                    lambda: _argpartition(values, k).reshape(1, *saliency.shape),
                    setup,
                    note="one thread; ties undefined",
                ),
            ],
            traffic=saliency.numel() * 5,
            formula=f"maps * {PIXELS} * (4 read + 1 written)",
            check=lambda result: max_difference(result, reference.topk_mask(saliency, torch.tensor([k], device=setup.device))),
            tolerance=0.0,
        )

    def many() -> Task:
        saliency = setup.distinct(images, 224, 224)
        counts = torch.linspace(0, PIXELS, 20, device=setup.device).long()
        return Task(
            ours=lambda: ops.topk_mask(saliency, counts),
            baselines=[
                Baseline("torch.sort(stable) + scatter + compare", lambda: _all_steps(saliency, counts)),
                compiled("torch.compile: the same", _all_steps, saliency, counts, setup=setup),
                Baseline("our rank + compare", lambda: ops.rank(saliency)[None] < counts.view(-1, 1, 1, 1)),
            ],
            traffic=saliency.numel() * (4 + 20),
            formula=f"maps * {PIXELS} * (4 read + 20 written)",
            check=lambda result: max_difference(result, reference.topk_mask(saliency, counts)),
            tolerance=0.0,
        )

    return [
        Case("topk_mask", f"{shape}, k = 10 %", "distinct values, one count", one, main=True),
        Case("topk_mask", f"{shape}, 20 counts", "distinct values, counts 0 to 100 %", many),
    ]
