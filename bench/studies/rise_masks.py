"""How many RISE masks each variant needs: `python -m bench.studies.rise_masks [--scenes 4] [--out file.json]`.

The published weighting ("plain", independent masks) with N masks has some Spearman correlation to a run of 50 N other masks. How
many masks does a variant need for the same correlation to the same long run? Net and scenes are those of the testbed. All runs
are cut from pools of masks: a long one for the reference, and others, of other seeds, for the short runs.
"""

import argparse
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saliency_ext.attribution._rise_estimators import Estimator, MapEstimator, RegressionEstimator
from saliency_ext.attribution._rise_masks import MaskSampler, MaskSums
from saliency_ext.infill import DatasetMean
from saliency_ext.metrics._rank_correlation import rank_correlation
from saliency_ext.perturbation import Engine, GridMasks, Plan
from saliency_ext.testbed.load import load_net
from saliency_ext.testbed.scene_config import SceneConfig
from saliency_ext.testbed.scenes import SIDE, make_scenes

from ..machine import metadata
from ..report import write_json

RESULTS = Path(__file__).parent.parent / "results"
ANCHOR, TIMES = 256, 50  # masks of the published run; how much longer the reference is
GRID, KEEP, BORDER = 7, 0.5, "mirror"
POOL = 2048  # masks for short runs of independent masks or pairs
SOBOL_RUNS = 4  # a sequence is better than its parts, so that each run has its own
SIZES = (16, 32, 64, 128, 256, 512)
LONGER = (1024, 2048)  # of independent masks only
MOST_RUNS = 8
VARIANTS = tuple((w, s) for s in ("random", "antithetic", "sobol") for w in ("plain", "centred", "regressed"))
_RESAMPLES = 2000

Pool = tuple[Tensor, Tensor, Tensor]  # grids, shifts, probabilities of the target


def pool(engine: Engine, image: Tensor, target: Tensor, sampling: str, seed: int, count: int) -> Pool:
    """Masks and what the model says of the image seen through them."""
    grids, shifts = MaskSampler((GRID, GRID), (SIDE, SIDE), KEEP, seed, sampling).draw(count)
    plan = Plan()
    keys = plan.request(GridMasks(grids, shifts, BORDER), DatasetMean())[0]
    return grids, shifts, engine.run(plan, image, target).score(keys, "probability")[0]


def saliency(masks: Pool, weighting: str, first: int = 0, count: int | None = None) -> Tensor:
    """The map from some neighbours of a pool."""
    grids, shifts, scores = (values[first : None if count is None else first + count] for values in masks)
    sums = MaskSums(grids, shifts, (SIDE, SIDE), BORDER)
    regressed = weighting == "regressed"
    estimator: Estimator = RegressionEstimator(sums, grids, shifts, KEEP) if regressed else MapEstimator(sums, weighting, KEEP)
    return estimator.map(scores)


def runs_of(pools: dict[str, list[Pool]], sampling: str, size: int) -> list[tuple[Pool, int]]:
    """Pools and first masks of disjoint runs of a size."""
    if sampling == "sobol":
        return [(each, 0) for each in pools["sobol"]]
    (whole,) = pools[sampling]
    return [(whole, first) for first in range(0, len(whole[2]) - size + 1, size)][:MOST_RUNS]


def measure(scenes: int) -> dict[str, dict[str, dict[int, list[list[float]]]]]:
    """Correlations: reference -> variant -> masks -> scene -> run."""
    data = make_scenes("test", scenes, scene_config=SceneConfig(objects=2))
    engine = Engine(load_net(), max_batch=64)
    result: dict[str, dict[str, dict[int, list[list[float]]]]] = {name: {} for name in ("plain", "centred")}
    for n in range(scenes):
        started = time.monotonic()
        image, target = data.inputs[n : n + 1], data.labels[n : n + 1, None]
        long = pool(engine, image, target, "random", 1000, ANCHOR * TIMES)
        references = {name: saliency(long, name) for name in result}
        pools = {sampling: [pool(engine, image, target, sampling, 1, POOL)] for sampling in ("random", "antithetic")}
        pools["sobol"] = [pool(engine, image, target, "sobol", 10 + k, SIZES[-1]) for k in range(SOBOL_RUNS)]
        for weighting, sampling in VARIANTS:
            for size in SIZES + (LONGER if sampling == "random" and weighting != "regressed" else ()):
                maps = [saliency(masks, weighting, first, size) for masks, first in runs_of(pools, sampling, size)]
                for name, reference in references.items():
                    row = result[name].setdefault(f"{weighting}, {sampling}", {}).setdefault(size, [])
                    row.append([float(rank_correlation(each[None], reference[None])) for each in maps])
        print(f"scene {n + 1} of {scenes}: {time.monotonic() - started:.0f} s", flush=True)
    return result


