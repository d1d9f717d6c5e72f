"""What runs on devices without a kernel of ours has the signature and the results of the kernels."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from saliency_ext.ops import native
from tests.backends import close
from tests.ops.all_contracts import CONTRACTS
from tests.ops.contract import OpContract

# Small results are differences of large terms, which both sides round to float32 in another order.
SUMS = {"total_variation", "total_variation_with_grad", "smooth_maximum"}


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_equals_the_kernel(contract: type[OpContract]) -> None:
    tests = contract()
    for what, arguments in tests.cases((2, 3, 5, 6), torch.float32):
        for op, given in tests.record(arguments):
            by_kernel, by_reference = (
                tuple(v.detach().clone() if isinstance(v, torch.Tensor) else v for v in given) for _ in range(2)
            )
            expected = op(*by_kernel)
            actual = native._definitions[op._schema.name.split("::")[1]].reference(*by_reference)
            for a, b in zip(flat(actual, by_reference), flat(expected, by_kernel), strict=True):
                assert (a.shape, a.dtype) == (b.shape, b.dtype), what
                assert a.stride() == b.stride() or a.numel() == 0, what
                if a.is_floating_point():
                    scale = largest(b) if contract.name in SUMS else 1.0
                    close(a / scale, b / scale, what, torch.float32)  # what was given, also where a sum of it is float64
                else:
                    assert torch.equal(a, b), what


def largest(values: torch.Tensor) -> float:
    """Largest absolute value that is a number, at least 1."""
    numbers = values[values.isfinite()].abs()
    return max(1.0, float(numbers.amax())) if numbers.numel() else 1.0


def flat(result: Any, arguments: tuple[Any, ...]) -> list[torch.Tensor]:
    """The results, and the arguments as they are after the call."""
    results = result if isinstance(result, tuple) else (result,)
    return [value for value in (*results, *arguments) if isinstance(value, torch.Tensor)]
