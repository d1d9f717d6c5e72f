"""Do total variation and upsampling make learned masks sound? [Gupta 2022], asked on the testbed net.

python -m bench.studies.soundness_tv writes bench/results/soundness_tv.json: for both losses, variation x upsampling, other
methods and controls, the worst-case completeness and soundness with intervals over images and seeds, own-minus-other pointing,
and which maps are better than which in both. The other methods are those of few forwards, and occlusion.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saliency_ext import TargetMaps, evaluate
from saliency_ext.attribution import GreyLevel, IntrinsicMask, RandomControl
from saliency_ext.attribution.base import MethodOptions
from saliency_ext.attribution.registry import make_methods
from saliency_ext.metrics.presets import PRESETS
from saliency_ext.stats.intervals import summarise
from saliency_ext.testbed.load import load_net
from saliency_ext.testbed.scenes import Scenes, make_scenes
from saliency_ext.testbed.truth import other_region, own_region

from ..report import write_json

LABELS = (4, 5, 6, 7)  # digits with one name each
VARIATIONS = {"none": 0.0, "weak": 50.0, "strong": 500.0}  # strong: the published 0.01 on 224 x 224 pixels
SCALES = (1, 4)
LOSSES = ("prob_ce", "nll")
OTHERS = ("grad_cam", "grad_cam_plus_plus", "layer_cam", "eigen_cam", "gradient", "input_x_gradient", "agf", "occlusion")
_POOL = 1500  # test scenes to choose from
_COLLAPSED = 0.1  # a mask that nowhere reaches this shows nothing

Maps = Callable[[Tensor], Tensor]


def chosen_scenes(count: int, seed: int) -> Scenes:
    """Test scenes with two objects, both among the labels; other ones for each seed."""
    pool = make_scenes("test", torch.arange(_POOL))
    wanted = torch.isin(pool.entities, torch.tensor(LABELS)).all(1).nonzero().flatten()
    if len(wanted) < count * (seed + 1):
        raise ValueError(f"chosen_scenes: expected count * (seed + 1) <= {len(wanted)} scenes, got {count * (seed + 1)}")
    return pool[wanted[count * seed : count * (seed + 1)]]


def contestants(model: Any, seed: int, steps: int, infills: int) -> dict[str, Maps]:
    """Name -> maps (N, L, H, W) of images, one for each label."""
    reference_images = make_scenes("train", 200, seed=seed).inputs
    made: dict[str, Any] = {}
    for loss in LOSSES:
        for scale in SCALES:
            for name, variation in VARIATIONS.items():
                options = {"steps": steps, "infills": infills, "labels": LABELS, "seed": seed, "max_batch": 32}
                method = IntrinsicMask(model, reference_images, loss=loss, scale=scale, variation=variation, **options)
                made[f"intrinsic {loss} scale {scale} variation {name}"] = method
    made |= make_methods(OTHERS, model, MethodOptions())
    made |= {"control: random": RandomControl(seed), "control: grey level": GreyLevel()}
    targets = torch.tensor(LABELS)
    return {name: lambda images, m=method: m(images, targets.expand(len(images), -1)) for name, method in made.items()}


def pointing(maps: Tensor, scenes: Scenes) -> list[float]:
    """For both objects of each scene: the peak of its label's map on its box (1), on the other's (-1), elsewhere (0)."""
    result = []
    for which in (0, 1):
        classes = scenes.entities[:, which]
        at = (classes[:, None] == torch.tensor(LABELS)).int().argmax(1)
        peaks = maps[torch.arange(len(maps)), at].flatten(1).argmax(1)[:, None]
        own, other = (region(scenes, classes, "box").flatten(1).gather(1, peaks)[:, 0] for region in (own_region, other_region))
        result += (own.int() - other.int()).double().tolist()
    return result


def judged(model: Any, maps: Tensor, scenes: Scenes) -> dict[str, list[float]]:
    """Numbers per image of maps (N, L, H, W)."""
    labels = torch.tensor(LABELS)
    scored = PRESETS["gupta2022"](labels=LABELS)
    target = scenes.entities[:, 0]
    results = evaluate(model, scenes.inputs, target, {"map": TargetMaps(maps, labels)}, scored)
    complete, sound = (results["map", metric.info.name] for metric in scored)
    absent = ~(labels == scenes.entities[:, :1]) & ~(labels == scenes.entities[:, 1:])
    blank = maps.flatten(2).amax(2) < _COLLAPSED
    return {
        "completeness": complete.values.tolist(),
        "soundness": sound.values.tolist(),
        "alpha_predicted": complete.extras["alpha_predicted"].tolist(),
        "beta_wrong_mean": sound.extras["beta_wrong_mean"].tolist(),
        "g_wrong_mean": sound.extras["g_wrong_mean"].tolist(),
        "collapsed_share_of_absent": ((blank & absent).sum(1) / absent.sum(1)).tolist(),
        "target_minus_distractor": pointing(maps, scenes),
    }


def interval(values: list[float]) -> dict[str, float]:
    """Mean with its 95 % interval over images, as every evaluation gives it."""
    result = summarise(torch.tensor(values, dtype=torch.float64), len(values))
    return {"mean": result.mean, "low": result.low, "high": result.high, "count": result.images}


def dominated(rows: dict[str, dict[str, dict[str, float]]]) -> dict[str, list[str]]:
    """For each map, those that are better in mean completeness and soundness both."""

    def pair(name: str) -> tuple[float, float]:
        return rows[name]["completeness"]["mean"], rows[name]["soundness"]["mean"]

    def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a[0] >= b[0] and a[1] >= b[1] and a != b

    return {name: [other for other in rows if beats(pair(other), pair(name))] for name in rows}


def main() -> None:
    """Runs the study, prints the table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results" / "soundness_tv.json")
    parser.add_argument("--images", type=int, default=8, help="scenes per seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--infills", type=int, default=1)
    options = parser.parse_args()
    model, started = load_net("residual"), time.process_time()
    values: dict[str, dict[str, list[float]]] = {}
    for seed in range(options.seeds):
        scenes = chosen_scenes(options.images, seed)
        made = contestants(model, seed, options.steps, options.infills)
        for name, maps_of in made.items():
            maps = maps_of(scenes.inputs)
            both = {name: maps}
            if name == "grad_cam":  # the map of the first object for every label
                own = (scenes.entities[:, :1] == torch.tensor(LABELS)).int().argmax(1)
                both["control: class-blind grad_cam"] = maps[torch.arange(len(maps)), own][:, None].expand_as(maps).contiguous()
            for label, shown in both.items():
                for key, numbers in judged(model, shown, scenes).items():
                    if label.startswith("intrinsic") or not key.startswith("collapsed"):  # of shares in [0, 1] alone
                        values.setdefault(label, {}).setdefault(key, []).extend(numbers)
            print(f"seed {seed}: {name}", flush=True)
    table = {name: {key: interval(numbers) for key, numbers in row.items()} for name, row in values.items()}
    for name, row in table.items():
        pairs = (f"{key} {row[key]['mean']:.3f} [{row[key]['low']:.3f}, {row[key]['high']:.3f}]" for key in row)
        print(f"{name}: " + ", ".join(pairs))
    chosen = {key: value for key, value in vars(options).items() if key != "out"}
    content = {"parameters": {**chosen, "labels": LABELS, "variations": VARIATIONS}, "rows": table}
    write_json(options.out, {**content, "dominated_by": dominated(table), "cpu_seconds": time.process_time() - started})


if __name__ == "__main__":
    main()
