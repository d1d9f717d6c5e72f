"""What the CUDA kernels ask of a GPU, counted without one, and the times predicted from it.

    python -m bench.gpu_counts            counts all cases and prints the table
    python -m bench.gpu_counts CASE ...   these
    python -m bench.gpu_counts --record   rewrites tests/native/counts.json too

Counts: tests/native/profiler. Model of the predictions: bench/README.md.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from typing import Any

from tests.native import counts, occupancy, resources
from tests.native.counts import CASES, Counted

IMAGES = (1, 16)
PREDICTED_IMAGES = 256


@dataclass(frozen=True)
class Device:
    """Published limits; the rate of the L2 cache is a measured one [Chips and Cheese 2023: H100; Jia 2019: T4]."""

    architecture: str
    multiprocessors: int
    clock: float  # Hz, boost
    memory: float  # bytes per second
    cache: float  # bytes per second, of L2


DEVICES = {
    "H200": Device("sm_90", 132, 1.98e9, 4.8e12, 5.5e12),
    "A100": Device("sm_80", 108, 1.41e9, 2.04e12, 4.0e12),
    "T4": Device("sm_75", 40, 1.59e9, 0.32e12, 1.27e12),
}
MEMORY_EFFICIENCY = 0.9  # of the published rate, which no kernel reaches
LAUNCH = 2.5e-6  # seconds from the end of one kernel to the start of the next
INSTANTIATIONS = {"blend_": "BFloat16, float"}  # which instantiation of a kernel a case runs; else the one for float
_LINE = "{:24} {:>3} {:>8} {:>8} {:>7} {:>7} {:>5} {:>9}  {}"


def resources_of(case: str, kernel: str, architecture: str) -> tuple[int, int]:
    """Registers and bytes of shared memory, the largest of the instantiations that the case may run."""
    recorded = json.loads(resources.RECORD.read_text())
    table = recorded.get(architecture, recorded["sm_80"])  # of one that is not recorded: those of the nearest
    wanted = next(
        (text for prefix, text in INSTANTIATIONS.items() if kernel == "blend_kernel" and case.startswith(prefix)), "float"
    )
    entries = {name: used for name, used in table.items() if name.split("<")[0] == kernel}
    fitting = {name: used for name, used in entries.items() if wanted in name} or entries
    if not fitting:
        raise KeyError(f"{kernel}: not in {resources.RECORD.name}; run python -m tests.native.resources --record")
    return max(used["registers"] for used in fitting.values()), max(used["shared"] for used in fitting.values())


def predicted_seconds(summary: dict[str, Any], case: str, images: int, device: Device, scale: float = 1.0) -> float:
    """Time of a case's launches one after the other, with `scale` times the images that were counted."""
    total = 0.0
    for launch in summary["launches"]:
        registers, shared = resources_of(case, launch["kernel"], device.architecture)
        resident = max(1, occupancy.resident_blocks(device.architecture, launch["threads"], registers, shared))
        waves = scale * launch["blocks"] / (device.multiprocessors * resident)
        idle = math.ceil(waves) / waves if waves > 1 else max(1.0, 1 / (waves * resident))  # of the last wave; of a small grid
        through_cache = max(launch["traffic"], launch["traffic"] / 2 + 32 * launch["stored_sectors"] / 2)
        seconds = max(
            scale * launch["memory"] / (MEMORY_EFFICIENCY * device.memory),
            scale * through_cache / device.cache,
            scale * launch["shared_passes"] / (device.multiprocessors * device.clock),
        )
        total += LAUNCH + seconds * idle
    return total


def row(counted: Counted) -> dict[str, Any]:
    """What is recorded of a case, with what follows from it."""
    summary = counted.summary()
    for launch in summary["launches"]:
        used = {arch: resources_of(counted.case, launch["kernel"], arch) for arch in resources.ARCHITECTURES}
        launch["occupancy"] = {arch: round(occupancy.occupancy(arch, launch["threads"], *of), 2) for arch, of in used.items()}
        launch["waves"] = {}
        for name, device in DEVICES.items():
            of = resources_of(counted.case, launch["kernel"], device.architecture)
            resident = max(1, occupancy.resident_blocks(device.architecture, launch["threads"], *of))
            launch["waves"][name] = round(launch["blocks"] / (device.multiprocessors * resident), 2)
    scale = PREDICTED_IMAGES / counted.images
    summary["predicted_us"] = {
        name: round(1e6 * predicted_seconds(summary, counted.case, counted.images, device), 1) for name, device in DEVICES.items()
    }
    summary[f"predicted_us_{PREDICTED_IMAGES}_images"] = {
        name: round(1e6 * predicted_seconds(summary, counted.case, counted.images, device, scale), 1)
        for name, device in DEVICES.items()
    }
    return summary


def main(arguments: list[str]) -> int:
    """Counts, prints and, if asked, records. Returns how many limits are passed."""
    record = "--record" in arguments
    names = [name for name in arguments if not name.startswith("--")] or list(CASES)
    unknown = [name for name in names if name not in CASES]
    if unknown:
        raise SystemExit(f"gpu_counts: expected cases of {', '.join(CASES)}, got {', '.join(unknown)}")
    table = json.loads(counts.RECORD.read_text()) if record and counts.RECORD.exists() else {}
    wrong: list[str] = []
    print(
        _LINE.format(
            "case",
            "N",
            "sectors",
            "traffic",
            "memory",
            "blocks",
            "banks",
            "occupancy",
            f"H200, {PREDICTED_IMAGES} images: predicted",
        )
    )
    for name in names:
        for images in IMAGES:
            counted = counts.count(name, images)
            summary = row(counted)
            table.setdefault(name, {})[str(images)] = summary
            share = min(launch["occupancy"]["sm_90"] for launch in summary["launches"])
            time = summary[f"predicted_us_{PREDICTED_IMAGES}_images"]["H200"]
            ratios = (f"{counted.sectors:.2f}", f"{counted.traffic:.2f}", f"{counted.memory:.2f}")
            print(_LINE.format(name, images, *ratios, counted.blocks, f"{counted.conflicts:.1f}", share, f"{time:.0f} us"))
            wrong += counts.complaints(counted)
    print(*wrong, sep="\n")
    if record:
        counts.RECORD.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
    return len(wrong)


if __name__ == "__main__":
    main(sys.argv[1:])
