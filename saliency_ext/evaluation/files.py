"""Files that are either complete or not there, and that are read with care."""

import functools
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from ..checks import bad_value
from .rows import pyarrow, schema

# All that decides the bytes of a Parquet file besides its rows.
PARQUET = {"compression": "zstd", "compression_level": 3, "version": "2.6", "data_page_version": "1.0"}

_LARGEST_JSON = 2**28
# A footer that claims more than this is not one of ours.
_LIMITS = {"thrift_string_size_limit": 2**27, "thrift_container_size_limit": 2**22}


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """A file that appears under its name complete and on the disk, or not at all; also when the process is killed.

    Written under another name ending in .tmp, flushed to the disk, then renamed. What fails raises and leaves nothing behind.
    """
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
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


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a mapping."""
    text = json.dumps(content, indent=1).encode()
    write_atomically(path, lambda file: file.write(text))


def read_json(path: Path, function: str = "Study") -> dict[str, Any] | None:
    """The mapping in a file, or None if there is no file; other content is refused in the name of a function."""
    if not path.exists():
        return None
    if path.stat().st_size <= _LARGEST_JSON:
        try:
            found = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            return found
    writer = "a study" if function == "Study" else function
    remedy = f"it was not written by {writer}: remove it, or give another folder"
    bad_value(function, "out", f"with {path.name} as {writer} writes it", f"{path}, which is none", remedy)


def write_table(path: Path, table: Any) -> None:
    """Writes a pyarrow table as Parquet."""
    write_atomically(path, lambda file: pyarrow().parquet.write_table(table, file, **PARQUET))


def read_parquet(path: Path, columns: list[str] | None = None) -> Any:
    """The table in a Parquet file."""
    with pyarrow().parquet.ParquetFile(path, **_LIMITS) as file:
        return file.read(columns)


def is_of_run(path: Path, run: str) -> bool:
    """Whether a file is Parquet with the columns and the name of a run."""
    arrow = pyarrow()
    try:
        with arrow.parquet.ParquetFile(path, **_LIMITS) as file:
            found = file.schema_arrow
    except (OSError, arrow.ArrowException):
        return False
    return bool(found.equals(_read_back(run), check_metadata=True))


@functools.cache
def _read_back(run: str) -> Any:
    """The schema as it is read from a file: Parquet keeps no names of the entries of maps."""
    arrow = pyarrow()
    file = io.BytesIO()
    arrow.parquet.write_table(schema(run).empty_table(), file, **PARQUET)
    with arrow.parquet.ParquetFile(file) as written:
        return written.schema_arrow
