"""Files that are either complete or not there, and that are read with care: what was changed since it was written is noticed."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn
from uuid import uuid4

from ._digests import digest

# All that decides the bytes of a Parquet file besides its rows. Checksums of pages are for other readers of these files.
PARQUET = {
    "compression": "zstd",
    "compression_level": 3,
    "version": "2.6",
    "data_page_version": "1.0",
    "write_page_checksum": True,
}

_LARGEST_JSON = 2**28
# A footer that claims more than this is not one of ours.
READING = {
    "thrift_string_size_limit": 2**27,
    "thrift_container_size_limit": 2**22,
    "page_checksum_verification": True,
}
_DIGEST = "digest"


class DamagedError(ValueError):
    """A file that is not as it was written."""


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """A file that appears under its name complete and on the disk, or not at all; also when the process is killed.

    Written under another name ending in .tmp, flushed to the disk, then renamed. What fails raises and leaves nothing behind.

    Raises:
        OSError: names the file.
    """
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    try:
        try:
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name, too
        finally:
            os.close(folder)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror or error}") from error


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file complete or not at all; its folder is made, and an old file is replaced at once.

    Raises:
        OSError: names the file.
    """
    make_folder(path.parent)
    write_atomically(path, lambda file: file.write(content))


def make_folder(path: Path) -> None:
    """Makes a folder and those above it.

    Raises:
        OSError: names the folder.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"cannot make the folder {path}: {error.strerror or error}") from error


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a mapping as JSON with a digest of its content."""
    plain = json.loads(json.dumps(content))
    write_whole(path, json.dumps(plain | {_DIGEST: _digest_of(plain)}, indent=1).encode())


def read_record(path: Path, function: str = "Study") -> dict[str, Any] | None:
    """The mapping that `write_record` wrote, or None if there is no file.

    Raises:
        DamagedError: other content, or content that was changed since; in the name of a function.
    """
    if not path.exists():
        return None
    if path.stat().st_size > _LARGEST_JSON:
        _refuse(function, path, "which is none")
    try:
        result = json.loads(path.read_bytes())
        content = {name: value for name, value in result.items() if name != _DIGEST}
        same = result[_DIGEST] == _digest_of(content)
    except (AttributeError, KeyError, ValueError, RecursionError):
        _refuse(function, path, "which is none")
    if not same:
        _refuse(function, path, "which was changed since: it may be damaged")
    return content


def pyarrow() -> Any:
    """The library for Parquet, loaded when it is first needed.

    Raises:
        ModuleNotFoundError: it is not installed; says how to install it.
    """
    try:
        import pyarrow as result
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"Study: {error}; its results are Parquet: pip install 'saliency_ext[study]'") from error
    return result


def parquet_bytes(table: Any) -> bytes:
    """A pyarrow table as the content of a Parquet file."""
    file = io.BytesIO()
    pyarrow().parquet.write_table(table, file, **PARQUET)
    return file.getvalue()


def read_parquet(path: Path, columns: list[str] | None = None) -> Any:
    """The table in a Parquet file; the checksums of its pages are verified.

    Raises:
        DamagedError: the file cannot be read as Parquet; it is named.
    """
    arrow = pyarrow()
    try:
        with arrow.parquet.ParquetFile(path, **READING) as file:
            return file.read(columns)
    except (OSError, arrow.ArrowException) as error:
        raise DamagedError(f"{path}: no Parquet file, or a damaged one: {str(error).splitlines()[0]}") from error


def content_digest(path: Path) -> str:
    """Digest of all bytes of a file, "" where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _digest_of(content: Mapping[str, Any]) -> str:
    return digest(json.dumps(content, sort_keys=True))


def _refuse(function: str, path: Path, got: str) -> NoReturn:
    writer = "a study" if function == "Study" else function
    raise DamagedError(
        f"{function}: expected out with {path.name} as {writer} writes it, got {path}, {got}; "
        f"it is not as {writer} left it: remove it, or give another folder"
    )
