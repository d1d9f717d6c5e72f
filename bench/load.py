"""Who else used the processor while a row was timed: a bootstrap interval cannot see a neighbour that stays for the whole row."""

import os
import time
from pathlib import Path

LIMIT = 0.1  # cores: above it a row is called disturbed


class Load:
    """Cores that others took since `start`: processes and hypervisor. None without /proc/stat, or if the time was short."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begins a measurement."""
        self._wall, self._machine, self._own = time.perf_counter(), _machine_seconds(), _own_seconds()

    def others(self) -> float | None:
        """Mean number of cores. Ticks are 10 ms, so that half a second is needed for a resolution of some percent."""
        wall, machine = time.perf_counter() - self._wall, _machine_seconds()
        if wall < 0.5 or machine is None or self._machine is None:
            return None
        return max(0.0, (machine - self._machine - (_own_seconds() - self._own)) / wall)


def wait_for_quiet(seconds: float) -> None:
    """Returns once others took less than the limit for a second, or after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        load = Load()
        time.sleep(1.0)
        others = load.others()
        if others is None or others < LIMIT:
            return


def _machine_seconds() -> float | None:
    """Busy time of all cores: user, nice, system, interrupts and stolen; not idle, not waiting for a disk."""
    try:
        fields = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    except (OSError, ValueError):
        return None
    return float(sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
