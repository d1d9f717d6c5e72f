"""A compact contract run for a sanitizer: every op and variant at awkward sizes, through a library built by simulated_ops.

    python -m tests.native.sanitized_ops LIBRARY [--few]

--few is for ThreadSanitizer, under which the emulation is twenty times slower: one shape and dtype, few variants, and no odd
addresses.
"""

from __future__ import annotations

import ctypes
import sys

import torch

from saliency_ext.ops import native
from tests.native import simulated_ops
from tests.ops.all_contracts import CONTRACTS
from tests.ops.cases import Arguments, Shape, copied, laid_out
from tests.ops.contract import DifferentiableContract, OpContract

SHAPES: list[Shape] = [(2, 3, 3, 11), (1, 1, 1, 1), (0, 3, 4, 5)]
FEW: list[Shape] = [(2, 1, 2, 9)]


def run(contract: OpContract, arguments: Arguments) -> None:
    if isinstance(contract, DifferentiableContract):
        contract.record(arguments)  # forward and backward
    else:
        contract.call(**arguments)


def main(path: str, few: bool) -> None:
    library = simulated_ops.load_library(path)
    torch.set_num_threads(1)
    library.sim_set_workers(2)
    calls = 0
    with native.using(simulated_ops.NAMESPACE):
        for contract_class in CONTRACTS:
            contract = contract_class()
            if not contract.native:
                continue
            for seed, shape in enumerate(FEW if few else SHAPES):
                library.sim_set_seed(ctypes.c_uint64(seed))
                for dtype in contract.dtypes[: 1 if few else 2]:
                    for _, arguments in contract.cases(shape, dtype, few):
                        run(contract, copied(arguments))
                        calls += 1
                        if not few:  # odd addresses: what a kernel takes for aligned is not
                            run(contract, {name: laid_out(value, "offset") for name, value in arguments.items()})
                            calls += 1
    assert library.sim_launch_count() > 0
    print(f"{calls} calls, {library.sim_launch_count()} launches")


if __name__ == "__main__":
    main(sys.argv[1], "--few" in sys.argv)
