"""Do intrinsic masks point at the object that is asked about, and which choice decides? Own minus other, beside Grad-CAM.

python -m bench.studies.mask_pointing writes bench/results/mask_pointing.json: test scenes with two objects, the residual net, one
choice changed at a time.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from saliency_ext import evaluate
from saliency_ext.attribution import GradCAM, IntrinsicMask
from saliency_ext.metrics import PointingGame
from saliency_ext.metrics.target_minus_distractor import TargetMinusDistractor
from saliency_ext.testbed.load import load_net
from saliency_ext.testbed.scene_config import SceneConfig
from saliency_ext.testbed.scenes import make_scenes
from saliency_ext.testbed.truth import other_region, own_region

from ..report import write_json
from .soundness_tv import interval

STEPS, REFERENCE_IMAGES = 60, 64
CHANGES: dict[str, dict[str, Any]] = {
    "default": {},
    "200 steps": {"steps": 200},
    "1 infill": {"infills": 1},
    "scale 8": {"scale": 8},
    "scale 16": {"scale": 16},
    "area x 4": {"area": 4.0},
    "variation x 10": {"variation": 1000.0},
    "nll": {"loss": "nll"},
    "nll, 200 steps": {"loss": "nll", "steps": 200},
}


def main() -> None:
    """Runs the study, prints the table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results" / "mask_pointing.json")
    parser.add_argument("--images", type=int, default=16)
    options = parser.parse_args()
    net, started = load_net("residual"), time.process_time()
    scenes = make_scenes("test", torch.arange(options.images), scene_config=SceneConfig(objects=2))
    reference_images = make_scenes("train", REFERENCE_IMAGES).inputs
    own, other = (region(scenes, scenes.labels, "box") for region in (own_region, other_region))
    metric = TargetMinusDistractor(PointingGame(), other)
    methods = {"grad_cam": GradCAM(net)}
    methods |= {
        f"intrinsic, {name}": IntrinsicMask(net, reference_images, **({"steps": STEPS} | change))
        for name, change in CHANGES.items()
    }
    rows = {}
    for name, method in methods.items():
        result = evaluate(net, scenes.inputs, scenes.labels, {name: method}, [metric], truth=own)[name, metric.info.name]
        rows[name] = interval(result.values.tolist())
        print(f"{name}: {rows[name]['mean']:.3f} [{rows[name]['low']:.3f}, {rows[name]['high']:.3f}]", flush=True)
    chosen = {"images": options.images, "steps": STEPS, "reference_images": REFERENCE_IMAGES, "changes": CHANGES}
    write_json(options.out, {"parameters": chosen, "rows": rows, "cpu_seconds": time.process_time() - started})


if __name__ == "__main__":
    main()
