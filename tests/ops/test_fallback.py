"""What runs on devices without a kernel of ours has the signature and the results of the kernels."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from saliency_ext.ops import native
from tests.backends import close
from tests.ops.all_contracts import CONTRACTS
from tests.ops.contract import OpContract


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
                    # Both round in float32, also where a sum is float64: small values may be differences of the largest ones.
                    scale = max(1.0, float(b[b.isfinite()].abs().amax())) if b.isfinite().any() else 1.0
                    close(a / scale, b / scale, what, torch.float32)
                else:
                    assert torch.equal(a, b), what


def flat(result: Any, arguments: tuple[Any, ...]) -> list[torch.Tensor]:
    """The results, and the arguments as they are after the call."""
    results = result if isinstance(result, tuple) else (result,)
    return [value for value in (*results, *arguments) if isinstance(value, torch.Tensor)]
