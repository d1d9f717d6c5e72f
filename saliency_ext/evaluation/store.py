"""The folder of a study: what the run is, its finished chunks, and all of them in one file."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .files import PARQUET, is_of_run, read_json, read_parquet, write_atomically, write_json, write_table
from .rows import pyarrow, schema

RUN, RESULTS, SUMMARY, CLAIMS, SHARDS = "run.json", "results.parquet", "summary.json", "claims", "shards"

_ROWS_PER_GROUP = 2**15


class Store:
    """Files of one run in one folder.

    run.json (what the run is), shards/000000.parquet (a finished chunk) with shards/000000.json (what it took), results.parquet
    (all chunks), summary.json (what it took in all), claims (locks, empty). Parquet bytes depend on the results alone: no times,
    a fixed schema and compression. Names of files are made of numbers only, never of what is in the data.

    Args:
        folder: made by `prepare`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._checked: set[int] = set()
        self._reported: set[int] = set()

    @property
    def results(self) -> Path:
        """The final file."""
        return self.folder / RESULTS

    def shard(self, chunk: int) -> Path:
        """The file of a chunk."""
        return self.folder / SHARDS / f"{chunk:06d}.parquet"

    def prepare(self) -> None:
        """Makes the folders."""
        (self.folder / SHARDS).mkdir(parents=True, exist_ok=True)

    def read_run(self) -> dict[str, Any] | None:
        """What run.json says, or None if there is none."""
        return read_json(self.folder / RUN)

    def write_run(self, about: Mapping[str, Any]) -> None:
        """Writes run.json."""
        write_json(self.folder / RUN, about)

    def is_finished(self, chunk: int, run: str) -> bool:
        """Whether the chunk has a shard of this run; a file that is none is reported once and counts as missing."""
        path = self.shard(chunk)
        if not path.exists():
            return False
        if chunk in self._checked:
            return True
        if is_of_run(path, run):
            self._checked.add(chunk)
            return True
        if chunk not in self._reported:
            self._reported.add(chunk)
            text = f"Study: {path} is no shard of this run, perhaps damaged; its samples are evaluated again"
            warnings.warn(text, RuntimeWarning, stacklevel=3)
        return False

    def write_shard(self, chunk: int, table: Any, took: Mapping[str, Any]) -> None:
        """Writes what a chunk took, then its rows: the second file says that the chunk is finished."""
        path = self.shard(chunk)
        write_json(path.with_suffix(".json"), took)
        write_table(path, table)
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

    def merge(self, chunks: int, run: str) -> None:
        """Writes all shards as one file, in the order of the chunks; its bytes do not depend on how samples were chunked."""
        layout = schema(run)

        def write(file: Any) -> None:
            with pyarrow().parquet.ParquetWriter(file, layout, **PARQUET) as writer:
                for group in _groups(map(self.shard, range(chunks)), layout):
                    writer.write_table(group, row_group_size=_ROWS_PER_GROUP)

        write_atomically(self.results, write)

    def is_merged(self, run: str) -> bool:
        """Whether the final file of this run is there."""
        return self.results.exists() and is_of_run(self.results, run)


def _groups(shards: Iterable[Path], layout: Any) -> Iterator[Any]:
    """Tables of equally many rows, the last of what is left, whatever the shards hold."""
    arrow = pyarrow()
    waiting = layout.empty_table()
    for path in shards:
        waiting = arrow.concat_tables([waiting, read_parquet(path).cast(layout)])
        while waiting.num_rows >= _ROWS_PER_GROUP:
            yield waiting.slice(0, _ROWS_PER_GROUP).combine_chunks()
            waiting = waiting.slice(_ROWS_PER_GROUP)
    if waiting.num_rows:
        yield waiting.combine_chunks()
