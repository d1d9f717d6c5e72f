"""Direct calls of every native op with hostile arguments: an error in words or a result, never a crash.

    python -m tests.native.fuzzed_ops LIBRARY CALLS [FIRST]

LIBRARY is built by simulated_ops. Call number n is drawn from n alone, so that FIRST = n and CALLS = 1 repeat it. One in eight
reaches the CUDA kernels, which the emulation runs slowly, the others the CPU kernels. A call starts from good arguments of the
op's contract and spoils some: contents of integer tensors and bytes of bools, numbers, shapes, strides. A kernel that leaves its
memory is seen by the sanitizer that the library is built with.
"""

from __future__ import annotations

import ctypes
import random
import sys
from collections import Counter
from typing import Any

import torch
from torch import Tensor

from saliency_ext.ops import native
from tests.native import simulated_ops
from tests.ops.all_contracts import CONTRACTS

Calls = dict[str, list[tuple[Any, ...]]]

SHAPE = (2, 3, 3, 7)
INTEGERS = (0, 1, -1, 2, 3, 7, 2**15, 2**31 - 1, -(2**31), 2**31, 2**32, 10**6, -(10**7), 2**62, 2**63 - 1, -(2**63))
# Sizes that a machine could hold are left to the tests of large tensors: what is asked here is whether the rest is refused.
NUMBERS = (0, 1, -1, 2, 3, 5, 64, 2**31 - 1, 2**31, 2**40, 2**61, 2**62, 2**63 - 1, -(2**63))
FLOATS = (0.0, 1.0, -1.0, 0.5, 1e-300, 1e300, -1e300, float("nan"), float("inf"), float("-inf"))


def good_calls() -> Calls:
    """Arguments of every op, as the contracts' variants give them; backward passes included."""
    calls: Calls = {}
    for contract_class in CONTRACTS:
        contract = contract_class()
        for dtype in contract.dtypes[:2]:
            for _, arguments in contract.cases(SHAPE, dtype):
                for op, given in contract.record(arguments):
                    calls.setdefault(op._schema.name.split("::")[1], []).append(given)
    calls["blend_dense_out"] = [
        (*given[:5], torch.empty(given[2].shape[-3], *given[0].shape, dtype=given[5])) for given in calls["blend_dense"]
    ]
    assert calls.keys() == set(native.op_names())
    return calls


def spoiled(value: Any, draw: random.Random) -> Any:
    """Another value of the same type, as a careless or hostile caller would give it."""
    if isinstance(value, bool) or value is None or isinstance(value, torch.dtype):
        return not value if isinstance(value, bool) else value
    if isinstance(value, int):
        return draw.choice(NUMBERS)
    if isinstance(value, float):
        return draw.choice(FLOATS)
    if not isinstance(value, Tensor):
        return value
    if draw.random() < 0.25:
        return reshaped(value, draw)
    result = value.detach().clone(memory_format=torch.contiguous_format)
    if result.numel() == 0:
        return result
    if result.dtype == torch.bool:
        return (result.to(torch.uint8) * draw.choice((2, 128, 255))).view(torch.bool)
    if draw.random() < 0.2:
        return result.copy_(hostile(result.dtype, draw))
    for _ in range(draw.choice((1, 3, 9))):
        result.view(-1)[draw.randrange(result.numel())] = hostile(result.dtype, draw)
    return result


def hostile(dtype: torch.dtype, draw: random.Random) -> Tensor:
    if dtype.is_floating_point:
        return torch.tensor(draw.choice(FLOATS), dtype=torch.float64).to(dtype)
    limits = torch.iinfo(dtype)
    return torch.tensor(min(max(draw.choice(INTEGERS), limits.min), limits.max), dtype=dtype)


def reshaped(value: Tensor, draw: random.Random) -> Tensor:
    """The values in another shape, with other strides, or of another type."""
    if value.ndim == 0:
        return value[None]
    dim = draw.randrange(value.ndim)
    kind = draw.randrange(7)
    if kind == 0:
        return value.detach().narrow(dim, 0, draw.randint(0, value.shape[dim]))
    if kind == 1:
        return value.detach().transpose(dim, draw.randrange(value.ndim))
    if kind == 2:
        return value.detach().narrow(dim, 0, min(1, value.shape[dim])).expand(value.shape)
    if kind == 3:
        return value.detach().unsqueeze(dim)
    if kind == 4:
        return value.detach().select(dim, 0) if value.shape[dim] > 0 else value
    if kind == 5:  # no element, and a size that none of the other checks has seen
        return value.new_empty([draw.choice((2**31, 2**40)) if at == dim and value.ndim > 1 else 0 for at in range(value.ndim)])
    return value.detach().to(draw.choice((torch.int32, torch.int64, torch.float32, torch.float64, torch.uint8, torch.float16)))


def run(library: ctypes.CDLL, calls: Calls, number: int) -> tuple[str, bool]:
    """Makes call `number`; its op, and whether it gave a result."""
    draw = random.Random(number)
    name = draw.choice(sorted(calls))
    good = draw.choice(calls[name])
    library.sim_set_device_kernels(number % 8 == 0)
    arguments = [value.detach().clone() if isinstance(value, Tensor) else value for value in good]
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(arguments))
        arguments[at] = spoiled(arguments[at], draw)
    with torch.no_grad():
        try:
            getattr(getattr(torch.ops, simulated_ops.NAMESPACE), name)(*arguments)
        except (RuntimeError, ValueError, TypeError, NotImplementedError, IndexError, OverflowError, MemoryError):
            return name, False
    return name, True


def main(path: str, count: int, first: int) -> None:
    library = simulated_ops.load_library(path)
    torch.set_num_threads(1)
    library.sim_set_workers(1)
    calls = good_calls()
    made, answered = Counter[str](), 0
    for number in range(first, first + count):
        sys.stderr.write(f"\rcall {number}")  # the last one before a crash
        name, result = run(library, calls, number)
        made[name] += 1
        answered += result
    print(f"\n{count} calls, {answered} answered, {count - answered} refused, of {len(made)} ops: {dict(sorted(made.items()))}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
