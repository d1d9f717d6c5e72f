"""Small studies that the tests of the runner share, also in other processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from saliency_ext import _atomic_io
from saliency_ext.attribution import Gradient
from saliency_ext.evaluation.results import Results
from saliency_ext.infill import Constant
from saliency_ext.metrics import Deletion, Fidelity
from saliency_ext.perturbation import EqualFractions
from saliency_ext.study.study import Study
from tests.helpers import tensors

GREY = Constant(0.5)
PROBED = 2  # forwards that show what the model answers, before any chunk or round


class SmallNet(torch.nn.Module):
    """A convolution and a linear layer, with weights made of a seed; it may be slow, and it counts its calls."""

    def __init__(self, seed: int = 0, seconds: float = 0.0) -> None:
        super().__init__()
        self.features = torch.nn.Conv2d(3, 4, 3)
        self.head = torch.nn.Linear(4 * 4 * 3, 5)
        for place, parameter in enumerate(self.parameters()):
            parameter.data = tensors(*parameter.shape, seed=100 * seed + place) - 0.5
        self._seconds, self.calls = seconds, 0
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self._seconds:
            time.sleep(self._seconds)
        return self.head(self.features(images).relu().flatten(1))


def make_study(out: Path, model: Any = None, **changed: Any) -> Study:
    options: dict[str, Any] = {
        "inputs": tensors(11, 3, 6, 5, seed=1),
        "target": "predicted",
        "maps": {"gradient": partial(Gradient, channels="abs_sum"), "signed": Gradient},
        "metrics": [Deletion(GREY, EqualFractions(3)), Fidelity(GREY, EqualFractions(3), references=1)],
        "engine": {"max_batch": 8},
        "chunk": 2,
    }
    return Study(SmallNet() if model is None else model, out=out, **{**options, **changed})


def run(out: Path, seconds: float = 0.0, **changed: Any) -> Results:
    """A study run to its end; what a child process does."""
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return make_study(out, SmallNet(seconds=seconds), **changed).run()


def run_and_tell(out: Path, begun: Any, seconds: float, **changed: Any) -> None:
    """A slow study that says when it began."""
    run(out, seconds, progress=lambda *_: begun.set(), **changed)


def run_together(out: Path, barrier: Any, **changed: Any) -> None:
    """A slow study that begins when all its processes are there."""
    barrier.wait(60)
    run(out, 0.02, **changed)


def run_and_die(out: Path, chunks: int, **changed: Any) -> None:
    """A study whose process is killed in the middle of a chunk, once it has finished so many."""

    def progress(done: int, total: int, forwards: int, seconds: float) -> None:
        own = sum(json.loads(note.read_text())["rank"] == changed.get("rank", 0) for note in (out / "shards").glob("*.json"))
        if own >= chunks and forwards >= 10 * chunks + 3:
            os.kill(os.getpid(), signal.SIGKILL)

    run(out, progress=progress, **changed)


def killing(syncs: int) -> Callable[[int], None]:
    """In place of fsync: kills the process when it waits for the disk for the n-th time."""
    left = [syncs]

    def killed(_: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return killed


def run_and_die_while_writing(out: Path, syncs: int) -> None:
    """A study whose process is killed at the n-th time that it waits for the disk: before or after a file gets its name."""
    _atomic_io.os.fsync = killing(syncs)
    run(out)


def run_in_group(out: Path, rendezvous: Path, rank: int, world: int, **changed: Any) -> None:
    """A study in a process of a torch.distributed group, which knows rank and world by itself."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    run(out, **changed)
    torch.distributed.destroy_process_group()


def result_bytes(out: Path) -> bytes:
    return (out / "results.parquet").read_bytes()


def children() -> Any:
    """Starts processes from one that has everything loaded, so that each begins its work at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.study.studies"])
    return context
