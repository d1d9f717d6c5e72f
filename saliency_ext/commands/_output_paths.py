"""Output paths: checked before the work begins; failures to write end in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .._atomic_io import make_folder
from ._command_result import FAILED, refuse


@contextmanager
def writing(what: str, advice: str = "") -> Iterator[None]:
    """Ends the command with one line and the status of a run that could not finish where the block cannot write."""
    try:
        yield
    except OSError as error:
        refuse(f"{what}: {reason(error)}{f'. {advice}' if advice else ''}", FAILED)


def reason(error: OSError) -> str:
    """What could not be done, without the number of the error."""
    message = error.strerror or str(error)
    return f"{message}: {error.filename}" if error.filename else message


def file_place(option: str, name: str) -> Path:
    """The path of a file to write, its folder made now; a folder in its place is refused."""
    path = Path(name)
    with writing(option):
        make_folder(path.parent)
    if path.is_dir():
        refuse(f"{option}: expected a file, got the folder {name!r}", FAILED)
    return path


def folder_place(option: str, name: str) -> Path:
    """The path of a folder to write to, made now."""
    path = Path(name)
    with writing(option):
        make_folder(path)
    return path
