"""Trains the nets on the training scenes and writes weights, log and hash: `python -m saliency_ext.testbed train`.

Deterministic: the same command on the same machine and torch gives the same bytes. Another processor may round differently,
which moves the accuracy within its error.
"""

import hashlib
import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..checks import require_choice, require_integer
from ._accuracy import recognition
from .load import FILES, LOG, _safetensors, training_log
from .nets import NETS, make_net
from .scenes import CLASSES, MEAN, STD, make_scenes

logger = logging.getLogger(__name__)
TEST_SCENES = 2000


@dataclass(frozen=True)
class TrainingPlan:
    """How a net is trained: AdamW, the rate rises over the first tenth of the steps and then falls as a cosine.

    Each epoch draws `scenes` new ones, so no scene is seen twice; the photographs and digits in them are.
    """

    scenes: int
    epochs: int
    batch: int
    rate: float
    decay: float


PLANS = {
    "residual": TrainingPlan(scenes=12_000, epochs=12, batch=32, rate=2e-3, decay=0.05),
    "transformer": TrainingPlan(scenes=12_000, epochs=25, batch=32, rate=1e-3, decay=0.05),
}


def train(name: str, folder: str | Path, *, seed: int = 0, threads: int = 1, plan: TrainingPlan | None = None) -> dict[str, Any]:
    """Trains one net on training scenes, measures it on test scenes, and writes weights and log into a folder.

    Args:
        name: "residual" or "transformer".
        folder: made if missing; the weights file is replaced, and the net's record in the log.
        seed: of scenes, weights and order, in [0, 2^62).
        threads: of torch, restored afterwards; it is part of what must be equal for equal bytes.
        plan: None = the one the shipped weights were made with.

    Returns:
        The net's record in the log.

    Raises:
        ValueError: an unknown name. ImportError: a package is missing.
    """
    require_choice("train", "name", name, tuple(NETS))
    require_integer("train", "seed", seed, 0, 2**62 - 1)
    require_integer("train", "threads", threads, 1, 1024)
    plan = plan or PLANS[name]
    home, save = Path(folder), _safetensors().save
    home.mkdir(parents=True, exist_ok=True)
    before, started = torch.get_num_threads(), time.process_time()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            net = make_net(name, seed=seed)
            losses = _fit(net, plan, seed)
        measured = measure(net, TEST_SCENES)
    finally:
        torch.set_num_threads(before)
    content = save({key: value.contiguous() for key, value in net.state_dict().items()})
    (home / FILES[name]).write_bytes(content)
    record = {
        "file": FILES[name],
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "command": f"python -m saliency_ext.testbed train --net {name} --seed {seed} --threads {threads}",
        "plan": asdict(plan),
        "seed": seed,
        "threads": threads,
        "torch": torch.__version__,
        "processor_seconds": round(time.process_time() - started),
        "classes": CLASSES,
        "mean": MEAN,
        "std": STD,
        "epoch_losses": losses,
        "test_scenes": TEST_SCENES,
        "test": measured,
    }
    log = training_log(home) if (home / LOG).exists() else {}
    (home / LOG).write_text(json.dumps(log | {name: record}, indent=2) + "\n")
    return record


def measure(net: nn.Module, scenes: int, *, seed: int = 0) -> dict[str, dict[str, float]]:
    """Share of the first test scenes that a net (in eval mode) recognises, and of how many: {measure: {"share", "of"}}."""
    truth = make_scenes("test", scenes, seed=seed)
    with torch.no_grad():
        logits = torch.cat([net(part) for part in torch.split(truth.inputs, 256)])
    right = recognition(logits, truth)
    return {key: {"share": round(hits.double().mean().item(), 4), "of": len(hits)} for key, hits in right.items()}


def _fit(net: nn.Module, plan: TrainingPlan, seed: int) -> list[float]:
    """Mean loss of each epoch, all on scenes not seen before; the net is left in eval mode."""
    steps = -(-plan.scenes // plan.batch)
    net.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    losses = []
    optimiser = torch.optim.AdamW(net.parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=plan.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, plan.rate, total_steps=plan.epochs * steps, pct_start=0.1, cycle_momentum=False
    )
    for epoch in range(plan.epochs):
        first, total = epoch * plan.scenes, 0.0
        for start in range(first, first + plan.scenes, plan.batch):
            indices = torch.arange(start, min(start + plan.batch, first + plan.scenes))
            scenes = make_scenes("train", indices, seed=seed)
            loss = nn.functional.cross_entropy(net(scenes.inputs.to(memory_format=torch.channels_last)), scenes.labels)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += loss.item() * len(indices)
        losses.append(round(total / plan.scenes, 4))
        logger.info("epoch %d of %d: loss %.4f", epoch + 1, plan.epochs, losses[-1])
    net.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return losses
