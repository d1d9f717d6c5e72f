"""Whole curves of many scenes, kept in a folder: the truth that cheaper schedules are held against.

python -m bench.studies.full_curves FOLDER walks MIF and LIF of test scenes on a grid of 101 points, for the residual net with its
batch norms folded into the convolutions (the same function, fewer passes over memory). One file per method and block of scenes;
what is there is not computed again, so it may be stopped at any time.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from saliency_ext import evaluate
from saliency_ext.attribution import GradCAM, InputXGradient, IntegratedGradients
from saliency_ext.infill import DatasetMean
from saliency_ext.metrics import Fidelity
from saliency_ext.perturbation import Engine, EqualFractions
from saliency_ext.testbed.load import load_net
from saliency_ext.testbed.scenes import make_scenes

GRID, BLOCK, BATCH = 100, 250, 32
SCENES, PILOT = 5000, 16  # the pilot teaches strata and is not judged
METHODS: dict[str, Callable[[nn.Module], Any]] = {
    "grad_cam": GradCAM,
    "integrated_gradients": lambda net: IntegratedGradients(net, DatasetMean(), steps=20),
    "input_x_gradient": InputXGradient,
}


@dataclass(frozen=True)
class Curves:
    """Scores of the target, (N, G + 1) float64, when the most (mif) and the least (lif) relevant pixels go first."""

    mif: Tensor
    lif: Tensor

    @property
    def fidelity(self) -> Tensor:
        """(N, G + 1), the gap between both."""
        return self.lif - self.mif


def metric() -> Fidelity:
    """What is walked."""
    return Fidelity(DatasetMean(), EqualFractions(GRID))


def collect(folder: Path, names: list[str], scenes: int = SCENES, last_first: bool = False) -> None:
    """Walks what is not in the folder yet."""
    folder.mkdir(parents=True, exist_ok=True)
    net = load_net("residual")
    folded = fuse(net).eval().to(memory_format=torch.channels_last)
    engine = Engine(folded, max_batch=BATCH)
    for name in names:
        method = METHODS[name](net)
        for start in range(0, scenes, BLOCK)[:: -1 if last_first else 1]:
            place = _place(folder, name, start)
            if place.exists():
                continue
            part = make_scenes("test", torch.arange(start, min(start + BLOCK, scenes)))
            ids = torch.arange(start, start + len(part))
            result = evaluate(folded, part.inputs, part.labels, {name: method}, [metric()], engine=engine, sample_ids=ids)
            curves = result[name, "fidelity"].curves
            half = place.with_suffix(f".{os.getpid()}")
            with half.open("wb") as file:
                np.savez(file, mif=curves["mif"].numpy(), lif=curves["lif"].numpy())
            half.rename(place)
            print(f"{name}: {start + len(part)} of {scenes} scenes", flush=True)


def read(folder: Path, name: str, scenes: int = SCENES) -> Curves:
    """The curves of a method."""
    blocks = [np.load(_place(folder, name, start)) for start in range(0, scenes, BLOCK)]
    mif, lif = (torch.from_numpy(np.concatenate([block[side] for block in blocks])) for side in ("mif", "lif"))
    return Curves(mif[:scenes], lif[:scenes])


def requested(text: str, name: str) -> tuple[dict[str, Curves], Path]:
    """What a study of whole curves was told: the curves, walked where they are missing, and where its JSON goes."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the curves")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results" / f"{name}.json")
    options = parser.parse_args()
    collect(options.folder, list(METHODS), SCENES + PILOT)
    return {method: read(options.folder, method, SCENES + PILOT) for method in METHODS}, options.out


def _place(folder: Path, name: str, start: int) -> Path:
    return folder / f"{name}_{start:06d}.npz"


def main() -> None:
    """Walks the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS))
    parser.add_argument("--scenes", type=int, default=SCENES + PILOT)
    parser.add_argument("--last-first", action="store_true", help="for a second process that meets the first in the middle")
    options = parser.parse_args()
    collect(options.folder, options.methods, options.scenes, options.last_first)


if __name__ == "__main__":
    main()
