from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from saliency_ext import reference
from saliency_ext.ops import rank, topk_mask
from tests.backends import Backend, generator, same_bits
from tests.ops.cases import USUAL, Arguments, Change, Fault, Shape
from tests.ops.contract import OpContract


def tied(shape: tuple[int, ...], dtype: torch.dtype, rng: torch.Generator) -> Tensor:
    """Half of the pixels have one of eight values, so that runs of ties have many lengths."""
    coarse = torch.randint(-4, 4, shape, generator=rng).to(dtype) / 4
    return torch.where(torch.rand(shape, generator=rng) < 0.5, coarse, torch.randn(shape, generator=rng).to(dtype))


def special_values(dtype: torch.dtype) -> Tensor:
    """In descending order; the two zeros tie."""
    info = torch.finfo(dtype)
    least = info.smallest_normal * info.eps  # the smallest subnormal
    up = [float("inf"), info.max, 1.0, info.smallest_normal, info.smallest_normal / 2, least]
    return torch.tensor([*up, 0.0, -0.0, *(-value for value in reversed(up))], dtype=dtype)


class SaliencyContract(OpContract):
    """What `rank` and `topk_mask` share."""

    few = ("plain", "random")
    batched = ("saliency", "sample_ids")

    def saliency(self, shape: Shape, dtype: torch.dtype, rng: torch.Generator) -> Arguments:
        n, _, h, w = shape
        return {"saliency": tied((n, h, w), dtype, rng)}

    def variants(self, dtype: torch.dtype) -> dict[str, Change]:
        def ids(given: Arguments) -> Tensor:
            return 2**47 - 1 - 77 * torch.arange(given["saliency"].shape[0])

        def special(given: Arguments) -> Arguments:
            drawn = torch.randint(0, 14, given["saliency"].shape, generator=generator("properties"))
            return {"saliency": special_values(dtype)[drawn]}

        def with_nan(given: Arguments) -> Arguments:
            holes = torch.rand(given["saliency"].shape, generator=generator("properties")) < 0.2
            sign = torch.where(holes.cumsum(-1) % 2 == 0, 1.0, -1.0).to(dtype)
            return {"saliency": torch.where(holes, sign * float("nan"), given["saliency"]), "nan": "last"}

        def constant(given: Arguments) -> Arguments:
            return {"saliency": torch.full_like(given["saliency"], -2.5), "ties": "random", "seed": 3, "sample_ids": ids(given)}

        return {
            "random": lambda given: {"ties": "random", "seed": 2**63 - 1, "sample_ids": ids(given)},
            "constant": constant,
            "special": special,
            "nan": with_nan,
        }

    def capture_safe(self, arguments: Arguments) -> Arguments:
        return arguments | {"nan": "last"}

    def faults(self) -> dict[str, Fault]:
        def nan_in_two(arguments: Arguments) -> Arguments:
            saliency = arguments["saliency"].clone()
            saliency[0, 3, 2] = saliency[2, 0, 0] = float("nan")
            return {"saliency": saliency}

        ids = {"ties": "random"}
        return {
            "type": Fault(
                lambda a: {"saliency": [[[0.5]]]}, TypeError, "saliency to be a torch.Tensor, got list; convert it with"
            ),
            "dtype": Fault(
                lambda a: {"saliency": a["saliency"].int()},
                TypeError,
                "saliency of dtype float32 or float64 or float16 or bfloat16, got int32",
            ),
            "channels": Fault(
                lambda a: {"saliency": torch.zeros(USUAL)},
                ValueError,
                "saliency of shape (N, H, W), got (3, 3, 6, 10); reduce the",
            ),
            "no_batch": Fault(
                lambda a: {"saliency": a["saliency"][0]}, ValueError, "(N, H, W), got (6, 10); add the batch dimension"
            ),
            "nan": Fault(
                nan_in_two, ValueError, "saliency without NaN, got NaN in map(s) [0, 2]; repair them, or pass nan='last'"
            ),
            "nan_choice": Fault(lambda a: {"nan": "first"}, ValueError, "nan to be one of 'raise', 'last', got 'first'"),
            "ties": Fault(lambda a: {"ties": "fair"}, ValueError, "ties to be one of 'index', 'random', got 'fair'"),
            "seed_low": Fault(lambda a: {"seed": -1}, ValueError, f"seed in [0, {2**63 - 1}], got -1"),
            "seed_high": Fault(lambda a: {"seed": 2**63}, ValueError, f"seed in [0, {2**63 - 1}], got {2**63}"),
            "seed_bool": Fault(lambda a: {"seed": True}, TypeError, "seed to be an int, got bool"),
            "seed_float": Fault(lambda a: {"seed": 1.0}, TypeError, "seed to be an int, got float"),
            "ids_type": Fault(lambda a: ids | {"sample_ids": [0, 1, 2]}, TypeError, "sample_ids to be a torch.Tensor, got list"),
            "ids_dtype": Fault(
                lambda a: ids | {"sample_ids": torch.arange(3).int()}, TypeError, "sample_ids of dtype int64, got int32"
            ),
            "ids_count": Fault(
                lambda a: ids | {"sample_ids": torch.arange(2)}, ValueError, "sample_ids of shape (N,) = (3,), got (2,)"
            ),
            "ids_2d": Fault(
                lambda a: ids | {"sample_ids": torch.zeros(3, 1).long()}, ValueError, "sample_ids of shape (N,), got (3, 1)"
            ),
            "ids_low": Fault(
                lambda a: ids | {"sample_ids": torch.tensor([0, -1, 2])}, ValueError, f"sample_ids in [0, {2**48 - 1}], got -1"
            ),
            "ids_high": Fault(lambda a: ids | {"sample_ids": torch.tensor([0, 2**48, 2])}, ValueError, f", got {2**48}"),
            "ids_device": Fault(
                lambda a: ids | {"sample_ids": torch.arange(3, device="meta")},
                ValueError,
                "sample_ids on the device of saliency (cpu)",
            ),
        }


