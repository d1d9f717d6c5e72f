from __future__ import annotations

import torch
from torch import Tensor

from saliency_ext import reference
from saliency_ext.ops import blend_segments
from tests.backends import Backend, generator, same_bits
from tests.ops.cases import Arguments, Change, Fault, Shape
from tests.ops.renderer import RendererContract

SEGMENTS = 7


class TestBlendSegments(RendererContract):
    name = "blend_segments"
    native = ("blend_segments",)
    batched = ("inputs", "infill", "segments")
    per_step = ("coalitions",)

    def mask(self, shape: Shape, dtype: torch.dtype, rng: torch.Generator) -> Arguments:
        n, _, h, w = shape
        labels = torch.randint(-1, SEGMENTS, (n, h, w), generator=rng)
        return {"segments": labels, "coalitions": torch.rand((5, SEGMENTS), generator=rng) < 0.5}

    def weights(self, arguments: Arguments) -> Tensor:
        return reference.segment_weights(arguments["segments"], arguments["coalitions"])

    def mask_variants(self) -> dict[str, Change]:
        return {
            "int32": lambda given: {"segments": given["segments"].int()},
            "no_segment": lambda given: {
                "segments": torch.full_like(given["segments"], -1),
                "coalitions": torch.zeros(3, 0, dtype=torch.bool),
            },
            "many": lambda given: {"coalitions": torch.rand(2, 10**5, generator=generator("properties")) < 0.5},
        }

    def faults(self) -> dict[str, Fault]:
        def label(value: int) -> Arguments:
            return {"segments": torch.full((3, 6, 10), value)}

        return super().faults() | {
            "type": Fault(lambda a: {"segments": [0]}, TypeError, "segments to be a torch.Tensor, got list"),
            "dtype": Fault(
                lambda a: {"segments": a["segments"].float()}, TypeError, "segments of dtype int32 or int64, got float32"
            ),
            "shape": Fault(
                lambda a: {"segments": a["segments"][0]}, ValueError, "segments of shape (N, H, W) = (3, 6, 10), got (6, 10)"
            ),
            "device": Fault(
                lambda a: {"segments": a["segments"].to("meta")}, ValueError, "segments on the device of inputs (cpu)"
            ),
            "low": Fault(lambda a: label(-2), ValueError, "segments in [-1, 6], got -2"),
            "high": Fault(lambda a: label(SEGMENTS), ValueError, "segments in [-1, 6], got 7"),
            "wraps": Fault(lambda a: label(2**32), ValueError, f"segments in [-1, 6], got {2**32}"),
            "bits_type": Fault(lambda a: {"coalitions": None}, TypeError, "coalitions to be a torch.Tensor, got NoneType"),
            "bits_dtype": Fault(
                lambda a: {"coalitions": torch.ones(2, 7).int()}, TypeError, "coalitions of dtype bool, got int32"
            ),
            "bits_ndim": Fault(
                lambda a: {"coalitions": torch.ones(7).bool()}, ValueError, "coalitions of shape (S, K) or (N, S, K), got"
            ),
            "bits_images": Fault(
                lambda a: {"coalitions": torch.ones(2, 4, 7).bool()}, ValueError, "(N, S, K) with N = 3, got (2, 4, 7)"
            ),
            "bits_device": Fault(
                lambda a: {"coalitions": a["coalitions"].to("meta")}, ValueError, "coalitions on the device of inputs"
            ),
        }


def test_example(backend: Backend) -> None:
    # Labels 0 1 1 -1. Coalition {0}: pixel 0 stays, pixels 1 and 2 are infill; the unlabelled pixel stays in any coalition.
    inputs = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]], device=backend.device)
    labels = torch.tensor([[[0, 1, 1, -1]]], device=backend.device)
    coalitions = torch.tensor([[True, False], [False, True], [False, False]], device=backend.device)
    out = blend_segments(inputs, 9.0, labels, coalitions)
    assert out.flatten(1).tolist() == [[1, 9, 9, 4], [9, 2, 3, 4], [9, 9, 9, 4]]


def test_opposite_coalitions_are_complementary(backend: Backend) -> None:
    rng = generator("properties")
    inputs, infill = torch.randn(2, 2, 3, 6, 10, generator=rng).to(backend.device)
    labels = torch.randint(0, SEGMENTS, (2, 6, 10), generator=rng).to(backend.device)
    coalitions = (torch.rand(4, SEGMENTS, generator=rng) < 0.5).to(backend.device)
    same_bits(blend_segments(inputs, infill, labels, coalitions), blend_segments(infill, inputs, labels, ~coalitions))
