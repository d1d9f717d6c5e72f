from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import saliency_ext
from saliency_ext import reference
from saliency_ext.ops import philox_normal, philox_uniform
from tests.backends import Backend, same_bits
from tests.ops.cases import Arguments, Change, Fault, Shape
from tests.ops.contract import OpContract


class NoiseContract(OpContract):
    native = ("noise",)
    dtypes = (torch.float32,)
    batched = ("sample_ids",)

    def arguments(self, shape: Shape, dtype: torch.dtype, rng: torch.Generator) -> Arguments:
        ids = torch.randint(0, 2**48, shape[:1], generator=rng)
        return {"shape": shape[1:], "sample_ids": ids, "seed": 2**40 + 17}

    def variants(self, dtype: torch.dtype) -> dict[str, Change]:
        return {"stream": lambda given: {"stream": 2**31 - 1, "seed": 0}, "largest_seed": lambda given: {"seed": 2**63 - 1}}

    def reference(self, **arguments: Any) -> tuple[Tensor, ...]:
        shape = arguments.pop("shape")
        return (getattr(reference, self.name)(arguments.pop("sample_ids"), *shape, **{"stream": 0} | arguments),)

    def faults(self) -> dict[str, Fault]:
        return {
            "shape_2d": Fault(
                lambda a: {"shape": (3, 4)}, ValueError, "shape (C, H, W) with C in [0, 65535] and H, W >= 0, got (3, 4)"
            ),
            "shape_negative": Fault(lambda a: {"shape": (3, -1, 4)}, ValueError, "H, W >= 0, got (3, -1, 4)"),
            "shape_channels": Fault(lambda a: {"shape": (65536, 1, 1)}, ValueError, "got (65536, 1, 1)"),
            "shape_int": Fault(lambda a: {"shape": 3}, TypeError, "shape to be three ints, got int"),
            "shape_float": Fault(lambda a: {"shape": (3.0, 4, 4)}, TypeError, "shape to be three ints, got"),
            "ids_list": Fault(lambda a: {"sample_ids": [1]}, TypeError, "sample_ids to be a torch.Tensor, got list"),
            "ids_dtype": Fault(lambda a: {"sample_ids": torch.zeros(1)}, TypeError, "sample_ids of dtype int64, got float32"),
            "ids_2d": Fault(
                lambda a: {"sample_ids": torch.zeros(1, 1).long()}, ValueError, "sample_ids of shape (N,), got (1, 1)"
            ),
            "ids_low": Fault(lambda a: {"sample_ids": torch.tensor([-1])}, ValueError, f"sample_ids in [0, {2**48 - 1}], got -1"),
            "ids_high": Fault(lambda a: {"sample_ids": torch.tensor([2**48])}, ValueError, f"got {2**48}"),
            "seed": Fault(lambda a: {"seed": -5}, ValueError, "seed in [0, 9223372036854775807], got -5"),
            "seed_float": Fault(lambda a: {"seed": 0.5}, TypeError, "seed to be an int, got float"),
            "stream": Fault(lambda a: {"stream": 2**31}, ValueError, "stream in [0, 2147483647], got 2147483648"),
            "stream_bool": Fault(lambda a: {"stream": True}, TypeError, "stream to be an int, got bool"),
        }


class TestPhiloxUniform(NoiseContract):
    name = "philox_uniform"


class TestPhiloxNormal(NoiseContract):
    name = "philox_normal"

    def compare(self, actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], what: str) -> None:
        """The docstring's bound; the reference is exact arithmetic, so the table's relative bound does not fit small values."""
        torch.testing.assert_close(actual[0].cpu(), expected[0], rtol=5e-7, atol=1e-6, msg=lambda text: f"{what}: {text}")


def draw(name: str, backend: Backend, ids: list[int], shape: tuple[int, int, int], **options: Any) -> Tensor:
    return getattr(saliency_ext.ops, name)(shape, torch.tensor(ids, device=backend.device), **options)


