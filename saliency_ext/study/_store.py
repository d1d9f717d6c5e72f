"""The folder of a study: what the run is, its finished chunks, and all of them in one file."""

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .._atomic_io import (
    PARQUET,
    DamagedError,
    content_digest,
    make_folder,
    parquet_bytes,
    pyarrow,
    read_parquet,
    read_record,
    write_atomically,
    write_record,
    write_whole,
)
from ._fingerprint import RUN
from ._parquet_schema import is_of_run, schema

RESULTS, SUMMARY, CLAIMS, SHARDS = "results.parquet", "summary.json", "claims", "shards"

_ROWS_PER_GROUP = 2**15


class StudyStore:
    """Files of one run in one folder.

    run.json (what the run is), shards/000000.parquet (a finished chunk) with shards/000000.json (what it took), results.parquet
    (all chunks), summary.json (what it took in all), claims (locks, empty). Parquet bytes depend on the results alone: no times,
    a fixed schema and compression. Names of files are made of numbers only, never of what is in the data.

    Every file is verified: JSON holds a digest of its own content, a shard's note and the summary one of the Parquet file beside
    them, and the name of the run. A file that is not as it was written is named in a warning, and counts as missing.

    Args:
        folder: made by `prepare`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._checked: set[int] = set()
        self._reported: set[int] = set()
        self._merged = self._reported_results = False

    @property
    def results(self) -> Path:
        """The final file."""
        return self.folder / RESULTS

    def shard(self, chunk: int) -> Path:
        """The file of a chunk."""
        return self.folder / SHARDS / f"{chunk:06d}.parquet"

    def prepare(self) -> None:
        """Makes the folders."""
        make_folder(self.folder / SHARDS)

    def read_run(self) -> dict[str, Any] | None:
        """The content of run.json, or None."""
        return read_record(self.folder / RUN)

    def check_owner(self, run: str) -> None:
        """Refuses to go on in a folder that holds another run by now, or none.

        Raises:
            RuntimeError: another study was begun there with force_new_run while this one worked.
        """
        if ((self.read_run() or {}).get("run")) != run:
            raise RuntimeError(
                f"Study: expected {self.folder} to hold this run ({run}) until it is finished, got another run: a study was "
                "begun there with force_new_run, or files were removed; give each study a folder of its own"
            )

    def note(self, chunk: int, run: str) -> dict[str, Any] | None:
        """The record of the cost of a finished chunk of this run; None where there is no intact one."""
        path = self.shard(chunk).with_suffix(".json")
        try:
            result = read_record(path)
        except DamagedError:
            return None
        return result if result is not None and result.get("run") == run else None

    def is_finished(self, chunk: int, run: str) -> bool:
        """Whether the chunk has a shard of this run; one that is damaged or of another run is reported once, and is missing."""
        path = self.shard(chunk)
        if not path.exists():
            return False
        if chunk not in self._checked and self.is_sound(chunk, run):
            self._checked.add(chunk)
        if chunk not in self._checked and chunk not in self._reported:
            self._reported.add(chunk)
            text = f"Study: {path} is no shard of this run, or damaged, or its note is; its samples are evaluated again"
            warnings.warn(text, RuntimeWarning, stacklevel=3)
        return chunk in self._checked

    def is_sound(self, chunk: int, run: str) -> bool:
        """Whether note and shard are, to the byte, what this run wrote."""
        note = self.note(chunk, run)
        return note is not None and is_of_run(self.shard(chunk), run, str(note.get("parquet")))

    def forget(self, chunk: int) -> None:
        """Discards that the chunk was intact: it is checked again at the next query."""
        self._checked.discard(chunk)

    def write_shard(self, chunk: int, table: Any, took: Mapping[str, Any], run: str) -> None:
        """Writes the cost record of a chunk, then its rows: the second file marks the chunk as finished."""
        path, content = self.shard(chunk), parquet_bytes(table)
        write_record(path.with_suffix(".json"), {**took, "run": run, "parquet": hashlib.sha256(content).hexdigest()})
        write_whole(path, content)
        self._checked.add(chunk)

    def half_written(self) -> list[int]:
        """Chunks with files that were begun and not finished, perhaps yet."""
        return sorted({int(path.name.split(".")[0]) for path in (self.folder / SHARDS).glob("[0-9]*.tmp")})

    def remove_half_written(self, chunk: int) -> None:
        """Removes what of a chunk was left half written."""
        for path in (self.folder / SHARDS).glob(f"{chunk:06d}.*.tmp"):
            path.unlink(missing_ok=True)

    def remove_temporary(self) -> None:
        """Removes what was left half written besides chunks."""
        for path in [path for name in (RUN, RESULTS, SUMMARY) for path in self.folder.glob(f"{name}.*.tmp")]:
            path.unlink(missing_ok=True)

    def remove_run(self) -> None:
        """Removes the files of a run, and nothing else."""
        for name in (RUN, RESULTS, SUMMARY):
            (self.folder / name).unlink(missing_ok=True)
        shards = self.folder / SHARDS
        for path in [*shards.glob("[0-9]*.parquet"), *shards.glob("[0-9]*.json")]:
            path.unlink(missing_ok=True)
        for chunk in self.half_written():
            self.remove_half_written(chunk)
        self.remove_temporary()
        self._checked.clear()
        self._merged = False

    def merge(self, chunks: int, run: str, summary: Mapping[str, Any]) -> None:
        """Writes all shards as one file, in the order of the chunks, and the summary that vouches for it.

        The bytes of the first do not depend on how samples were chunked.

        Raises:
            UnsoundShardError: a shard is not what this run wrote.
        """
        layout = schema(run)

        def write(file: Any) -> None:
            with pyarrow().parquet.ParquetWriter(file, layout, **PARQUET) as writer:
                for group in _groups(self._tables(chunks, run), layout):
                    writer.write_table(group, row_group_size=_ROWS_PER_GROUP)
            file.flush()
            # Before the results have their name: whoever sees them sees what vouches for them.
            write_record(self.folder / SUMMARY, {**summary, "run": run, "parquet": content_digest(Path(file.name))})

        write_atomically(self.results, write)

    def is_merged(self, run: str) -> bool:
        """Whether the final file of this run is there, as it was written; checked once."""
        if not self._merged and self.results.exists():
            try:
                summary = read_record(self.folder / SUMMARY) or {}
            except DamagedError:
                summary = {}
            self._merged = summary.get("run") == run and is_of_run(self.results, run, str(summary.get("parquet")))
            if not self._merged and not self._reported_results:
                self._reported_results = True
                text = f"Study: {self.results} is not of this run, or damaged, or {SUMMARY} is; both are made again of the shards"
                warnings.warn(text, RuntimeWarning, stacklevel=3)
        return self._merged

    def has_files_of(self, run: str) -> bool:
        """Whether a sound note in the folder names this run."""
        numbers = (path.stem for path in (self.folder / SHARDS).glob("[0-9]*.json"))
        return any(self.note(int(number), run) is not None for number in numbers if number.isdecimal())

    def _tables(self, chunks: int, run: str) -> Iterator[Any]:
        for chunk in range(chunks):
            if not self.is_sound(chunk, run):
                raise UnsoundShardError(chunk)
            yield read_parquet(self.shard(chunk))


class UnsoundShardError(Exception):
    """A shard is not what its run wrote; chunk: its number."""

    def __init__(self, chunk: int) -> None:
        super().__init__(chunk)
        self.chunk = chunk


def _groups(tables: Iterable[Any], layout: Any) -> Iterator[Any]:
    """Tables of equally many rows, the last of what is left, whatever the shards hold."""
    arrow = pyarrow()
    waiting = layout.empty_table()
    for table in tables:
        waiting = arrow.concat_tables([waiting, table.cast(layout)])
        while waiting.num_rows >= _ROWS_PER_GROUP:
            yield waiting.slice(0, _ROWS_PER_GROUP).combine_chunks()
            waiting = waiting.slice(_ROWS_PER_GROUP)
    if waiting.num_rows:
        yield waiting.combine_chunks()
