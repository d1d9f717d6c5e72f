"""Results of commands: text and exit status, or an actionable error."""

import difflib
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import torch

from ..checks import InvalidArgument

DONE, CONDITION, USAGE, FAILED, MISSING, INTERRUPTED = 0, 1, 2, 3, 4, 130

EXIT_CODES = f"""\
exit status:
  {DONE}    done
  {CONDITION}    compare: a --fail-if condition holds; verify: the proof does not hold
  {USAGE}    wrong arguments: a name, a file or a combination that cannot be
  {FAILED}    the run could not finish, or what it found could not be written; what was finished is kept, and the message says how
       to go on
  {MISSING}    compare: no --fail-if condition holds, but values are missing that one of them is about
  {INTERRUPTED}  interrupted (Ctrl-C); as {FAILED}"""


_DIGITS = 18  # of a number that fits into 64 bits
_OURS = tuple(Path(module).resolve().parent for module in (Path(__file__).parent, torch.__file__))
_STANDARD = Path(difflib.__file__).resolve().parent  # of Python; packages of others lie in a folder below


@dataclass(frozen=True)
class CommandResult:
    """Text for the screen, and the exit status."""

    text: str
    status: int = DONE


class CommandError(Exception):
    """What went wrong and what to do, for a person; no traceback is shown."""

    def __init__(self, message: str, status: int = USAGE) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Option:
    """What the command line says of an argument of the library.

    name: of the option that becomes the argument; None: there is none. remedy: None: that of the library.
    """

    name: str | None
    remedy: str | None = None


def in_options(error: BaseException, options: Mapping[tuple[str, str], Option]) -> str:
    """An error of the library, in terms of the command line where an option became the argument.

    options: (function, argument) as the error names them -> the option.

    Example:
        >>> from saliency_ext.checks import require_number
        >>> try:
        ...     require_number("StopRule", "seconds", -1)
        ... except ValueError as error:
        ...     print(in_options(error, {("StopRule", "seconds"): Option("--max-time", "give a longer time")}))
        --max-time: expected >= 0 and finite, got -1; give a longer time
    """
    invalid = InvalidArgument.of(error)
    option = None if invalid is None else options.get((invalid.function, invalid.argument))
    if invalid is None or option is None:
        return str(error)
    remedy = invalid.remedy if option.remedy is None else option.remedy
    if option.name is None:
        return str(replace(invalid, remedy=remedy))
    return f"{option.name}: expected {invalid.expected}, got {invalid.got}{f'; {remedy}' if remedy else ''}"


def refuse(message: str, status: int = USAGE) -> NoReturn:
    """Ends a command with a message."""
    raise CommandError(message, status)


def in_one_line(error: BaseException, inside: bool = False) -> str:
    """An error's kind, the first line of what it says, and where in code of others, or inside of this package, it was raised."""
    lines = str(error).strip().splitlines()
    place = raised_in(error)
    if inside and not place:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}, line {frame.lineno}"
    return f"{type(error).__name__}{f': {lines[0]}' if lines else ''}{f' ({place})' if place else ''}"


def raised_in(error: BaseException) -> str:
    """File and line of the innermost third-party code in the traceback of an error; "" if there is none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if _of_others(frame.filename):
            return f"{Path(frame.filename).name}, line {frame.lineno}"
    return ""


def _of_others(name: str) -> bool:
    path = Path(name).resolve()
    standard = path.is_relative_to(_STANDARD) and "site-packages" not in path.parts
    return not (name.startswith("<") or standard or any(path.is_relative_to(ours) for ours in _OURS))


def class_index(text: str, outputs: int | None) -> int | None:
    """The number of a class from its digits; None where it is none, or not one of the model's."""
    if not text.isdecimal() or len(text) > _DIGITS:
        return None
    number = int(text)
    return number if number < (10**_DIGITS if outputs is None else outputs) else None


def known(option: str, names: Iterable[str], all_names: Iterable[str]) -> None:
    """Refuses a name that there is not, with the nearest ones."""
    there = list(all_names)
    for name in names:
        if name not in there:
            near = difflib.get_close_matches(name, there, 3, 0.5)
            meant = f"; did you mean {' or '.join(near)}?" if near else ""
            refuse(f"{option}: there is no {name!r}{meant} `saliency-ext list` shows all names")
