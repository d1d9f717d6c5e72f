"""Several ops in one graph, down to generated code."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from saliency_ext.ops import blend_rank, blend_rank_, linear_infill, philox_uniform, rank, smooth_maximum, total_variation
from tests.backends import Backend, close, generator, same_bits


def curve(saliency: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    ranks = rank(saliency, ties="random", seed=1)
    probes = blend_rank(image, 0.5, ranks, [0, 7, 20, 35], keep="tail", mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7])
    noise = philox_uniform((3, 5, 7), torch.arange(2, device=image.device), seed=3)
    return ranks, torch.relu(probes + noise) * 2


@pytest.mark.backends("cpu", "cuda")
def test_inductor(backend: Backend) -> None:
    torch._dynamo.reset()
    saliency = torch.randn(2, 5, 7, generator=generator()).to(backend.device)
    image = torch.randn(2, 3, 5, 7, generator=generator()).to(backend.device)
    compiled = torch.compile(curve, fullgraph=True)
    expected, actual = curve(saliency, image), compiled(saliency, image)
    same_bits(actual[0], expected[0])
    close(actual[1], expected[1])


@pytest.mark.backends("cpu", "cuda")
def test_one_graph_for_several_sizes(backend: Backend) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda mask: total_variation(mask * 2).sum(), backend="aot_eager", fullgraph=True, dynamic=True)
    for size in (3, 8, 17):
        mask = torch.randn(1, 2, size, size + 1, generator=generator()).to(backend.device)
        leaves = [mask.clone().requires_grad_() for _ in range(2)]
        total_variation(leaves[0] * 2).sum().backward()
        compiled(leaves[1]).backward()
        same_bits(leaves[1].grad, leaves[0].grad)


def updated(image: Tensor, ranks: Tensor, size: int) -> Tensor:
    return blend_rank_(image * 1, torch.zeros_like(image), ranks, size // 2, 2 * size)


def infilled(image: Tensor, ranks: Tensor, size: int) -> Tensor:
    return linear_infill(image, ranks[None] < 2 * size, noise_std=0.01)


def spread(image: Tensor, ranks: Tensor, size: int) -> Tensor:
    return smooth_maximum(image, (2 * image.shape[2], 2 * image.shape[3]), step=2, sigma=2.0)


@pytest.mark.backends("cpu", "cuda")
@pytest.mark.parametrize("function", [updated, infilled, spread])
@pytest.mark.parametrize("dynamic", [None, True], ids=["static first", "dynamic"])
def test_other_shapes_and_numbers(backend: Backend, function: Callable[..., Tensor], dynamic: bool | None) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for size in (4, 5, 7):
        image = torch.randn(2, 3, size, size + 1, generator=generator()).to(backend.device)
        ranks = rank(image[:, 0])
        close(compiled(image, ranks, size), function(image, ranks, size))
