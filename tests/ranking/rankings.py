"""Small rankings that tests share, also in other processes."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from saliency_ext import _atomic_io
from saliency_ext.attribution import Gradient
from saliency_ext.metrics import Fidelity
from saliency_ext.perturbation import Engine, EqualFractions
from saliency_ext.ranking import rank_methods
from saliency_ext.stats import Ranking
from tests.helpers import tensors
from tests.study.studies import GREY, SmallNet, killing

IMAGES, ROUND = 43, 8  # five rounds of 8, and one of 3
ROUNDS = 6


def ranked(model: SmallNet | None = None, **changed: Any) -> Ranking:
    """Three maps that no number of images separates, one of them without a value on some; and one that is soon told apart."""
    torch.set_num_threads(1)
    net = SmallNet() if model is None else model
    inputs = tensors(IMAGES, 3, 6, 5, seed=1)
    method = Gradient(net, channels="abs_sum")
    broken = inputs[:, 0].clone()
    broken[::5] = torch.nan
    options: dict[str, Any] = {
        "maps": {"gradient": method, "red": inputs[:, 0], "broken": broken, "steep": steep(inputs)},
        "metric": Fidelity(GREY, EqualFractions(3)),
        "bounds": (-0.4, 0.4),
        "round_size": ROUND,
        "chunk": 3,
        "engine": Engine(net, max_batch=8),
    } | changed
    return rank_methods(net, inputs, 0, **options)


def steep(inputs: torch.Tensor) -> torch.Tensor:
    """What the class is made of, by occlusion of single pixels."""
    net, result = SmallNet(), torch.zeros(len(inputs), 6, 5)
    with torch.no_grad():
        clean = net(inputs).softmax(1)[:, 0]
        for row in range(6):
            for column in range(5):
                masked = inputs.clone()
                masked[:, :, row, column] = 0.5
                result[:, row, column] = clean - net(masked).softmax(1)[:, 0]
    return result


def plain(found: Ranking) -> str:
    """A ranking to the bit."""
    return json.dumps(asdict(found))


def of_group(meet: Path, rank: int, world: int, model: SmallNet | None = None, **changed: Any) -> None:
    """One process of a group: writes what it found, or the error, to a file of its own."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=world)
    try:
        text = plain(ranked(model, **changed))
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
    finally:
        torch.distributed.destroy_process_group()
    meet.with_name(f"{meet.name}.{rank}").write_text(text)


def breaking(at: int, *, kill: bool = False) -> SmallNet:
    """A net that fails at some call: with an error, or its process is killed."""
    net = SmallNet()

    def hook(*_: Any) -> None:
        if net.calls + 1 == at and kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if net.calls + 1 == at:
            raise ZeroDivisionError("broken net")

    net.register_forward_pre_hook(hook)
    return net


def break_one(meet: Path, rank: int, world: int, at: int, **changed: Any) -> None:
    """A group whose process 1 has a net that fails."""
    of_group(meet, rank, world, breaking(at) if rank == 1 else None, **changed)


def kill(out: Path, at: int) -> None:
    """A ranking whose process is killed in the middle of a forward."""
    ranked(breaking(at, kill=True), out=out)


def kill_one(meet: Path, rank: int, world: int, at: int, **changed: Any) -> None:
    """A group of which process 1 is killed in the middle of a forward."""
    of_group(meet, rank, world, breaking(at, kill=True) if rank == 1 else None, **changed)


def kill_while_writing(out: Path, syncs: int) -> None:
    """A ranking whose process is killed when it waits for the disk for the n-th time."""
    _atomic_io.os.fsync = killing(syncs)
    ranked(out=out)


def fill_the_disk(meet: Path, rank: int, world: int, **changed: Any) -> None:
    """A group whose first process finds no room for its third file."""
    left = [4]

    def full(_: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")

    _atomic_io.os.fsync = full
    of_group(meet, rank, world, **changed)


def disagree(meet: Path, rank: int, world: int) -> None:
    """A group of which each process has a seed of its own."""
    of_group(meet, rank, world, seed=rank)
