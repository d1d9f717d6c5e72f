"""How many threads of a kernel a multiprocessor holds at a time, by the published rules of each architecture.

CUDA C++ Programming Guide, "Technical Specifications per Compute Capability"; registers are given to warps in pieces of 256,
shared memory to blocks in pieces of 128 bytes, from compute capability 8.0 on with 1 KiB more for the system.
"""

from __future__ import annotations

from dataclasses import dataclass

WARP = 32


@dataclass(frozen=True)
class Architecture:
    threads: int  # per multiprocessor
    blocks: int
    registers: int
    shared: int  # bytes
    shared_of_system: int  # bytes that each block takes besides its own


ARCHITECTURES = {
    "sm_75": Architecture(1024, 16, 65536, 64 << 10, 0),
    "sm_80": Architecture(2048, 32, 65536, 164 << 10, 1 << 10),
    "sm_86": Architecture(1536, 16, 65536, 100 << 10, 1 << 10),
    "sm_89": Architecture(1536, 24, 65536, 100 << 10, 1 << 10),
    "sm_90": Architecture(2048, 32, 65536, 228 << 10, 1 << 10),
    "sm_100": Architecture(2048, 32, 65536, 228 << 10, 1 << 10),
    "sm_120": Architecture(1536, 24, 65536, 100 << 10, 1 << 10),
}


def resident_blocks(architecture: str, threads: int, registers: int, shared: int) -> int:
    """Blocks of one kernel on a multiprocessor at a time; 0 if none fits.

    Args:
        threads: of a block. registers: of a thread. shared: bytes of a block.

    Example:
        >>> resident_blocks("sm_90", threads=256, registers=64, shared=0)
        4
    """
    rules = ARCHITECTURES[architecture]
    warps = -(-threads // WARP)
    of_warp = -(-registers * WARP // 256) * 256
    by_registers = rules.registers // (of_warp * warps)
    taken = -(-(shared + rules.shared_of_system) // 128) * 128
    by_shared = rules.shared // taken if taken else rules.blocks
    return min(rules.blocks, rules.threads // (warps * WARP), by_registers, by_shared)


def occupancy(architecture: str, threads: int, registers: int, shared: int) -> float:
    """Share of a multiprocessor's threads that such blocks fill, in [0, 1]."""
    blocks = resident_blocks(architecture, threads, registers, shared)
    return blocks * -(-threads // WARP) * WARP / ARCHITECTURES[architecture].threads
