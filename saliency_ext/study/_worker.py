"""One process of a study: claims and evaluates chunks until all are finished, then merges them."""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ._chunk import ChunkJob
from ._distributed import MERGE, ChunkClaims, visiting_order
from ._store import StudyStore, UnsoundShardError
from .reader import chunk_values, summary_of
from .stopping import StopMonitor

# (samples finished by all processes, samples in all, forwards of this process, seconds since it began)
Progress = Callable[[int, int, int, float], None]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_POLLING_INTERVAL = 0.1  # seconds, while others work on the last chunks


class Worker:
    """Works on a job until it is finished, beside any number of others on the same folder.

    It does not end before every chunk is finished: the chunks of a process that dies are taken over by those that wait.
    """

    def __init__(
        self, job: ChunkJob, store: StudyStore, claims: ChunkClaims, rank: int, world: int, progress: Progress | None
    ) -> None:
        self._chunk_job, self._store, self._claims = job, store, claims
        self._rank, self._world, self._progress = rank, world, progress
        self._monitor = job.monitor
        self._began, self._before = time.perf_counter(), job.engine.counters.forwards
        self._done = 0

    def work(self) -> None:
        """Finishes the job. Errors say how to continue."""
        with self._explained():
            while True:
                try:
                    while pending := self._pending():
                        if not self._advance(pending):
                            time.sleep(_POLLING_INTERVAL)
                    return self._finish()
                except UnsoundShardError as error:  # damaged since it was checked, or overwritten by another run
                    self._store.check_owner(self._chunk_job.run)
                    self._store.forget(error.chunk)

    def _finish(self) -> None:
        """Makes the final files, if nobody has, of a folder that is still this run's."""
        with self._claims.claim(MERGE, wait=True):
            self._store.check_owner(self._chunk_job.run)
            if not self._store.is_merged(self._chunk_job.run):
                chunks = self._chunk_job.chunks if self._monitor is None else self._monitor.chunks
                stopped = None if self._monitor is None else self._monitor.stopped()
                summary = summary_of(self._store, self._chunk_job.run, chunks, stopped)
                self._store.merge(chunks, self._chunk_job.run, summary)
            if self._claims.works:  # else another process may be writing one
                self._tidy()

    def report(self) -> None:
        """Reports the progress to the caller."""
        if self._progress is not None:
            forwards, seconds = self._chunk_job.engine.counters.forwards - self._before, time.perf_counter() - self._began
            self._progress(self._done, len(self._chunk_job.reader), forwards, seconds)

    def _pending(self) -> list[int]:
        """The chunks that nobody has finished; none where the final file is there, even if shards were removed since."""
        merged = self._store.is_merged(self._chunk_job.run)
        chunks = range(0 if merged else self._chunk_job.chunks)
        missing = [chunk for chunk in chunks if not self._store.is_finished(chunk, self._chunk_job.run)]
        done = len(self._chunk_job.reader) - sum(len(self._chunk_job.samples(chunk)) for chunk in missing)
        if self._monitor is not None:
            over = merged or self._is_over(self._monitor, set(missing))
            missing, done = ([], self._monitor.images) if over else (missing, done)
        self._done = done
        self.report()
        return missing

    def _is_over(self, monitor: StopMonitor, missing: set[int]) -> bool:
        """Whether the study may stop, after an update with the finished chunks that have no gap before them."""
        while monitor.over is None and monitor.chunks < self._chunk_job.chunks and monitor.chunks not in missing:
            monitor.see(*chunk_values(self._store, monitor.chunks, self._chunk_job.run, monitor.metric))
        return monitor.over is not None

    def _advance(self, pending: list[int]) -> bool:
        """Whether this process finished some chunk: one, the first that is free, where it may be the last that is needed."""
        if self._monitor is None:
            return any([self._take(chunk) for chunk in visiting_order(pending, self._rank, self._world)])
        order = pending if self._claims.works else visiting_order(pending, self._rank, self._world)
        return any(self._take(chunk) for chunk in order)

    def _take(self, chunk: int) -> bool:
        """Whether this process finished the chunk."""
        with self._claims.claim(chunk) as mine:
            if not mine or self._store.is_finished(chunk, self._chunk_job.run):
                return False
            table, took = self._chunk_job.do(chunk)
            self._store.check_owner(self._chunk_job.run)
            self._store.write_shard(chunk, table, took | {"rank": self._rank, "process": os.getpid()}, self._chunk_job.run)
        self._done += len(self._chunk_job.samples(chunk))
        self.report()
        return True

    def _tidy(self) -> None:
        """Removes what killed processes left half written, and nothing of one that is still at a chunk nobody needs any more."""
        self._store.remove_temporary()
        for chunk in self._store.half_written():
            with self._claims.claim(chunk) as mine:
                if mine:
                    self._store.remove_half_written(chunk)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Adds to every error that nothing is lost, and how to continue."""
        try:
            yield
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"Study.run: interrupted. {self._how_to_go_on('')}") from None
        except OSError as error:
            if error.errno not in _FULL:
                error.add_note(self._how_to_go_on("mend what failed, then "))
                raise
            text = f"Study.run: no room to write to {self._store.folder}. {self._how_to_go_on('free some, then ')}"
            raise OSError(error.errno, text) from error
        except Exception as error:
            error.add_note(self._how_to_go_on("mend what failed, then "))
            raise

    def _how_to_go_on(self, first: str) -> str:
        finished = sum(self._store.shard(chunk).exists() for chunk in range(self._chunk_job.chunks))
        return (
            f"{finished} of {self._chunk_job.chunks} chunks are finished and kept in {self._store.folder}; to go on, {first}call "
            "resume() on the same study: finished chunks are not evaluated again, and the result has the same bytes."
        )