def masks_needed(curve: dict[int, float], wanted: float) -> float:
    """Where a curve (masks -> correlation) first reaches a value: linear in the logarithm; the ends where it lies outside."""
    sizes = sorted(curve)
    if curve[sizes[0]] >= wanted:
        return float(sizes[0])
    for low, high in pairwise(sizes):
        if curve[high] >= wanted:
            share = (wanted - curve[low]) / (curve[high] - curve[low])
            return float(low * (high / low) ** share)
    return float(sizes[-1])


def summary(correlations: dict[str, dict[int, list[list[float]]]], resamples: int = _RESAMPLES) -> dict[str, Any]:
    """Per variant the mean correlation of each size, and how many times fewer masks than published, with 95 % intervals.

    Resampled: scenes, and runs within them.
    """
    names, generator = list(correlations), torch.Generator().manual_seed(0)
    scenes = len(correlations[names[0]][ANCHOR])
    curves: list[dict[str, dict[int, float]]] = []
    for resample in range(resamples + 1):
        chosen = torch.arange(scenes) if resample == 0 else torch.randint(scenes, (scenes,), generator=generator)
        curve: dict[str, dict[int, float]] = {}
        for name in names:
            curve[name] = {}
            for size, rows in correlations[name].items():
                values = []
                for scene in chosen.tolist():
                    row = torch.tensor(rows[scene])
                    values.append(row if resample == 0 else row[torch.randint(len(row), (len(row),), generator=generator)])
                curve[name][size] = float(torch.cat(values).mean())
        curves.append(curve)
    published = "plain, random"
    result: dict[str, Any] = {}
    for name in names:
        ratios = [ANCHOR / masks_needed(curve[name], curve[published][ANCHOR]) for curve in curves]
        low, high = (
            torch.tensor(ratios[1:], dtype=torch.float64).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
        )
        result[name] = {
            "spearman": curves[0][name],
            "masks_needed": ANCHOR / ratios[0],
            "times_fewer": ratios[0],
            "times_fewer_low": low,
            "times_fewer_high": high,
        }
    return result


def main(words: list[str] | None = None) -> int:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.rise_masks", description="Masks that RISE's variants need.")
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--out", type=Path, default=RESULTS / "rise_masks.json")
    options = parser.parse_args(words)
    result = measure(options.scenes)
    content: dict[str, Any] = {
        "meta": metadata("cpu", quick=False),
        "question": f"masks for the Spearman correlation to {ANCHOR * TIMES} other masks that plain RISE has with {ANCHOR}",
        "scenes": options.scenes,
        "score": "probability of the labelled class",
        "grid": GRID,
        "keep": KEEP,
        "references": {name: summary(correlations) for name, correlations in result.items()},
        "correlations": result,
    }
    write_json(options.out, content)
    for reference, rows in content["references"].items():
        print(f"\nagainst a {reference} run of {ANCHOR * TIMES} masks; mean Spearman at", *SIZES, *LONGER, "masks")
        for name, row in rows.items():
            numbers = " ".join(f"{row['spearman'][size]:.3f}" if size in row["spearman"] else "    -" for size in SIZES + LONGER)
            ratio = f"{row['times_fewer']:.1f} [{row['times_fewer_low']:.1f}, {row['times_fewer_high']:.1f}] times fewer"
            print(f"    {name:<22} {numbers}   {ratio}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
