"""`rank` against two-step sorting in torch and numpy's argsort."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from saliency_ext import ops, reference

from .common import PIXELS, Baseline, Case, Setup, Task, compiled, host_only, max_difference


def sorted_ranks(saliency: Tensor) -> Tensor:
    """Stable sort, then the inverse permutation by scatter: the same ranks as ours."""
    order = torch.sort(saliency.flatten(1), dim=1, descending=True, stable=True).indices
    places = torch.arange(order.shape[1], dtype=torch.int32, device=order.device).expand(order.shape)
    return torch.empty(order.shape, dtype=torch.int32, device=order.device).scatter_(1, order, places).view(saliency.shape)


def double_argsort(saliency: Tensor) -> Tensor:
    """The one-liner: argsort of argsort."""
    order = torch.argsort(saliency.flatten(1), dim=1, descending=True, stable=True)
    return torch.argsort(order, dim=1).int().view(saliency.shape)


def _numpy_ranks(values: np.ndarray, kind: Literal["stable"] | None = None) -> np.ndarray:
    order = np.argsort(-values, axis=1, kind=kind)
    ranks = np.empty(order.shape, np.int32)
    np.put_along_axis(ranks, order, np.arange(order.shape[1], dtype=np.int32)[None], axis=1)
    return ranks


def cases(setup: Setup) -> list[Case]:
    """Maps of 224 x 224: distinct values, half zeros, one map, float64."""
    images = setup.size(16, 256, 2)
    shape = f"({images}, 224, 224)"

    def plain() -> Tensor:
        return setup.distinct(images, 224, 224)

    return [
        _case(
            setup,
            f"{shape} float32, distinct values",
            "normal quantiles in random order, ties by index, NaN refused",
            plain,
            main=True,
        ),
        _case(
            setup,
            f"{shape} float32, half of the map zero",
            "as a map after ReLU: long ties, by index",
            lambda: plain().relu(),
            ties=True,
        ),
        _case(setup, "(1, 224, 224) float32, distinct values", "one map: one CPU thread", lambda: setup.distinct(1, 224, 224)),
        _case(setup, f"{shape} float64, distinct values", "ties by index", lambda: plain().double(), targets=False),
    ]


def _case(
    setup: Setup,
    name: str,
    regime: str,
    make: Callable[[], Tensor],
    *,
    main: bool = False,
    ties: bool = False,
    targets: bool = True,
) -> Case:
    def prepare() -> Task:
        saliency: Tensor = make()
        values = saliency.cpu().numpy().reshape(saliency.shape[0], -1)
        pool = ThreadPoolExecutor(torch.get_num_threads())
        halves = np.array_split(values, torch.get_num_threads())
        same = None if ties else 0.0  # numpy's default sort is not stable
        unstable = "not stable: another order inside ties; " if ties else ""
        gpu, many = setup.device == "cuda", saliency.shape[0] > 1
        baselines = [
            Baseline("torch.sort(stable) + scatter", lambda: sorted_ranks(saliency), 10.0 if targets else None),
            Baseline("torch.argsort twice", lambda: double_argsort(saliency)),
            compiled("torch.compile: sort + scatter", sorted_ranks, saliency, setup=setup),
            host_only(
                "numpy argsort alone",
                lambda: np.argsort(values, axis=1),
                setup,
                target=1.0 if targets and not ties else None,
                tolerance=None,
                note="default kind, one thread, ascending order only: no ranks; " + unstable,
            ),
            host_only(
                "numpy argsort + inverse",
                lambda: _numpy_ranks(values).reshape(saliency.shape),
                setup,
                target=1.0 if targets and not ties else None,
                tolerance=same,
                note="default kind, one thread; " + unstable,
            ),
            host_only(
                "numpy argsort(stable) + inverse",
                lambda: _numpy_ranks(values, "stable").reshape(saliency.shape),
                setup,
                note="one thread",
            ),
        ]
        if many and not gpu:
            baselines.append(
                Baseline(
                    "numpy argsort + inverse, in threads",
                    lambda: np.concatenate(list(pool.map(_numpy_ranks, halves))).reshape(saliency.shape),
                    tolerance=same,
                    note="as many threads as torch uses; " + unstable,
                )
            )
        bytes_each = saliency.element_size() + 4
        return Task(
            ours=lambda: ops.rank(saliency),
            baselines=baselines,
            traffic=saliency.numel() * bytes_each,
            formula=f"maps * {PIXELS} * ({saliency.element_size()} read + 4 written)",
            check=lambda result: max_difference(result, reference.rank(saliency)),
            tolerance=0.0,
        )

    return Case("rank", name, regime, prepare, main)
