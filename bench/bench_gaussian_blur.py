"""`gaussian_blur` against convolutions: the full 2-D kernel, two 1-D kernels, kornia and scipy."""

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from saliency_ext import ops, reference

from .common import PIXELS, Baseline, Case, Setup, Task, compiled, host_only, max_difference, missing, optional_import

_TOLERANCE = 3e-6  # float32 sums of up to 481 products, values in [0, 1]


def _kernel(sigma: float, like: Tensor) -> Tensor:
    radius = int(4 * sigma + 0.5)
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma) ** 2)
    return (weights / weights.sum()).to(like)


def full_convolution(inputs: Tensor, kernel: Tensor) -> Tensor:
    """Reflection padding and one depthwise convolution with the 2-D kernel."""
    radius, channels = kernel.shape[0] // 2, inputs.shape[1]
    padded = torch.nn.functional.pad(inputs, (radius,) * 4, mode="reflect")
    weight = (kernel[:, None] * kernel).expand(channels, 1, -1, -1)
    return torch.nn.functional.conv2d(padded, weight, groups=channels)


def separable_convolution(inputs: Tensor, kernel: Tensor) -> Tensor:
    """Reflection padding and two depthwise convolutions."""
    radius, channels = kernel.shape[0] // 2, inputs.shape[1]
    padded = torch.nn.functional.pad(inputs, (radius,) * 4, mode="reflect")
    across = torch.nn.functional.conv2d(padded, kernel.view(1, 1, 1, -1).expand(channels, -1, -1, -1), groups=channels)
    return torch.nn.functional.conv2d(across, kernel.view(1, 1, -1, 1).expand(channels, -1, -1, -1), groups=channels)


def cases(setup: Setup) -> list[Case]:
    """Sigma 2 to 60 for a batch, border reflect; a matrix that is not cached; cost of sigma 60 and of sigma 2."""
    images = setup.size(16, 256, 2)
    shape = f"({images}, 3, 224, 224) float32"
    cached = "border reflect; matrices cached (every call but the first)"
    result = [
        Case("gaussian_blur", f"{shape}, sigma {sigma:g}", cached, _prepare(setup, images, sigma), main=sigma == 10)
        for sigma in (2.0, 10.0, 30.0, 60.0)
    ]
    fresh = "border reflect; another sigma in each call: the matrices are built anew"
    result.append(Case("gaussian_blur", f"{shape}, sigma 10, first call", fresh, _first_call(setup, images)))
    for sigma, other in ((60.0, 2.0), (2.0, 60.0)):
        name = f"{shape}, time at sigma {other:g} over time at sigma {sigma:g}"
        result.append(Case("gaussian_blur", name, "both sides ours", _same_cost(setup, images, sigma, other)))
    return result


def _photographs(setup: Setup, images: int) -> Tensor:
    return torch.sigmoid(setup.normal(images, 3, 224, 224))


def _task(images: int, ours: Callable[[], Tensor], baselines: list[Baseline], check: Callable[[Tensor], float]) -> Task:
    elements = images * 3 * PIXELS
    return Task(
        ours=ours,
        baselines=baselines,
        traffic=elements * 16,
        formula=f"images * 3 * {PIXELS} * (4 read + 4 written), twice; bound by 2 * 2 * 224 operations per value",
        check=check,
        tolerance=_TOLERANCE,
        ceiling="gemm",
        flops=elements * 2 * 2 * 224,
    )


def _prepare(setup: Setup, images: int, sigma: float) -> Callable[[], Task]:
    def prepare() -> Task:
        inputs = _photographs(setup, images)
        kernel = _kernel(sigma, inputs)
        target = 15.0 if sigma == 10 else None
        too_large = "the kernel is wider than torch's reflection padding allows"
        slow = "left out to keep the run short: 241 x 241 weights, 9 times the work of sigma 10"
        if sigma > 55:
            baselines = [Baseline(f"conv2d, {kind}", None, skipped=too_large) for kind in ("2-D kernel", "separable")]
        else:
            full = Baseline("conv2d, 2-D kernel", lambda: full_convolution(inputs, kernel), target, tolerance=1e-5)
            if sigma > 10:
                full = Baseline("conv2d, 2-D kernel", None, skipped=slow)
            baselines = [
                full,
                Baseline("conv2d, separable", lambda: separable_convolution(inputs, kernel), tolerance=_TOLERANCE),
                compiled(
                    "torch.compile: conv2d, separable",
                    separable_convolution,
                    inputs,
                    kernel,
                    setup=setup,
                    tolerance=_TOLERANCE,
                ),
                _kornia(inputs, sigma),
            ]
        baselines.append(_scipy(inputs, sigma, setup))
        return _task(
            images,
            lambda: ops.gaussian_blur(inputs, sigma),
            baselines,
            lambda result: max_difference(result, reference.gaussian_blur(inputs, sigma)),
        )

    return prepare


def _kornia(inputs: Tensor, sigma: float) -> Baseline:
    name = "kornia gaussian_blur2d"
    kornia, error = optional_import("kornia.filters")
    if error is not None:
        return missing(name, "kornia", error)
    size = 2 * int(4 * sigma + 0.5) + 1
    return Baseline(
        name,
        lambda: kornia.gaussian_blur2d(inputs, (size, size), (sigma, sigma), "reflect", separable=True),
        tolerance=_TOLERANCE,
    )


def _scipy(inputs: Tensor, sigma: float, setup: Setup) -> Baseline:
    name = "scipy gaussian_filter"
    scipy, error = optional_import("scipy.ndimage")
    if error is not None:
        return missing(name, "scipy", error)
    values, out = inputs.cpu().numpy(), np.empty(inputs.shape, np.float32)

    def run() -> np.ndarray:
        scipy.gaussian_filter(values, (0, 0, sigma, sigma), output=out, mode="mirror")
        return out

    return host_only(name, run, setup, tolerance=_TOLERANCE, note="one thread; writes to an output that exists")


def _first_call(setup: Setup, images: int) -> Callable[[], Task]:
    def prepare() -> Task:
        inputs = _photographs(setup, images)
        kernel = _kernel(10.0, inputs)
        fresh = itertools.count(1)
        return _task(
            images,
            lambda: ops.gaussian_blur(inputs, 10.0 + 1e-9 * next(fresh)),
            [Baseline("conv2d, separable", lambda: separable_convolution(inputs, kernel), tolerance=_TOLERANCE)],
            lambda result: max_difference(result, reference.gaussian_blur(inputs, 10.0)),
        )

    return prepare


def _same_cost(setup: Setup, images: int, sigma: float, other: float) -> Callable[[], Task]:
    def prepare() -> Task:
        inputs = _photographs(setup, images)
        return _task(
            images,
            lambda: ops.gaussian_blur(inputs, sigma),
            [
                Baseline(
                    f"ours at sigma {other:g}",
                    lambda: ops.gaussian_blur(inputs, other),
                    1 / 1.5,
                    tolerance=None,
                    note="equal cost is 1; the target is a factor of 1.5 at most",
                )
            ],
            lambda result: max_difference(result, reference.gaussian_blur(inputs, sigma)),
        )

    return prepare
