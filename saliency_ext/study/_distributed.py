"""Several processes on one study: who works on which chunk. No process ever waits for a message of another."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

# Beyond every chunk: held while the folder is set up, and while the final files are made.
SETUP, MERGE = 2**40, 2**40 + 1

_TAKEN = (errno.EACCES, errno.EAGAIN)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def rank_and_world() -> tuple[int, int]:
    """This process and the number of processes, from torch.distributed where it is initialised; else 0 of 1."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def visiting_order(chunks: Iterable[int], rank: int, world: int) -> list[int]:
    """All chunks: every world-th first, from `rank` on; then the next rank's, to take over what nobody works on.

    Example:
        >>> visiting_order(range(5), rank=1, world=2)
        [1, 3, 0, 2, 4]
    """
    return sorted(chunks, key=lambda chunk: ((chunk - rank) % world, chunk))


class ChunkClaims:
    """Claims on numbered pieces of work, by locks on the bytes of one file that all processes open.

    The operating system lets go of a lock when its process ends, however it ends: the work of a killed process is free at once,
    and there is no clock to agree on. Claims only save work: each piece is finished by the renaming of a complete file, so
    where a file system has no locks, pieces may be done twice, with the same bytes. Locks belong to processes: threads of one
    process do not exclude each other.

    Args:
        path: the file; made if it is not there, and always empty.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, ChunkClaims(Path(folder) / "claims") as claims, claims.claim(3) as mine:
        ...     mine
        True
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.works = True  # whether claims are exclusive; False once the file system refused a lock
        self._file = -1

    def __enter__(self) -> "ChunkClaims":
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
        self._file = -1

    @contextmanager
    def claim(self, number: int, *, wait: bool = False) -> Iterator[bool]:
        """Whether the piece of work is this process's until the end of the block; with `wait`, when others have let it go."""
        taken = self._lock(number, wait)
        try:
            yield taken
        finally:
            if taken:
                self._unlock(number)

    def _lock(self, number: int, wait: bool) -> bool:
        try:
            import fcntl

            fcntl.lockf(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, number)
        except ModuleNotFoundError:
            self.works = False
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            if error.errno not in _NO_LOCKS:
                raise
            self.works = False
        return True

    def _unlock(self, number: int) -> None:
        if self.works:
            import fcntl

            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)
