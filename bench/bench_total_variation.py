"""`total_variation` against eager torch, torch.compile and kornia."""

from collections.abc import Callable

import torch
from torch import Tensor

from saliency_ext import ops, reference

from .common import PIXELS, Baseline, Case, Setup, Task, compiled, max_difference, missing, optional_import

_RULES = {"anisotropic": (1.0, 0.0), "isotropic": (1.0, 1e-6), "squared": (1.0, 0.0)}


def anisotropic(mask: Tensor) -> Tensor:
    """Sum |dx| + |dy|."""
    return mask.diff(dim=3).abs().sum((2, 3)) + mask.diff(dim=2).abs().sum((2, 3))


def isotropic(mask: Tensor) -> Tensor:
    """Sum sqrt(dx^2 + dy^2 + 1e-6), differences across the border being 0."""
    dx = torch.nn.functional.pad(mask.diff(dim=3), (0, 1))
    dy = torch.nn.functional.pad(mask.diff(dim=2), (0, 0, 0, 1))
    return (dx.square() + dy.square() + 1e-6).sqrt().sum((2, 3))


def squared(mask: Tensor) -> Tensor:
    """Sum dx^2 + dy^2."""
    return mask.diff(dim=3).square().sum((2, 3)) + mask.diff(dim=2).square().sum((2, 3))


EAGER: dict[str, Callable[[Tensor], Tensor]] = {"anisotropic": anisotropic, "isotropic": isotropic, "squared": squared}


def cases(setup: Setup) -> list[Case]:
    """Forward + backward for each kind; forward alone; the fused form with a known weight; one channel."""
    images = setup.size(16, 1024, 2)
    result = [
        Case(
            "total_variation",
            f"({images}, 3, 224, 224) float32, {kind}, forward + backward",
            "autograd on both sides",
            _prepare(setup, (images, 3), kind, "backward"),
            main=kind == "anisotropic",
        )
        for kind in EAGER
    ]
    for channels, mode, text in (
        (3, "fused", "with a known weight: value and gradient in one pass"),
        (1, "backward", "forward + backward"),
        (1, "fused", "with a known weight: value and gradient in one pass"),
        (3, "forward", "forward only"),
    ):
        name = f"({images}, {channels}, 224, 224) float32, anisotropic, {text}"
        regime = {"fused": "total_variation_with_grad against autograd", "backward": "autograd", "forward": "no gradient"}[mode]
        result.append(Case("total_variation", name, regime, _prepare(setup, (images, channels), "anisotropic", mode)))
    return result


def _prepare(setup: Setup, shape: tuple[int, int], kind: str, mode: str) -> Callable[[], Task]:
    def prepare() -> Task:
        mask, weight = setup.normal(*shape, 224, 224), setup.normal(*shape, seed=1)
        mask.requires_grad_(mode != "forward")
        beta, eps = _RULES[kind]
        eager = EAGER[kind]

        def with_gradient(sums: Tensor) -> tuple[Tensor, Tensor]:
            return sums, torch.autograd.grad(sums, mask, weight)[0]

        def finish(sums: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            return sums if mode == "forward" else with_gradient(sums)

        def ours() -> Tensor | tuple[Tensor, Tensor]:
            if mode == "fused":
                return ops.total_variation_with_grad(mask.detach(), weight, kind=kind, beta=beta, eps=eps)
            return finish(ops.total_variation(mask, kind=kind, beta=beta, eps=eps))

        def check(result: Tensor | tuple[Tensor, Tensor]) -> float:
            exact = mask.detach().double().requires_grad_()
            sums = reference.total_variation(exact, kind, beta, eps)
            largest = float(sums.detach().abs().max())
            if isinstance(result, Tensor):
                return max_difference(result, sums) / largest
            (gradient,) = torch.autograd.grad(sums, exact, weight.double())
            relative = max_difference(result[0], sums) / largest
            return max(relative, max_difference(result[1], gradient))

        tolerance = 1.0  # sums near 1e5 in float32, added in another order; our own error is judged by `check`
        targets = (15.0, 4.0) if mode != "forward" and setup.device == "cpu" else (None, None)
        elements = mask.numel()
        passes = {"forward": 4, "backward": 12, "fused": 8}[mode]
        copy = torch.empty_like(mask, requires_grad=False)
        baselines = [
            Baseline("eager", lambda: finish(eager(mask)), targets[0], tolerance=tolerance),
            compiled("torch.compile: eager", eager, mask, setup=setup, then=finish, target=targets[1], tolerance=tolerance),
            *_kornia(mask, finish, kind, tolerance),
            Baseline(
                "floor: copy_ of the mask",
                lambda: copy.copy_(mask.detach()),
                0.8 if setup.device == "cuda" and mode == "fused" else None,
                tolerance=None,
                note="not the same work: one read and one write",
            ),
        ]
        text = {"forward": "4 read", "backward": "4 read + 4 read again + 4 written", "fused": "4 read + 4 written"}[mode]
        return Task(
            ours=ours,
            baselines=baselines,
            traffic=elements * passes,
            formula=f"maps * {PIXELS} * ({text})",
            check=check,
            tolerance=1e-5,
        )

    return prepare


def _kornia(mask: Tensor, finish: Callable[[Tensor], object], kind: str, tolerance: float) -> list[Baseline]:
    """kornia sums over channels too, so it is the same function for one channel only."""
    if kind != "anisotropic" or mask.shape[1] != 1:
        return []
    kornia, error = optional_import("kornia.losses")
    if error is not None:
        return [missing("kornia total_variation", "kornia", error)]
    return [
        Baseline(
            "kornia total_variation(reduction='sum')",
            lambda: finish(kornia.total_variation(mask, reduction="sum").view(-1, 1)),
            tolerance=tolerance,
            note="sums over channels too: the same function for one channel",
        )
    ]
