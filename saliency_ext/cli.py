"""The command line: `python -m saliency_ext` or `saliency-ext`. Thin: parse, call, print."""

import argparse
import sys
from collections.abc import Sequence

from . import __version__, demo, doctor


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    parser = argparse.ArgumentParser(prog="saliency-ext", description="Computes saliency maps and judges them.")
    parser.add_argument("--version", action="version", version=f"saliency_ext {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("demo", help="score one deletion curve of a shipped picture")
    commands.add_parser("doctor", help="say what is installed, which backend serves each op, and what is missing")
    commands.add_parser("info", help="print how the native library was built")
    command = parser.parse_args(arguments).command
    if command == "demo":
        print(demo.run())
    elif command == "doctor":
        print(doctor.report())
    else:
        print("\n".join(f"{key}: {value}" for key, value in doctor.build_info().items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
