"""What a command comes to: text and exit status, or an error that a user can act on."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

DONE, CONDITION, USAGE, FAILED, INTERRUPTED = 0, 1, 2, 3, 130

EXIT_CODES = f"""\
exit status:
  {DONE}    done
  {CONDITION}    compare: a --fail-if condition holds; verify: the proof does not hold
  {USAGE}    wrong arguments: a name, a file or a combination that cannot be
  {FAILED}    the run could not finish; what was finished is kept, and the message says how to go on
  {INTERRUPTED}  interrupted (Ctrl-C); as {FAILED}"""


@dataclass(frozen=True)
class Outcome:
    """Text for the screen, and the exit status."""

    text: str
    status: int = DONE


class CommandError(Exception):
    """What went wrong and what to do, for a person; no traceback is shown."""

    def __init__(self, message: str, status: int = USAGE) -> None:
        super().__init__(message)
        self.status = status


def refuse(message: str, status: int = USAGE) -> NoReturn:
    """Ends a command with a message."""
    raise CommandError(message, status)


def known(option: str, names: Iterable[str], all_names: Iterable[str]) -> None:
    """Refuses a name that there is not, with the nearest ones."""
    there = list(all_names)
    for name in names:
        if name not in there:
            near = difflib.get_close_matches(name, there, 3, 0.5)
            meant = f"; did you mean {' or '.join(near)}?" if near else ""
            refuse(f"{option}: there is no {name!r}{meant} `saliency-ext list` shows all names")