def test_example(backend: Backend) -> None:
    # Counter 0, key 0 of Philox 4x32-10 is 6627e8d5 e169c58d bc57ac4c 9b00dbd8 [Salmon 2011, Random123's kat_vectors]:
    # pixels 0..3 of stream 0, sample 0, channel 0, seed 0; a uniform is the upper 24 bits over 2^24.
    words = [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert draw("philox_uniform", backend, [0], (1, 2, 2), seed=0).flatten().tolist() == [(w >> 8) / 2**24 for w in words]
    # Normals, pairwise: r = sqrt(-2 ln((w0 + 1) / 2^32)), angle = 2 pi (w1 >> 8) / 2^24.
    expected = []
    for first, second in (words[:2], words[2:]):
        radius, angle = math.sqrt(-2 * math.log((first + 1) / 2**32)), 2 * math.pi * (second >> 8) / 2**24
        expected += [radius * math.cos(angle), radius * math.sin(angle)]
    assert draw("philox_normal", backend, [0], (1, 2, 2), seed=0).flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_reference_gives_the_first_published_words() -> None:
    """The other two vectors have counters that no image reaches: tests/native/common_headers.cpp checks them."""
    words = reference.philox_words(torch.tensor([0]), 1, 2, 2, seed=0, stream=0)
    assert words.flatten().tolist() == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


def test_every_part_of_the_key_matters(backend: Backend) -> None:
    base = {"ids": [3], "shape": (1, 4, 4), "seed": 1, "stream": 0}
    others = [
        base,
        base | {"ids": [4]},
        base | {"ids": [3 + 2**32]},
        base | {"seed": 2},
        base | {"seed": 1 + 2**32},
        base | {"stream": 1},
    ]
    values = {tuple(draw("philox_uniform", backend, **key).flatten().tolist()) for key in others}
    assert len(values) == len(others)
    two = draw("philox_uniform", backend, [3], (2, 4, 4), seed=1)
    assert not torch.equal(two[:, 0], two[:, 1])
    same_bits(two[:, :1], draw("philox_uniform", backend, **base))  # more channels change nothing


@pytest.mark.parametrize("name", ["philox_uniform", "philox_normal"])
def test_independent_of_the_batch(backend: Backend, name: str) -> None:
    together = draw(name, backend, [9, 2, 9, 2**47], (3, 5, 5), seed=8)
    same_bits(draw(name, backend, [2**47, 2], (3, 5, 5), seed=8), together[[3, 1]])
    same_bits(together[0], together[2])


def test_uniform_distribution(backend: Backend) -> None:
    values = draw("philox_uniform", backend, list(range(4)), (1, 50, 500), seed=3).flatten().double().cpu()
    assert values.min() >= 0 and values.max() < 1
    assert kolmogorov(values, lambda x: x) < 1.63  # the 1% point; the draw is fixed


def test_normal_distribution(backend: Backend) -> None:
    values = draw("philox_normal", backend, list(range(4)), (1, 50, 500), seed=3).flatten().double().cpu()
    assert abs(values.mean()) < 3 / math.sqrt(len(values))
    assert abs(values.std() - 1) < 3 / math.sqrt(2 * len(values))
    assert kolmogorov(values, lambda x: 0.5 * (1 + torch.erf(x / math.sqrt(2)))) < 1.63
    pairs = values.view(-1, 2)
    assert abs((pairs[:, 0] * pairs[:, 1]).mean()) < 3 / math.sqrt(len(pairs))  # the two of a Box-Muller pair


def kolmogorov(values: Tensor, distribution: Any) -> float:
    """sqrt(n) times the largest distance between the empirical and the given distribution function."""
    n = len(values)
    expected = distribution(values.sort().values)
    steps = torch.arange(n + 1).double() / n
    return math.sqrt(n) * float(torch.maximum((steps[1:] - expected).max(), (expected - steps[:-1]).max()))


def test_generator_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    philox_normal((1, 3, 3), torch.arange(2), seed=0)
    philox_uniform((1, 3, 3), torch.arange(2), seed=0)
    assert torch.equal(torch.get_rng_state(), before)
