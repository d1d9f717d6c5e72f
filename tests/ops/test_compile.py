"""Several ops in one graph, down to generated code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from saliency_ext.ops import blend_rank, philox_uniform, rank, total_variation
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
