"""What each CUDA kernel asks of a device's memory, counted without a device: see profiler/profiler.h.

`python -m bench.gpu_counts` prints and records; test_counts.py holds the kernels to the record and to the limits below.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.native import toolchain
from tests.native.toolchain import PROFILER, ROOT

SIDE, CHANNELS = 224, 3
PIXELS = SIDE * SIDE
RECORD = Path(__file__).parent / "counts.json"


@dataclass(frozen=True)
class Limits:
    """What the counts of a case may be at most, and the blocks at least."""

    sectors: float  # against ideal
    memory: float  # bytes to and from memory against compulsory bytes, or against those of its passes
    blocks: dict[int, int]  # images -> blocks of the smallest launch that moves a tenth of the bytes
    named: tuple[str, ...] = ()  # buffers whose sectors are those of a scatter or of a gather by data, left out of `sectors`
    conflicts: float = 2  # passes of the shared memory requests of one place against their ideal
    traffic: float = 2.0  # bytes between multiprocessors and the device's cache, against the same
    passes: int | None = None  # bytes per image that the algorithm moves, in place of what goes in and out


_RENDERED = {1: 132, 16: 528}
_SORTED = {1: 16, 16: 132}
_PIXELWISE = {1: 98, 16: 528}

# A radix sort reads keys once to count all digits, then moves keys and pixels once per digit of eight bits.
_RANK_PASSES = PIXELS * (4 + (4 + 8) + (8 + 8) + (8 + 8) + (8 + 4))
# A radix select reads keys once per digit, and once to write four masks.
_SELECT_PASSES = PIXELS * (4 * 4 + 4 + 4)

CASES = {
    "rank": Limits(2, 1.5, _SORTED, named=("scratch", "ranks"), conflicts=4, passes=_RANK_PASSES),
    "rank_half_zero": Limits(2, 1.5, _SORTED, named=("scratch", "ranks"), conflicts=4, passes=_RANK_PASSES),
    "topk_mask": Limits(2, 1.5, _SORTED, conflicts=4, passes=_SELECT_PASSES),
    "topk_mask_half_zero": Limits(2, 1.5, _SORTED, conflicts=4, passes=_SELECT_PASSES),
    "blend_rank": Limits(1.1, 1.1, _RENDERED),
    "blend_boxes": Limits(1.1, 1.1, _RENDERED),
    "blend_segments": Limits(1.1, 1.1, _RENDERED),
    "blend_grids": Limits(1.1, 1.1, _RENDERED),
    "blend_dense": Limits(1.1, 1.1, _RENDERED),
    "blend_dense_backward": Limits(1.1, 1.2, _PIXELWISE),
    "blend_rank_update": Limits(1.1, 1.2, _PIXELWISE),
    "total_variation": Limits(1.15, 1.2, _PIXELWISE),
    "noise": Limits(1.1, 1.2, _PIXELWISE),
    "smooth_maximum": Limits(1.1, 1.2, _PIXELWISE),
    "smooth_maximum_backward": Limits(1.1, 1.2, _PIXELWISE),
    "mask_step": Limits(1.15, 1.3, _PIXELWISE),
}


@dataclass
class Launch:
    """Of one launch, over all its blocks. Sectors and bytes by buffer."""

    kernel: str
    blocks: int
    threads: int
    loads: dict[str, dict[str, float]]
    stores: dict[str, dict[str, float]]
    shared: dict[str, float]

    def total(self, key: str, without: Iterable[str] = ()) -> float:
        """Sum of a count over loads and stores."""
        left_out = set(without)
        return sum(counts[key] for part in (self.loads, self.stores) for name, counts in part.items() if name not in left_out)


@dataclass
class Counted:
    """A case with so many images."""

    case: str
    images: int
    compulsory: int
    launches: list[Launch] = field(default_factory=list)

    def total(self, key: str, without: Iterable[str] = ()) -> float:
        return sum(launch.total(key, without) for launch in self.launches)

    @property
    def sectors(self) -> float:
        """Against ideal, but for scatters that are named."""
        named = CASES[self.case].named if self.case in CASES else ()
        ideal = self.total("ideal", named)
        return self.total("sectors", named) / ideal if ideal else 1.0

    @property
    def necessary(self) -> int:
        """Bytes that go in and out, or that the passes of the algorithm move."""
        passes = CASES[self.case].passes if self.case in CASES else None
        return self.images * passes if passes else self.compulsory

    @property
    def traffic(self) -> float:
        """Between multiprocessors and the device's cache, against what is necessary; but for scatters that are named."""
        named = CASES[self.case].named if self.case in CASES else ()
        asked = sum(32 * launch.total("ideal") - 32 * launch.total("ideal", named) for launch in self.launches)
        return (self.total("traffic", named) + asked) / self.necessary

    @property
    def memory(self) -> float:
        """To and from memory, against what is necessary."""
        return self.total("memory") / self.necessary

    @property
    def blocks(self) -> int:
        """Of the smallest launch that moves a tenth of the bytes or more."""
        moved = self.total("traffic")
        return min(launch.blocks for launch in self.launches if launch.total("traffic") >= 0.1 * moved)

    @property
    def conflicts(self) -> float:
        """Passes that shared memory took for the requests of one place in the code, against their ideal; the largest."""
        return max((launch.shared["worst"] for launch in self.launches), default=1.0)

    def summary(self) -> dict[str, Any]:
        """What is recorded."""
        return {
            "sectors": round(self.sectors, 3),
            "traffic": round(self.traffic, 3),
            "memory": round(self.memory, 3),
            "bytes": round(self.total("traffic")),
            "blocks": self.blocks,
            "conflicts": round(self.conflicts, 2),
            "launches": [
                {
                    "kernel": launch.kernel,
                    "blocks": launch.blocks,
                    "threads": launch.threads,
                    **{key: round(launch.total(key)) for key in ("sectors", "ideal", "traffic", "memory")},
                    "stored_sectors": round(sum(counts["sectors"] for counts in launch.stores.values())),
                    "shared_passes": round(launch.shared["passes"]),
                    "shared_ideal": round(launch.shared["ideal"]),
                }
                for launch in self.launches
            ],
        }


