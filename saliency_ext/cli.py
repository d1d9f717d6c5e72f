"""The command line: `python -m saliency_ext` or `saliency-ext`. Thin: parse, call, print."""

import os
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from . import demo, doctor
from .commands._command_result import FAILED, INTERRUPTED, CommandError, CommandResult, in_one_line
from .commands._parser import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status, as `saliency-ext --help` lists them."""
    command_result = CommandResult("")
    try:
        try:
            command_result = _run(arguments)
        finally:
            sys.stdout.flush()  # what argparse printed
        if command_result.text:
            _say(command_result.text, sys.stdout)
    except BrokenPipeError:  # who reads has enough, as `head` has; what is left in the buffer would fail at Python's end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return command_result.status


def _run(arguments: Sequence[str] | None) -> CommandResult:
    try:
        options = parse(arguments)
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            if options.command == "demo":
                return CommandResult(demo.run())
            if options.command == "doctor":
                return CommandResult(doctor.report())
            if options.command == "info":
                return CommandResult("\n".join(f"{key}: {value}" for key, value in doctor.build_info().items()))
            command_result: CommandResult = options.run(options)
            return command_result
    except CommandError as error:
        return _failed(str(error), error.status)
    except KeyboardInterrupt:
        return _failed("interrupted", INTERRUPTED)
    except BrokenPipeError:
        raise
    except Exception as error:  # nobody's argument: never the status of a condition that holds
        return _failed(f"could not finish: {in_one_line(error, inside=True)}", FAILED)


def _failed(message: str, status: int) -> CommandResult:
    _say(f"saliency-ext: {message}", sys.stderr)
    return CommandResult("", status)


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
