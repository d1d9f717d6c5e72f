"""Where an op runs in the tests, with which seeds, and how close two results must be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from saliency_ext.ops import native
from tests.native import simulated_ops

# Relative and absolute tolerance where a result is computed, not chosen. The one table: a looser one needs a sentence.
TOLERANCE = {
    torch.float64: (1e-12, 1e-12),
    torch.float32: (1e-5, 1e-6),
    torch.bfloat16: (2**-7, 1e-5),
    torch.float16: (2**-10, 1e-5),
}

SEEDS = {"data": 20240229, "layout": 7, "rows": 11, "properties": 5}


@dataclass(frozen=True)
class Backend:
    """cpu: the CPU kernels. sim: the CUDA kernels under the host emulation, on CPU tensors. cuda: on the accelerator."""

    name: str
    device: torch.device
    namespace: str

    @contextmanager
    def active(self) -> Iterator[None]:
        """Functional calls go to this backend."""
        if self.name == "sim":
            simulated_ops.schedule(0)
        with native.using(self.namespace):
            yield


BACKENDS = {
    "cpu": Backend("cpu", torch.device("cpu"), "saliency_ext"),
    "sim": Backend("sim", torch.device("cpu"), simulated_ops.NAMESPACE),
    "cuda": Backend("cuda", torch.device("cuda"), "saliency_ext"),
}
NO_CUDA = "torch.cuda is not available: run on a GPU machine with --backend cuda"


def generator(name: str = "data") -> torch.Generator:
    """A fresh generator under a named seed."""
    return torch.Generator().manual_seed(SEEDS[name])


def same_bits(actual: Tensor, expected: Tensor, what: str = "") -> None:
    """Equal shape, dtype and bits (NaN equals the same NaN, -0 differs from +0)."""
    assert actual.shape == expected.shape, f"{what}: shape {tuple(actual.shape)} instead of {tuple(expected.shape)}"
    assert actual.dtype == expected.dtype, f"{what}: {actual.dtype} instead of {expected.dtype}"
    integer = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[actual.element_size()]
    a, b = (tensor.detach().cpu().contiguous().view(integer) for tensor in (actual, expected))
    different = a != b
    if different.any():
        at = tuple(different.nonzero()[0].tolist())
        count = int(different.sum())
        raise AssertionError(f"{what}: {count} of {a.numel()} values differ, first at {at}: {actual[at]} != {expected[at]}")


def close(actual: Tensor, expected: Tensor, what: str = "", dtype: torch.dtype | None = None) -> None:
    """Within the table's tolerance for the dtype."""
    rtol, atol = TOLERANCE[dtype or actual.dtype]
    wanted = expected.to(device=actual.device, dtype=actual.dtype)
    torch.testing.assert_close(actual, wanted, rtol=rtol, atol=atol, equal_nan=True, msg=lambda text: f"{what}: {text}")
