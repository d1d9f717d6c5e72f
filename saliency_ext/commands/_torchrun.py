"""Processes of torchrun: their rank, device and process group."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..study._distributed import rank_and_world


def place_among_all() -> tuple[int, int]:
    """Number of this process and of all. Under torchrun from its rendezvous, without a group; else from torch.distributed."""
    if not _launched():
        return rank_and_world()
    from torch.distributed.rendezvous import rendezvous  # not in every build of torch

    _, rank, world = next(rendezvous("env://"))
    return rank, world


@contextmanager
def process_group() -> Iterator[bool]:
    """A group of all processes under torchrun, for the time of the block; whether this process is the first."""
    if not _launched():
        yield rank_and_world()[0] == 0
        return
    torch.distributed.init_process_group("gloo")
    try:
        yield torch.distributed.get_rank() == 0
    finally:
        torch.distributed.destroy_process_group()


def own_gpu() -> str:
    """The GPU of this process: under torchrun those of a machine are dealt out in turn, else the current one."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_torchelastic_launched()):
        return "cuda"
    return f"cuda:{distributed.get_node_local_rank(0) % max(torch.cuda.device_count(), 1)}"


def _launched() -> bool:
    """Whether torchrun did, and nobody has made a group yet."""
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_torchelastic_launched() and not distributed.is_initialized()
