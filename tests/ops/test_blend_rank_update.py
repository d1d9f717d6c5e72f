from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from saliency_ext import reference
from saliency_ext.ops import blend_rank, blend_rank_
from tests.backends import Backend, generator, same_bits
from tests.ops.cases import Arguments, Change, Fault, Shape
from tests.ops.contract import OpContract


class TestBlendRankUpdate(OpContract):
    name = "blend_rank_"
    native = ("blend_rank_update",)
    dtypes = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
    batched = ("canvas", "source", "ranks")
    changed = ("canvas",)
    few = ("plain", "per_image")

    def arguments(self, shape: Shape, dtype: torch.dtype, rng: torch.Generator) -> Arguments:
        n, _, h, w = shape
        canvas, source = (torch.randn(shape, generator=rng).to(dtype) for _ in range(2))
        ranks = reference.rank(torch.randn((n, h, w), generator=rng))
        lo, hi = (torch.tensor([share * h * w // 8]) for share in (2, 5))
        return {"canvas": canvas, "source": source, "ranks": ranks, "lo": lo, "hi": hi}

    def variants(self, dtype: torch.dtype) -> dict[str, Change]:
        def bounds(given: Arguments) -> tuple[int, int]:
            n, pixels = len(given["ranks"]), given["ranks"].shape[1] * given["ranks"].shape[2]
            return n, pixels

        def per_image(given: Arguments) -> Arguments:
            n, pixels = bounds(given)
            lo = torch.arange(n) * pixels // (2 * max(n, 1))
            return {"lo": lo, "hi": (lo + pixels // 3).clamp(max=pixels)}

        return {
            "per_image": per_image,
            "mixed": lambda given: {"lo": torch.tensor(0)} | {"hi": per_image(given)["hi"]},
            "all": lambda given: {"lo": torch.zeros(1).long(), "hi": torch.tensor([bounds(given)[1]])},
            "nothing": lambda given: {"lo": given["hi"]},
            "int32": lambda given: {"lo": given["lo"].int(), "hi": given["hi"].int()},
        }

    def row(self, arguments: Arguments, n: int) -> Arguments:
        alone = super().row(arguments, n)
        return alone | {k: arguments[k][n : n + 1] for k in ("lo", "hi") if arguments[k].ndim and len(arguments[k]) > 1}

    def reference(self, **arguments: Any) -> tuple[Tensor, ...]:
        ranks = arguments["ranks"]
        lo, hi = (arguments[name].reshape(-1, 1, 1) for name in ("lo", "hi"))
        return (torch.where(((ranks >= lo) & (ranks < hi))[:, None], arguments["source"], arguments["canvas"]),)

    def faults(self) -> dict[str, Fault]:
        leaf = torch.zeros(3, 3, 6, 10, requires_grad=True)
        return {
            "canvas_type": Fault(lambda a: {"canvas": 1.0}, TypeError, "canvas to be a torch.Tensor, got float"),
            "canvas_dtype": Fault(
                lambda a: {"canvas": a["canvas"].int()},
                TypeError,
                "canvas of dtype float32 or float64 or bfloat16 or float16, got int32",
            ),
            "canvas_3d": Fault(
                lambda a: {"canvas": a["canvas"][0]}, ValueError, "canvas of shape (N, C, H, W), got (3, 6, 10); add"
            ),
            "canvas_expanded": Fault(
                lambda a: {"canvas": a["canvas"][:1].expand(3, -1, -1, -1)},
                ValueError,
                "canvas not to overlap itself, got strides (0,",
            ),
            "canvas_windows": Fault(
                lambda a: {"canvas": torch.zeros(600).as_strided((3, 3, 6, 10), (180, 60, 5, 1))},
                ValueError,
                "canvas not to overlap",
            ),
            "canvas_grad": Fault(
                lambda a: {"canvas": leaf}, RuntimeError, "canvas and source that need no gradient, got requires_grad"
            ),
            "source_grad": Fault(lambda a: {"source": leaf}, RuntimeError, "call it under torch.no_grad()"),
            "source_type": Fault(lambda a: {"source": 0.0}, TypeError, "source to be a torch.Tensor, got float"),
            "source_dtype": Fault(lambda a: {"source": a["source"].half()}, TypeError, "source of dtype float32, got float16"),
            "source_shape": Fault(
                lambda a: {"source": a["source"][:, :1]}, ValueError, "source of shape (N, C, H, W) = (3, 3, 6, 10)"
            ),
            "source_device": Fault(
                lambda a: {"source": a["source"].to("meta")}, ValueError, "source on the device of canvas (cpu)"
            ),
            "source_over_canvas": Fault(
                lambda a: {"source": a["canvas"].flatten().view(a["canvas"].shape)},
                ValueError,
                "canvas not to share memory with source, got overlapping memory; clone one",
            ),
            "ranks_over_canvas": Fault(
                lambda a: {"ranks": a["canvas"].view(torch.int32)[:, 0]},
                ValueError,
                "canvas not to share memory with ranks, got overlapping memory; clone one",
            ),
            "hi_over_canvas": Fault(
                lambda a: {"hi": a["canvas"].zero_().flatten()[:2].view(torch.int64), "lo": 0},
                ValueError,
                "canvas not to share memory with hi, got overlapping memory; clone one",
            ),
            "ranks_dtype": Fault(
                lambda a: {"ranks": a["ranks"].long()}, TypeError, "ranks of dtype int32, got int64; make them with"
            ),
            "ranks_shape": Fault(
                lambda a: {"ranks": a["ranks"][:2]}, ValueError, "ranks of shape (N, H, W) = (3, 6, 10), got (2, 6, 10)"
            ),
            "ranks_device": Fault(lambda a: {"ranks": a["ranks"].to("meta")}, ValueError, "ranks on the device of"),
            "lo_low": Fault(lambda a: {"lo": -1}, ValueError, "lo in [0, 60], got -1"),
            "hi_high": Fault(lambda a: {"hi": [5, 61, 7]}, ValueError, "hi in [0, 60], got 61"),
            "lo_count": Fault(lambda a: {"lo": [1, 2]}, ValueError, "lo one count or N = 3 of them, got (2,)"),
            "lo_2d": Fault(lambda a: {"lo": [[1], [2], [3]]}, ValueError, "lo of shape () or (N,), got (3, 1)"),
            "hi_float": Fault(lambda a: {"hi": 0.5}, TypeError, "hi to be a sequence of ints or an integer tensor, got float"),
            "hi_bool": Fault(lambda a: {"hi": True}, TypeError, "got bool; counts are numbers of pixels"),
            "order": Fault(lambda a: {"lo": 9, "hi": 8}, ValueError, "lo and hi lo <= hi, got lo = [9], hi = [8]"),
            "order_of_one": Fault(
                lambda a: {"lo": [1, 9, 3], "hi": 8}, ValueError, "lo <= hi, got lo = [1, 9, 3], hi = [8, 8, 8]"
            ),
        }


def test_example(backend: Backend) -> None:
    # Ranks 2 0 1: [0, 2) are the middle and the right pixel. They become the source's; the left one is not touched.
    canvas = torch.tensor([[[[1.0, 2.0, 3.0]]]], device=backend.device)
    ranks = torch.tensor([[[2, 0, 1]]], dtype=torch.int32, device=backend.device)
    result = blend_rank_(canvas, torch.tensor([[[[10.0, 20.0, 30.0]]]], device=backend.device), ranks, 0, 2)
    assert result is canvas
    assert canvas.flatten().tolist() == [1.0, 20.0, 30.0]


@pytest.mark.parametrize("keep", ["head", "tail"])
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
def test_walking_the_counts_is_blend_rank(backend: Backend, keep: str, last: bool) -> None:
    rng = generator("properties")
    inputs, infill = torch.randn(2, 2, 3, 9, 21, generator=rng).to(backend.device)
    ranks = reference.rank(torch.randn(2, 9, 21, generator=rng)).to(backend.device)
    counts = [0, 1, 17, 18, 100, 188, 189]
    steps = blend_rank(inputs, infill, ranks, counts, keep=keep)
    start, goal = (infill, inputs) if keep == "head" else (inputs, infill)  # insertion shows the image, deletion hides it
    canvas = start.clone(memory_format=torch.channels_last if last else torch.contiguous_format)
    same_bits(canvas, steps[0])
    for s in range(1, len(counts)):
        blend_rank_(canvas, goal, ranks, counts[s - 1], counts[s])
        same_bits(canvas, steps[s], f"step {s}")


def test_only_the_canvas_is_written(backend: Backend) -> None:
    """A canvas that is a slice: what lies between its pixels stays."""
    wide = torch.full((2, 3, 8, 9), 7.0, device=backend.device)
    ranks = torch.arange(12, dtype=torch.int32, device=backend.device).view(1, 4, 3).expand(2, 4, 3)
    blend_rank_(wide[:, 1:2, ::2, ::3], torch.zeros(2, 1, 4, 3, device=backend.device), ranks, 0, 12)
    written = torch.zeros(2, 3, 8, 9, dtype=torch.bool)
    written[:, 1:2, ::2, ::3] = True
    assert torch.equal((wide == 0).cpu(), written)


def test_special_values_keep_their_bits(backend: Backend) -> None:
    source = torch.tensor([0x7FC01234, -0x80000000, 1, 0x7F800001], dtype=torch.int32, device=backend.device).view(torch.float32)
    canvas = torch.zeros(1, 1, 1, 4, device=backend.device)
    ranks = torch.arange(4, dtype=torch.int32, device=backend.device).view(1, 1, 4)
    same_bits(blend_rank_(canvas, source.view(1, 1, 1, 4), ranks, 0, 4).flatten(), source)
