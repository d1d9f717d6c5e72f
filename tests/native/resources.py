"""What each CUDA kernel takes of the device: registers, stack, spills, as nvcc reports them for each architecture.

python -m tests.native.resources            prints the table
python -m tests.native.resources --record   rewrites resources.json, what test_resources allows
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.native import toolchain
from tests.native.toolchain import ROOT

RECORD = Path(__file__).parent / "resources.json"
ARCHITECTURES = ("sm_80", "sm_90")
FLAGS = ["-std=c++20", "-O3", "-fmad=false", "-Xptxas", "-v", "-DSX_WITH_CUDA"]

_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers(?:, used \d+ barriers)?(?:.*?, (\d+) bytes smem)?")


@dataclass(frozen=True)
class Resources:
    registers: int
    stack: int
    spills: int
    shared: int


def parse(report: str) -> dict[str, Resources]:
    """Resources per kernel, by readable name, out of what ptxas -v says."""
    result: dict[str, Resources] = {}
    for part in report.split("ptxas info    : Compiling entry function")[1:]:
        entry = _ENTRY.search("Compiling entry function" + part)
        stack, used = _STACK.search(part), _REGISTERS.search(part)
        if entry is None or stack is None or used is None:
            raise ValueError(f"cannot read the report of ptxas:\n{part}")
        spilled = int(stack[2]) + int(stack[3])
        result[_readable(entry[1])] = Resources(int(used[1]), int(stack[1]), spilled, int(used[2] or 0))
    return result


def measure(source: Path, nvcc: Path, arch: str) -> dict[str, Resources]:
    """Compiles one .cu file and returns the resources of its kernels."""
    command = [str(nvcc), *FLAGS, f"-arch={arch}", f"-I{ROOT / 'csrc' / 'cuda'}", "-c", str(source), "-o", "/dev/null"]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}")
    return parse(done.stdout)


def measure_all(nvcc: Path, arch: str) -> dict[str, Resources]:
    """All kernels of csrc/cuda."""
    with ThreadPoolExecutor(toolchain.JOBS) as pool:
        files = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
        return {name: used for result in pool.map(lambda path: measure(path, nvcc, arch), files) for name, used in result.items()}


def complaints(found: dict[str, Resources], allowed: dict[str, dict[str, int]]) -> list[str]:
    """What is wrong with the kernels of one architecture, in words; empty if nothing."""
    wrong = []
    for name, used in found.items():
        if used.stack > 0:
            wrong.append(f"{name}: {used.stack} bytes of stack: an array is indexed by what the compiler does not know")
        if used.spills > 0:
            wrong.append(f"{name}: {used.spills} bytes of spills")
        if name not in allowed:
            wrong.append(f"{name}: not recorded; run python -m tests.native.resources --record")
        elif used.registers > allowed[name]["registers"]:
            wrong.append(f"{name}: {used.registers} registers, {allowed[name]['registers']} recorded")
        elif used.shared > allowed[name]["shared"]:
            wrong.append(f"{name}: {used.shared} bytes of shared memory, {allowed[name]['shared']} recorded")
    wrong += [f"{name}: recorded, but there is no such kernel; record again" for name in allowed.keys() - found.keys()]
    return wrong


def _readable(mangled: str) -> str:
    """kernel<arguments>, without namespaces and parameters; enumerators as `Type number`."""
    text = subprocess.run(["c++filt", mangled], check=True, capture_output=True, text=True).stdout.strip()
    text = text.replace("(anonymous namespace)::", "").removeprefix("void ")
    depth = 0
    for end, letter in enumerate(text):  # the parameter list is the first bracket outside the template arguments
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0:
            text = text[:end]
            break
    return re.sub(r"\((\w+)\)(\d)", r"\1 \2", text.replace("saliency_ext::", "")).replace("> >", ">>")


def main(arguments: list[str]) -> None:
    nvcc = toolchain.find_nvcc()
    if nvcc is None:
        raise SystemExit("resources: expected a CUDA toolkit in /usr/local/cuda*, got none")
    record = {arch: {name: asdict(used) for name, used in sorted(measure_all(nvcc, arch).items())} for arch in ARCHITECTURES}
    for arch, kernels in record.items():
        for name, used in kernels.items():
            print(arch, name, used)
    if "--record" in arguments:
        lines = [
            f' "{arch}": {{\n'
            + ",\n".join(f"  {json.dumps(name)}: {json.dumps(used)}" for name, used in kernels.items())
            + "\n }"
            for arch, kernels in record.items()
        ]
        RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
