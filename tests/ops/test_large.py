"""More than 2^31 elements: sizes that 32-bit counts cannot hold."""

from __future__ import annotations

import os

import pytest
import torch

from saliency_ext.ops import blend_dense, blend_rank, total_variation_with_grad
from tests.backends import Backend, close, generator, same_bits

SIDE, STEPS = 4096, 65
IMAGES = 2


def need(gib: int) -> None:
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    if available < gib:
        pytest.skip(f"needs {gib} GiB of memory, {available} are free")


@pytest.mark.backends("cpu", "cuda")
def test_blend_rank(backend: Backend) -> None:
    """65 steps of 2 images of 2^24 pixels; the last images lie beyond element 2^31 of the output."""
    if backend.name == "cpu":
        need(8)
    shape = (IMAGES, 1, SIDE, SIDE)
    assert STEPS * IMAGES * SIDE * SIDE > 2**31
    inputs = torch.arange(IMAGES * SIDE * SIDE, device=backend.device).remainder_(1021).float().view(shape)
    ranks = torch.arange(SIDE * SIDE, dtype=torch.int32, device=backend.device).flip(0).view(1, SIDE, SIDE).repeat(IMAGES, 1, 1)
    counts = torch.arange(STEPS, device=backend.device) * 262_144
    out = blend_rank(inputs, -1.0, ranks, counts, dtype=torch.float16)
    for step in (0, 1, 63, 64):
        kept = ranks[-1] < counts[step]
        same_bits(out[step, -1, 0], torch.where(kept, inputs[-1, 0], -1.0).half(), f"step {step}")


def test_blend_dense(cuda: Backend) -> None:
    inputs = torch.arange(SIDE * SIDE, device=cuda.device).remainder_(1021).float().view(1, 1, SIDE, SIDE)
    mask = torch.linspace(0, 1, 130, device=cuda.device).view(-1, 1, 1).expand(-1, SIDE, SIDE)
    out = blend_dense(inputs, 2.0, mask, dtype=torch.bfloat16)
    assert out.numel() > 2**31
    for step in (0, 64, 129):
        weight = mask[step]
        same_bits(out[step, 0, 0], (weight * inputs[0, 0] + (1 - weight) * 2.0).bfloat16(), f"step {step}")


def test_total_variation(cuda: Backend) -> None:
    """One map of 2^31 + 2^17 pixels: rows 0 1 0 1 ..., so every difference along x is 1 and none along y."""
    height, width = 2**14 + 1, 2**17
    mask = torch.arange(width, device=cuda.device).remainder_(2).float().expand(1, 1, height, width).contiguous()
    sums, gradient = total_variation_with_grad(mask, torch.ones(1, 1, device=cuda.device))
    close(sums, torch.tensor([[float(height * (width - 1))]]))
    # Inside a row both neighbours pull the same way: 2 per pixel, 1 at the ends.
    last = gradient[0, 0, -1]
    assert last[0] == -1 and last[-1] == 1
    assert (last[1:-1].abs() == 2).all() and (last[1::2][:-1] == 2).all()


def test_many_small_maps(cuda: Backend) -> None:
    mask = torch.rand((2**17, 1, 4, 5), generator=generator()).cuda()
    sums, _ = total_variation_with_grad(mask, torch.ones(len(mask), 1, device="cuda"))
    same_bits(total_variation_with_grad(mask[-1:], torch.ones(1, 1, device="cuda"))[0], sums[-1:])
