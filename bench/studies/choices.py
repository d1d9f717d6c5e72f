"""Do the choices matter, on the testbed? Writes bench/results/choices.json: `python -m bench.studies.choices [--images N]`.

With --only one study is made again, and the other stays as it is in the file.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from saliency_ext.cli import main as command

from ..machine import metadata
from ..report import write_json

_OUT = Path(__file__).parents[1] / "results" / "choices.json"
_INFILLS = "dataset_mean,black,white,blur,gaussian_noise,learned"


def main(words: list[str] | None = None) -> int:
    """Runs both studies; exit status 0 if both could be made."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.choices", description="Both studies of choices, as one JSON.")
    parser.add_argument("--images", type=int, default=24, help="of the study of infills; a third as many for hyper-parameters")
    parser.add_argument("--only", choices=("infill", "hyperparameters"))
    parser.add_argument("--out", type=Path, default=_OUT)
    options = parser.parse_args(words)
    old = json.loads(options.out.read_text())["studies"] if options.only and options.out.exists() else {}
    content: dict[str, Any] = {"meta": metadata("cpu", False), "studies": old}
    for question, images, more in (
        ("infill", options.images, ["--infills", _INFILLS, "--steps", "8"]),
        ("hyperparameters", max(2, options.images // 3), ["--infills", "dataset_mean", "--steps", "10"]),
    ):
        if options.only not in (None, question):
            continue
        requested = ["study", question, "--limit", str(images), "--masks", "150", *more]
        with tempfile.TemporaryDirectory() as folder:
            wall, work = time.monotonic(), time.process_time()
            if command([*requested, "--out", folder]):
                return 1
            findings = json.loads((Path(folder) / "findings.json").read_text())
        seconds = {"seconds": round(time.monotonic() - wall), "processor_seconds": round(time.process_time() - work)}
        made = {name: content["meta"][name] for name in ("date", "commit")}
        content["studies"][question] = made | {"command": "saliency-ext " + " ".join(requested), **seconds, **findings}
        write_json(options.out, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
