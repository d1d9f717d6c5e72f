"""csrc/kernels.h from a plain C++ program: compiles and links without torch, and gives the numbers of the Python ops."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from saliency_ext import ops

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "examples" / "deletion_curve.cpp"


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """By the very command that the file shows."""
    assert shutil.which("g++"), "g++ builds the extension, so it is here"
    command = re.search(r"//\s+(g\+\+ .*)", SOURCE.read_text()).group(1).split()
    program = tmp_path_factory.mktemp("host") / "deletion_curve"
    subprocess.run([*command, "-o", str(program)], cwd=ROOT, check=True, capture_output=True)
    return [line.split() for line in subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()]


def test_the_numbers_are_those_of_the_ops(printed):
    pixels = torch.arange(32 * 48)
    image = torch.stack([(c * 131 + pixels * 37) % 256 for c in range(3)]).view(1, 3, 32, 48) / 256
    ranks = ops.rank(((pixels * 73) % 64 / 64).view(1, 32, 48), ties="index")
    counts = torch.tensor([0, 384, 768, 1152, 1536])
    probes = ops.blend_rank(image, 0.5, ranks, counts, keep="tail")
    means = probes.double().flatten(1).mean(1)
    assert [int(count) for count, _ in printed] == counts.tolist()
    torch.testing.assert_close(torch.tensor([float(mean) for _, mean in printed]).double(), means, rtol=1e-6, atol=0)
    assert float(printed[-1][1]) == 0.5 and float(printed[0][1]) != 0.5  # all grey at the end, the image at the start


def test_no_torch_is_included():
    command = ["g++", "-std=c++20", "-Icsrc", "-MM", str(SOURCE), "csrc/cpu/rank.cpp", "csrc/cpu/blend_rank_update.cpp"]
    included = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "csrc/kernels.h" in included and "torch" not in included
