"""Keyed noise against torch's generators: ours depends on what it belongs to, theirs on what was drawn before."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from saliency_ext import ops, reference

from .common import PIXELS, Baseline, Case, Setup, Task, compiled, host_only, max_difference

_OTHER = "other values: the same distribution, but they depend on batch and order"


def cases(setup: Setup) -> list[Case]:
    """Normal and uniform noise for a batch of photographs."""
    images = setup.size(16, 256, 2)
    return [
        Case("noise", f"normal, ({images}, 3, 224, 224)", "a new output in each call", _prepare(setup, images, True), main=True),
        Case("noise", f"uniform, ({images}, 3, 224, 224)", "a new output in each call", _prepare(setup, images, False)),
    ]


def _prepare(setup: Setup, images: int, normal: bool) -> Callable[[], Task]:
    def prepare() -> Task:
        shape, ids = (3, 224, 224), torch.arange(images, device=setup.device)
        ours = ops.philox_normal if normal else ops.philox_uniform
        expected = reference.philox_normal if normal else reference.philox_uniform
        draw = torch.randn if normal else torch.rand
        generator, host = torch.Generator(setup.device), np.random.default_rng(0)

        def per_image() -> Tensor:
            return torch.stack(
                [draw(shape, generator=generator.manual_seed(seed), device=setup.device) for seed in range(images)]
            )

        def batch() -> Tensor:
            return draw((images, *shape), device=setup.device)

        def from_numpy() -> np.ndarray:
            size = (images, *shape)
            return host.standard_normal(size, np.float32) if normal else host.random(size, np.float32)

        name = "torch.randn" if normal else "torch.rand"
        numpy_name = "numpy Generator.standard_normal" if normal else "numpy Generator.random"
        keyed = "seeded per image: does not depend on the batch, as ours; other values; costs a seeding per image"
        return Task(
            ours=lambda: ours(shape, ids, seed=0),
            baselines=[
                Baseline(name, batch, tolerance=None, note=_OTHER),
                Baseline(f"{name}, a generator seeded per image", per_image, tolerance=None, note=keyed),
                compiled(f"torch.compile: {name}", batch, setup=setup, tolerance=None, note=_OTHER),
                host_only(numpy_name, from_numpy, setup, tolerance=None, note=_OTHER + "; one thread"),
            ],
            traffic=images * 3 * PIXELS * 4,
            formula=f"images * 3 * {PIXELS} * 4 written",
            check=lambda result: max_difference(result, expected(ids, *shape, seed=0, stream=0)),
            # Near u = 1 the float32 u of our Box-Muller rounds by 2^-25, so a radius near 0 is off by up to 2^-12; else 1e-6.
            tolerance=2.0**-12 if normal else 0.0,
            ceiling="write",
        )

    return prepare
