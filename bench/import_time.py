"""What importing the library costs beyond torch, in processor time: `python -m bench.import_time`.

Each number is a median over fresh processes, half of which find compiled bytecode, as installed packages have it. The aim is
0.3 s for `import saliency_ext`; all public packages, which load when they are asked for, and torch itself stand beside it.
Writes bench/results/import.json.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from .report import write_json
from .timing import bootstrap

ROUNDS, AIM = 7, 0.3

_PROGRAM = """
import json, sys, time
clock = time.process_time
start = clock()
import torch
after_torch = clock()
import saliency_ext
after_import = clock()
for name in saliency_ext.__all__:
    getattr(saliency_ext, name)
print(json.dumps({"torch": after_torch - start, "import": after_import - after_torch, "all_names": clock() - after_torch}))
"""


def main() -> int:
    """Runs the processes in turn, prints and writes the medians."""
    result: dict[str, list[dict[str, float]]] = {"bytecode": [], "no_bytecode": []}
    with tempfile.TemporaryDirectory() as cache:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHONDONT")}
        warm = environment | {"PYTHONPYCACHEPREFIX": cache}
        _run(warm)  # writes the bytecode
        for _ in range(ROUNDS):
            result["bytecode"].append(_run(warm))
            with tempfile.TemporaryDirectory() as empty:
                cold = environment | {"PYTHONPYCACHEPREFIX": empty, "PYTHONDONTWRITEBYTECODE": "1"}
                result["no_bytecode"].append(_run(cold))
    row = {kind: {name: _summary([each[name] for each in runs]) for name in runs[0]} for kind, runs in result.items()}
    row |= {"aim_seconds": AIM, "within": row["bytecode"]["import"]["seconds"] < AIM, "rounds": ROUNDS}
    row |= {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}
    write_json(Path(__file__).parent / "results" / "import.json", row)
    print(json.dumps(row, indent=1))
    return 0


def _run(environment: dict[str, str]) -> dict[str, float]:
    one_thread = environment | {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run([sys.executable, "-c", _PROGRAM], env=one_thread, capture_output=True, text=True, check=True)
    seconds: dict[str, float] = json.loads(ran.stdout)
    return seconds


def _summary(values: list[float]) -> dict[str, Any]:
    return {"seconds": statistics.median(values), "interval": list(bootstrap(values))}


if __name__ == "__main__":
    sys.exit(main())