def build() -> Path:
    """The program that counts; compiled where a source changed."""
    sources = [*sorted((ROOT / "csrc" / "cuda").glob("*.cu")), *sorted(PROFILER.glob("*.cpp")), PROFILER / "planted.cu"]
    return toolchain.build_program("counts", sources, variant="counted", include=[PROFILER])


def count(case: str, images: int) -> Counted:
    """Runs a case. Counts of a sample of the blocks are multiplied up to all of them."""
    done = toolchain.run_program("counted", build(), case, str(images), timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"counts {case} {images}: {done.stdout}")
    read = json.loads(done.stdout)
    counted = Counted(case, images, read["compulsory"])
    for launch in read["launches"]:
        scale = launch["blocks"] / launch["counted_blocks"]
        parts = [
            {name: {key: value * scale for key, value in counts.items()} for name, counts in launch[part].items()}
            for part in ("loads", "stores")
        ]
        shared = {key: value * (1 if key == "worst" else scale) for key, value in launch["shared"].items()}
        counted.launches.append(Launch(launch["kernel"], launch["blocks"], launch["threads"], *parts, shared))
    return counted


def complaints(counted: Counted) -> list[str]:
    """Where a case is beyond its limits, in words; empty if nowhere."""
    limits, wrong = CASES[counted.case], []
    name = f"{counted.case}, {counted.images} images"
    if counted.sectors > limits.sectors:
        wrong.append(f"{name}: {counted.sectors:.2f} times the ideal sectors, at most {limits.sectors}")
    if counted.memory > limits.memory:
        wrong.append(f"{name}: {counted.memory:.2f} times the necessary bytes of memory, at most {limits.memory}")
    if counted.traffic > limits.traffic:
        wrong.append(f"{name}: {counted.traffic:.2f} times the necessary bytes through the cache, at most {limits.traffic}")
    if counted.blocks < limits.blocks.get(counted.images, 0):
        wrong.append(f"{name}: {counted.blocks} blocks, at least {limits.blocks[counted.images]}")
    if counted.conflicts > limits.conflicts:
        wrong.append(f"{name}: a {counted.conflicts:.1f}-way bank conflict, at most {limits.conflicts}")
    return wrong


def regressions(counted: Counted, recorded: dict[str, Any], tolerance: float = 0.02) -> list[str]:
    """Where a case asks for more than is recorded of it, in words; empty if nowhere."""
    summary, wrong = counted.summary(), []
    for key in ("sectors", "traffic", "memory", "bytes", "conflicts"):
        if summary[key] > recorded[key] * (1 + tolerance):
            wrong.append(f"{counted.case}: {key} {summary[key]}, {recorded[key]} recorded")
    if summary["blocks"] < recorded["blocks"]:
        wrong.append(f"{counted.case}: blocks {summary['blocks']}, {recorded['blocks']} recorded")
    return wrong
