from __future__ import annotations

import pytest
import torch
from torch import Tensor

from saliency_ext import reference
from saliency_ext.ops import blend_rank
from tests.backends import Backend, generator, same_bits
from tests.ops.cases import Arguments, Change, Fault, Shape
from tests.ops.renderer import RendererContract


class TestBlendRank(RendererContract):
    name = "blend_rank"
    native = ("blend_rank",)
    batched = ("inputs", "infill", "ranks")
    per_step = ("counts",)

    def mask(self, shape: Shape, dtype: torch.dtype, rng: torch.Generator) -> Arguments:
        n, _, h, w = shape
        pixels = h * w
        ranks = reference.rank(torch.randn((n, h, w), generator=rng))
        return {"ranks": ranks, "counts": torch.tensor([pixels // 3, 0, pixels, max(pixels - 1, 0), pixels // 2])}

    def weights(self, arguments: Arguments) -> Tensor:
        counts = torch.as_tensor(arguments["counts"])
        return reference.rank_weights(arguments["ranks"], counts, arguments.get("keep", "head") == "head")

    def mask_variants(self) -> dict[str, Change]:
        return {
            "tail": lambda given: {"keep": "tail"},
            "int32": lambda given: {"counts": given["counts"].int()},
            "many_steps": lambda given: {"counts": given["counts"].repeat(14)},  # more than a thread of the CUDA kernel keeps
        }

    def faults(self) -> dict[str, Fault]:
        return super().faults() | {
            "keep": Fault(lambda a: {"keep": "most"}, ValueError, "keep to be one of 'head', 'tail', got 'most'"),
            "ranks_type": Fault(lambda a: {"ranks": None}, TypeError, "ranks to be a torch.Tensor, got NoneType"),
            "ranks_dtype": Fault(
                lambda a: {"ranks": a["ranks"].long()},
                TypeError,
                "ranks of dtype int32, got int64; make them with saliency_ext.ops.rank",
            ),
            "ranks_shape": Fault(
                lambda a: {"ranks": a["ranks"][:, None]}, ValueError, "ranks of shape (N, H, W) = (3, 6, 10), got (3, 1, 6, 10)"
            ),
            "ranks_device": Fault(
                lambda a: {"ranks": a["ranks"].to("meta")}, ValueError, "ranks on the device of inputs (cpu), got meta"
            ),
            "counts_low": Fault(lambda a: {"counts": [3, -1]}, ValueError, "counts in [0, 60], got -1"),
            "counts_high": Fault(lambda a: {"counts": torch.tensor([61])}, ValueError, "counts in [0, 60], got 61"),
            "counts_bool": Fault(
                lambda a: {"counts": [True]}, TypeError, "got bool; counts are numbers of pixels; round fractions"
            ),
            "counts_fractions": Fault(
                lambda a: {"counts": [0.1, 0.5]}, TypeError, "got float32; counts are numbers of pixels; round"
            ),
            "counts_int": Fault(
                lambda a: {"counts": 7}, TypeError, "counts to be a sequence of ints or an integer tensor, got int"
            ),
            "counts_ndim": Fault(
                lambda a: {"counts": torch.ones(1, 1, 1).long()}, ValueError, "counts of shape (S,) or (N, S), got"
            ),
            "counts_images": Fault(lambda a: {"counts": [[1], [2]]}, ValueError, "counts of shape (N, S) = (3, 1), got (2, 1)"),
        }


def show(backend: Backend, keep: str, counts: list[int]) -> list[float]:
    inputs = torch.tensor([[[[1.0, 2.0, 3.0]]]], device=backend.device)
    infill = torch.tensor([[[[10.0, 20.0, 30.0]]]], device=backend.device)
    ranks = torch.tensor([[[2, 0, 1]]], dtype=torch.int32, device=backend.device)
    return blend_rank(inputs, infill, ranks, counts, keep=keep).flatten(1).tolist()


def test_example(backend: Backend) -> None:
    # The most relevant pixel is the middle one (rank 0), then the right one, then the left one.
    # head (insertion): at count 1 only the middle pixel is the image's, at count 2 the right one too.
    assert show(backend, "head", [0, 1, 2, 3]) == [[10, 20, 30], [10, 2, 30], [10, 2, 3], [1, 2, 3]]
    # tail (deletion): at count 1 the middle pixel is gone, at count 2 the right one too.
    assert show(backend, "tail", [0, 1, 2, 3]) == [[1, 2, 3], [1, 20, 3], [1, 20, 30], [10, 20, 30]]


def test_example_with_statistics(backend: Backend) -> None:
    # Channel 0: (3 - 1) / 2 = 1 and (7 - 1) / 2 = 3; channel 1: (3 - 2) / 4 = 0.25 and (7 - 2) / 4 = 1.25. Counts per image.
    inputs = torch.full((2, 2, 1, 1), 3.0, device=backend.device)
    ranks = torch.zeros(2, 1, 1, dtype=torch.int32, device=backend.device)
    out = blend_rank(inputs, 7.0, ranks, [[0, 1], [1, 0]], mean=[1.0, 2.0], std=[2.0, 4.0])
    assert out.flatten(2).tolist() == [[[3.0, 1.25], [1.0, 0.25]], [[1.0, 0.25], [3.0, 1.25]]]


@pytest.mark.parametrize("count", [0, 1, 29, 59, 60])
def test_head_and_tail_are_complementary(backend: Backend, count: int) -> None:
    rng = generator("properties")
    inputs, infill = torch.randn(2, 2, 3, 6, 10, generator=rng).to(backend.device)
    ranks = reference.rank(torch.randn(2, 6, 10, generator=rng)).to(backend.device)
    head = blend_rank(inputs, infill, ranks, [count], keep="head")
    same_bits(blend_rank(infill, inputs, ranks, [count], keep="tail"), head)
    if 0 < count < 60:
        assert not torch.equal(blend_rank(inputs, infill, ranks, [count], keep="tail"), head)
    kept = (head == inputs).all(2).sum((2, 3))
    assert (kept == count).all()
