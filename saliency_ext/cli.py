"""The command line: `python -m saliency_ext` or `saliency-ext`. Thin: parse, call, print."""

import os
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from . import demo, doctor
from .commands.outcome import FAILED, INTERRUPTED, CommandError, Outcome, in_one_line
from .commands.parser import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status, as `saliency-ext --help` lists them."""
    outcome = Outcome("")
    try:
        try:
            outcome = _run(arguments)
        finally:
            sys.stdout.flush()  # what argparse printed
        if outcome.text:
            _say(outcome.text, sys.stdout)
    except BrokenPipeError:  # who reads has enough, as `head` has; what is left in the buffer would fail at Python's end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return outcome.status


def _run(arguments: Sequence[str] | None) -> Outcome:
    try:
        options = parse(arguments)
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            if options.command == "demo":
                return Outcome(demo.run())
            if options.command == "doctor":
                return Outcome(doctor.report())
            if options.command == "info":
                return Outcome("\n".join(f"{key}: {value}" for key, value in doctor.build_info().items()))
            outcome: Outcome = options.run(options)
            return outcome
    except CommandError as error:
        return _failed(str(error), error.status)
    except KeyboardInterrupt:
        return _failed("interrupted", INTERRUPTED)
    except BrokenPipeError:
        raise
    except Exception as error:  # nobody's argument: never the status of a condition that holds
        return _failed(f"could not finish: {in_one_line(error, inside=True)}", FAILED)


def _failed(message: str, status: int) -> Outcome:
    _say(f"saliency-ext: {message}", sys.stderr)
    return Outcome("", status)


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    """A warning, without the line of code that raised it."""
    _say(f"\nsaliency-ext: warning: {message}", sys.stderr)


def _say(text: str, stream: TextIO) -> None:
    """Prints text in which names of files, classes and proofs cannot steer the terminal, in what its encoding has."""
    shown = "".join(letter if letter.isprintable() or letter in "\n\t\u00a0" else ascii(letter)[1:-1] for letter in text)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(shown.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


if __name__ == "__main__":
    sys.exit(main())
