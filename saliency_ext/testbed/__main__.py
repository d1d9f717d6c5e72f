"""`python -m saliency_ext.testbed train`: trains the nets again."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence

from .nets import NETS
from .train import train


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m saliency_ext.testbed", description="Scenes with known truth.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    trainer = commands.add_parser("train", help="train the nets; writes weights, log and hashes")
    trainer.add_argument("--net", choices=("all", *NETS), default="all")
    trainer.add_argument("--output", default="testbed_weights", help="folder (default: %(default)s)")
    trainer.add_argument("--seed", type=int, default=0)
    trainer.add_argument("--threads", type=int, default=1)
    command = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in NETS if command.net == "all" else (command.net,):
        record = train(name, command.output, seed=command.seed, threads=command.threads)
        logging.getLogger(__name__).info("%s: %s", name, json.dumps(record["test"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
