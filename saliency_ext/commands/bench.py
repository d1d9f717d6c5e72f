"""`saliency-ext bench`: the benches of a checkout; an installed package has none."""

import argparse
import subprocess
import sys
from pathlib import Path

import saliency_ext

from ._command_result import FAILED, CommandResult, refuse


def run(options: argparse.Namespace) -> CommandResult:
    """Runs `python -m bench` with the words that follow, in the checkout."""
    checkout = Path(saliency_ext.__file__).resolve().parents[1]
    if not (checkout / "bench" / "__main__.py").is_file():
        refuse(
            "bench: the benches are not part of an installed package; run `saliency-ext bench` in a checkout of the repository",
            FAILED,
        )
    done = subprocess.run([sys.executable, "-m", "bench", *options.words], cwd=checkout, check=False)
    return CommandResult("", done.returncode)
