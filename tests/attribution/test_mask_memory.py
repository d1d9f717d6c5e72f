"""Memory of whole mask methods at the size of photographs, each in a process of its own: the high-water mark is the process's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_MIB = 2**20
_PROGRAM = """
from pathlib import Path

import torch

from saliency_ext.attribution import ExtremalPerturbation, IntrinsicMask, MeaningfulPerturbation


def bands(inputs):
    return inputs.unflatten(2, (8, -1)).mean((1, 3, 4))


def bytes_of(field):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


inputs, bank = torch.rand(16, 3, 224, 224), torch.rand(4, 3, 224, 224)
make = {
    "intrinsic": lambda steps: IntrinsicMask(bands, bank, steps=steps, infills=1),
    "meaningful": lambda steps: MeaningfulPerturbation(bands, steps=steps),
    "extremal": lambda steps: ExtremalPerturbation(bands, steps=steps),
}[NAME]
before = bytes_of("VmRSS:")
for steps in (2, 2, 12):  # the first call also pays for what is made once
    make(steps)(inputs, 3)
    print(bytes_of("VmHWM:") - before)  # of this program; getrusage begins with the peak of the process that started it
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("name", ["intrinsic", "meaningful", "extremal"])
def test_sixteen_photographs_fit_in_a_gibibyte_and_more_steps_take_no_more(name: str) -> None:
    """The model holds one copy of what it is shown. Peaks beyond what was held before the method was called."""
    program = _PROGRAM.replace("NAME", repr(name))
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    _, few, many = map(int, result.stdout.split())
    assert 50 * _MIB < few < 1024 * _MIB  # the masked inputs and their gradient alone are 19 MiB
    assert many - few < 64 * _MIB  # ten gradients kept would be 92 MiB
