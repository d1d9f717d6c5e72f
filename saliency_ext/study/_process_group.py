"""Collective reductions of several processes, with errors of one process raised in all."""

from collections.abc import Callable

import torch
from torch import Tensor

from .._digests import digest
from ..checks import bad_value
from ._distributed import rank_and_world

_ON_THE_HOST = ("gloo", "mpi", "ucc", "cpu:")


class OtherProcessFailed(RuntimeError):
    """What a process raises because another one has failed, or is gone."""


class ProcessGroup:
    """The processes of torch.distributed where it is initialised, else this one alone. All must make the same calls in turn.

    Args:
        function: named in errors.

    Example:
        >>> ProcessGroup("example").all_reduce_sum(2, lambda: torch.tensor([3, 4])).tolist()
        [3, 4]
    """

    def __init__(self, function: str) -> None:
        self._function = function
        self.rank, self.world = rank_and_world()

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def all_reduce_sum(self, size: int, work: Callable[[], Tensor]) -> Tensor:
        """(size,) int64: the sum of what all processes return, the same in each.

        Raises:
            OtherProcessFailed: the work of another process failed. What fails here is raised here; in any case all go on to the
                end of the call, so none waits for one that has stopped.
        """
        if self.world == 1:
            return work()
        message = torch.zeros(self.world + size, dtype=torch.int64)
        failure = None
        try:
            message[self.world :] = work()
        except BaseException as error:  # Ctrl-C, too: it is raised again below
            failure = error
            message[self.rank] = 1
        try:
            message = self._reduced(message)
        finally:
            if failure is not None:
                raise failure
        failed = message[: self.world].nonzero().flatten().tolist()
        if failed:
            raise OtherProcessFailed(
                f"{self._function}: process {failed[0]} of {self.world} failed, and says why; this one stopped with it"
            )
        return message[self.world :]

    def agree(self, what: str) -> None:
        """Refuses processes with different arguments."""
        digests = torch.zeros(self.world, dtype=torch.int64)
        digests[self.rank] = int(digest(what)[:15], 16)
        if len(set(self.all_reduce_sum(self.world, lambda: digests).tolist())) > 1:
            remedy = "load the same data in the same order, and choose the same"
            bad_value(self._function, "arguments", "to be the same in every process", "different ones", remedy)

    def _reduced(self, message: Tensor) -> Tensor:
        backend = torch.distributed.get_backend()
        on_the_host = any(name in backend for name in _ON_THE_HOST)
        accelerator = None if on_the_host else torch.accelerator.current_accelerator()
        placed = message if accelerator is None else message.to(accelerator)
        try:
            torch.distributed.all_reduce(placed)
        except RuntimeError as error:
            raise OtherProcessFailed(f"{self._function}: another process is gone: {error}") from error
        return placed.cpu()
