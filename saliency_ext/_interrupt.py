"""Ctrl-C while the command line is still being imported: one line and the exit status of an interruption, not a traceback."""

import os
import sys
from itertools import pairwise
from pathlib import Path
from types import TracebackType

_INTERRUPTED = 130  # as commands._command_result has it, which is not imported yet


def install() -> None:
    """Where this process is the command line itself, and in no program that imports the package."""
    if _is_command(sys.argv, sys.orig_argv):
        sys.excepthook = _hook


def _is_command(arguments: list[str], words: list[str]) -> bool:
    """Whether a process runs `saliency-ext` or `python -m saliency_ext`; a module that is still looked for is called "-m"."""
    name = arguments[0] if arguments else ""
    return Path(name).stem == "saliency-ext" or (name == "-m" and ("-m", "saliency_ext") in pairwise(words))


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    sys.stderr.write("saliency-ext: interrupted\n")
    sys.stderr.flush()
    os._exit(_INTERRUPTED)  # what is left of Python's end says no more
