"""Do the choices matter, on the testbed? Writes bench/results/choices.json: `python -m bench.studies.choices [--images N]`."""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from saliency_ext.cli import main as command

from ..machine import metadata

_OUT = Path(__file__).parents[1] / "results" / "choices.json"
_INFILLS = "mean,black,white,blur,noise,learned"


def main(words: list[str] | None = None) -> int:
    """Runs both studies; exit status 0 if both could be made."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.choices", description="Both studies of choices, as one JSON.")
    parser.add_argument("--images", type=int, default=24, help="of the study of infills; half as many for hyper-parameters")
    parser.add_argument("--out", type=Path, default=_OUT)
    options = parser.parse_args(words)
    content: dict[str, Any] = {"meta": metadata("cpu", False), "studies": {}}
    for question, images, more in (
        ("infill", options.images, ["--infills", _INFILLS, "--steps", "8"]),
        ("hyperparameters", max(2, options.images // 2), ["--infills", "mean", "--steps", "10"]),
    ):
        asked = ["study", question, "--limit", str(images), "--masks", "150", *more]
        with tempfile.TemporaryDirectory() as folder:
            wall, work = time.monotonic(), time.process_time()
            if command([*asked, "--out", folder]):
                return 1
            findings = json.loads((Path(folder) / "findings.json").read_text())
        seconds = {"seconds": round(time.monotonic() - wall), "processor_seconds": round(time.process_time() - work)}
        content["studies"][question] = {"command": "saliency-ext " + " ".join(asked), **seconds, **findings}
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