class TestRank(SaliencyContract):
    name = "rank"
    native = ("rank",)

    def arguments(self, shape: Shape, dtype: torch.dtype, rng: torch.Generator) -> Arguments:
        return self.saliency(shape, dtype, rng)

    def reference(self, **arguments: Any) -> tuple[Tensor, ...]:
        ids = arguments.get("sample_ids") if arguments.get("ties") == "random" else None
        return (reference.rank(arguments["saliency"].double(), ids, arguments.get("seed", 0)),)


def ranks_of(values: list[float], backend: Backend, dtype: torch.dtype = torch.float32, **options: Any) -> list[int]:
    return rank(torch.tensor([[values]], dtype=dtype, device=backend.device), **options)[0, 0].tolist()


def test_example(backend: Backend) -> None:
    # Descending: 2.0 (place 1), then the two 0.5 by index (places 0, 2), then -0 and +0 equal, by index (3, 5), then -1 (4).
    assert ranks_of([0.5, 2.0, 0.5, -0.0, -1.0, 0.0], backend) == [1, 0, 2, 3, 5, 4]


def test_nan_comes_last_whatever_its_sign(backend: Backend) -> None:
    nan, inf = float("nan"), float("inf")
    assert ranks_of([nan, inf, -nan, 0.0, -inf], backend, nan="last") == [3, 0, 4, 1, 2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_special_values_are_in_order(backend: Backend, dtype: torch.dtype) -> None:
    ordered = special_values(dtype)
    shuffle = torch.randperm(14, generator=generator())
    ranks = rank(ordered[shuffle].view(1, 2, 7).to(backend.device)).flatten().cpu()
    expected = shuffle.to(torch.int32)
    zeros = (shuffle == 6) | (shuffle == 7)
    expected[zeros] = torch.tensor([6, 7], dtype=torch.int32)  # a tie: by index
    assert ranks.tolist() == expected.tolist()


def test_a_random_tie_is_a_permutation_of_its_own(backend: Backend) -> None:
    flat = torch.zeros(4, 9, 11, device=backend.device)

    def draw(ids: list[int], seed: int = 0) -> Tensor:
        return rank(flat[: len(ids)], ties="random", seed=seed, sample_ids=torch.tensor(ids, device=backend.device))

    ranks = draw([5, 6, 7, 2**48 - 1])
    assert (ranks.flatten(1).sort(1).values.cpu() == torch.arange(99)).all()
    assert len({tuple(row.flatten().tolist()) for row in [*ranks, *draw([5, 6, 7, 8], seed=1)]}) == 8  # all different
    assert ranks[0].flatten().tolist() != list(range(99))
    same_bits(draw([7, 5]), ranks[[2, 0]])  # in another batch, in another order
    same_bits(draw([6]), ranks[1:2])
    same_bits(rank(flat, ties="random"), draw([0, 1, 2, 3]))  # the default ids


def test_random_ties_do_not_move_untied_pixels(backend: Backend) -> None:
    saliency = torch.randperm(60, generator=generator()).view(1, 6, 10).float().to(backend.device)
    same_bits(rank(saliency, ties="random", seed=9), rank(saliency))


def test_random_ties_have_no_preferred_place() -> None:
    """Mean rank of every pixel of a constant map over 600 maps: (HW - 1) / 2, standard error HW / sqrt(12 * 600)."""
    ranks = rank(torch.zeros(600, 2, 8), ties="random", seed=2).double().flatten(1)
    assert ((ranks.mean(0) - 7.5).abs() < 4.5 * 16 / (12 * 600) ** 0.5).all()


@given(
    values=st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=40),
    scale=st.floats(0.015625, 64.0, width=16, exclude_min=True),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_properties(values: list[float], scale: float) -> None:
    saliency = torch.tensor(values, dtype=torch.float64).view(1, 1, -1)
    ranks = rank(saliency)
    assert sorted(ranks.flatten().tolist()) == list(range(len(values)))
    assert ranks.flatten().tolist() == [
        sum(other > value or (other == value and j < i) for j, other in enumerate(values)) for i, value in enumerate(values)
    ]
    # Strictly increasing transforms that are exact in float64: a power of two, and an odd step upwards.
    for increasing in (saliency * 2.0 ** round(scale), torch.where(saliency < 0, saliency * 2, saliency * 4)):
        same_bits(rank(increasing), ranks)
    if len(set(values)) == len(values):
        same_bits(rank(-saliency), len(values) - 1 - ranks)


@pytest.mark.parametrize("narrow", [torch.float16, torch.bfloat16], ids=str)
def test_narrow_floats_are_widened(backend: Backend, narrow: torch.dtype) -> None:
    saliency = tied((2, 6, 10), narrow, generator()).to(backend.device)
    same_bits(rank(saliency), rank(saliency.double()))
    same_bits(topk_mask(saliency, 17), topk_mask(saliency.double(), 17))


def test_gradient_is_not_tracked(backend: Backend) -> None:
    saliency = torch.randn(1, 2, 3, requires_grad=True)
    assert not rank(saliency.to(backend.device)).requires_grad
