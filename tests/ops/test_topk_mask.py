from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from saliency_ext import reference
from saliency_ext.ops import rank, topk_mask
from tests.backends import Backend, generator, same_bits
from tests.ops.cases import Arguments, Change, Fault, Shape
from tests.ops.test_rank import SaliencyContract


class TestTopkMask(SaliencyContract):
    name = "topk_mask"
    native = ("topk_mask",)
    batch_dim = 1

    def arguments(self, shape: Shape, dtype: torch.dtype, rng: torch.Generator) -> Arguments:
        pixels = shape[2] * shape[3]
        counts = torch.tensor([0, pixels // 2, pixels])
        return self.saliency(shape, dtype, rng) | {"k": counts}

    def variants(self, dtype: torch.dtype) -> dict[str, Change]:
        return super().variants(dtype) | {
            "int": lambda given: {"k": int(given["k"][-1]) // 3},
            "int32": lambda given: {"k": (given["k"] - 1).clamp(min=0).int()[1:]},
            "none": lambda given: {"k": []},
        }

    def capture_safe(self, arguments: Arguments) -> Arguments:
        k = arguments["k"]
        return super().capture_safe(arguments) | {"k": k if isinstance(k, Tensor) else torch.zeros(1).long().cuda()}

    def reference(self, **arguments: Any) -> tuple[Tensor, ...]:
        ids = arguments.get("sample_ids") if arguments.get("ties") == "random" else None
        counts = torch.as_tensor(arguments["k"]).reshape(-1).long()
        return (reference.topk_mask(arguments["saliency"].double(), counts, ids, arguments.get("seed", 0)),)

    def faults(self) -> dict[str, Fault]:
        return super().faults() | {
            "k_low": Fault(lambda a: {"k": -1}, ValueError, "k in [0, 60], got -1"),
            "k_high": Fault(lambda a: {"k": [0, 61]}, ValueError, "k in [0, 60], got 61"),
            "k_bool": Fault(lambda a: {"k": True}, TypeError, "got bool; counts are numbers of pixels"),
            "k_fraction": Fault(lambda a: {"k": [0.5]}, TypeError, "got float32; counts are numbers of pixels; round"),
            "k_float": Fault(lambda a: {"k": 0.5}, TypeError, "k to be a sequence of ints or an integer tensor, got float"),
            "k_text": Fault(lambda a: {"k": "5"}, TypeError, "k to be a sequence of ints or an integer tensor, got str"),
            "k_2d": Fault(lambda a: {"k": torch.ones(3, 2).long()}, ValueError, "k of shape (S,), got (3, 2)"),
        }


def test_example(backend: Backend) -> None:
    # Ranks of [0.5, 2, 0.5, -1] are [1, 0, 2, 3]: the first two places are pixels 1 and 0.
    saliency = torch.tensor([[[0.5, 2.0], [0.5, -1.0]]], device=backend.device)
    assert topk_mask(saliency, 2).tolist() == [[[[True, True], [False, False]]]]
    assert topk_mask(saliency, [1, 3])[:, 0].flatten(1).tolist() == [[False, True, False, False], [True, True, True, False]]


@pytest.mark.parametrize("values", ["constant", "eight", "signed_zeros", "untied"])
@pytest.mark.parametrize("ties", ["index", "random"])
def test_is_rank_below_k_for_every_k(backend: Backend, values: str, ties: str) -> None:
    shape, rng = (2, 5, 9), generator()
    saliency = {
        "constant": torch.full(shape, 3.5),
        "eight": torch.randint(0, 8, shape, generator=rng).float(),
        "signed_zeros": torch.where(torch.rand(shape, generator=rng) < 0.5, 0.0, -0.0),
        "untied": torch.randn(shape, generator=rng),
    }[values].to(backend.device)
    options = {"ties": ties, "seed": 4, "sample_ids": torch.tensor([3, 2**40], device=backend.device)}
    counts = torch.arange(46, device=backend.device)
    masks = topk_mask(saliency, counts, **options)
    same_bits(masks, rank(saliency, **options)[None] < counts.view(-1, 1, 1, 1))
    assert (masks.sum((2, 3)) == counts[:, None]).all()


def test_counts_on_the_accelerator_are_clamped(cuda: Backend) -> None:
    saliency = torch.randn(2, 3, 5, generator=generator()).cuda()
    masks = topk_mask(saliency, torch.tensor([-3, 99]).cuda())
    assert not masks[0].any() and masks[1].all()
