"""Are maps about the class? `python -m bench.studies.class_specificity [--scenes 200] [--dear 32] [--out file.json]`.

Scenes of the testbed with two different digits, and its net. Each method explains both digits of each scene. Own minus other
pointing accuracy: +1 where the maximum of the map is in the box of the digit that is asked about, -1 where it is in that of the
other, 0 elsewhere. A map that only finds objects, or bright spots, is at 0, however often it finds one. Intervals of 95 % from a
bootstrap over scenes. Every method of the catalogue, and Grad-CAM on random weights.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from saliency_ext.attribution import LIME, RISE, XRAI, ExpectedGradients, IntegratedGradients, KernelSHAP
from saliency_ext.attribution.base import Method, MethodOptions
from saliency_ext.attribution.registry import METHODS, make_methods
from saliency_ext.attribution.smooth_grad import SmoothGrad, SmoothGradSquared, VarGrad
from saliency_ext.infill import DatasetMean
from saliency_ext.metrics import PointingGame
from saliency_ext.segmentation import slic
from saliency_ext.stats.intervals import summarise
from saliency_ext.testbed.load import load_net
from saliency_ext.testbed.scene_config import SceneConfig
from saliency_ext.testbed.scenes import Scenes, make_scenes
from saliency_ext.testbed.truth import other_region, own_region

from ..machine import metadata
from ..report import write_json

RESULTS = Path(__file__).parent.parent / "results"
_CHUNK = 16  # scenes explained together
_REFERENCE_IMAGES = 32  # training scenes for expected gradients
_SEGMENTER = partial(slic, segments=25)

# Methods of many forwards: fewer of them than by default, and fewer scenes. What is changed is in the JSON.
DEAR: dict[str, tuple[dict[str, Any], Callable[..., Method]]] = {
    "score_cam": ({}, lambda model, reference_images: make_methods(["score_cam"], model, MethodOptions())["score_cam"]),
    "integrated_gradients": ({"steps": 16}, lambda model, reference_images, **o: IntegratedGradients(model, DatasetMean(), **o)),
    "smooth_grad": ({"samples": 16}, lambda model, reference_images, **o: SmoothGrad(model, **o)),
    "smooth_grad_squared": ({"samples": 16}, lambda model, reference_images, **o: SmoothGradSquared(model, **o)),
    "var_grad": ({"samples": 16}, lambda model, reference_images, **o: VarGrad(model, **o)),
    "expected_gradients": ({"samples": 32}, lambda model, reference_images, **o: ExpectedGradients(model, reference_images, **o)),
    "xrai": ({"min_size": 40, "min_gain": 10, "dilation": 2.0}, lambda model, reference_images, **o: XRAI(model, **o)),
    "occlusion": ({}, lambda model, reference_images: make_methods(["occlusion"], model, MethodOptions())["occlusion"]),
    "rise": ({"masks": 300, "weighting": "regressed"}, lambda model, reference_images, **o: RISE(model, DatasetMean(), **o)),
    "lime": ({"samples": 256}, lambda model, reference_images, **o: LIME(model, DatasetMean(), _SEGMENTER, **o)),
    "kernel_shap": ({"samples": 256}, lambda model, reference_images, **o: KernelSHAP(model, DatasetMean(), _SEGMENTER, **o)),
}


def methods(model: nn.Module) -> dict[str, tuple[Method, dict[str, Any]]]:
    """Name -> method, and what differs from its defaults; the cheap ones first."""
    reference_images = make_scenes("train", _REFERENCE_IMAGES).inputs
    cheap = [name for name in METHODS if name not in DEAR]
    made = make_methods([*cheap, "grad_cam_random_weights"], model, MethodOptions())
    result: dict[str, tuple[Method, dict[str, Any]]] = {name: (method, {}) for name, method in made.items()}
    return result | {name: (make(model, reference_images, **options), options) for name, (options, make) in DEAR.items()}


def pointing(method: Method, scenes: Scenes) -> Tensor:
    """(N, 2) own minus other for the class of each object, NaN where the map is constant."""
    result = []
    for first in range(0, len(scenes), _CHUNK):
        part, ids = scenes[first : first + _CHUNK], torch.arange(first, min(first + _CHUNK, len(scenes)))
        maps = method(part.inputs, part.entities, sample_ids=ids)
        columns = []
        for k in (0, 1):
            requested = part.entities[:, k]
            own, other = own_region(part, requested, "box"), other_region(part, requested, "box")
            columns.append(PointingGame().score(maps[:, k], own, other))
        result.append(torch.stack(columns, 1))
    return torch.cat(result).double()


def summary(values: Tensor) -> dict[str, Any]:
    """Mean with interval, of the scenes that have a value."""
    good = values[~values.isnan()]
    result = summarise(good, len(values))
    return {"mean": result.mean, "low": result.low, "high": result.high, "scenes": result.images, "left_out": result.left_out}


def main(words: list[str] | None = None) -> int:
    """Measures, prints, writes; the file is written after each method."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.class_specificity", description="Own minus other pointing.")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--dear", type=int, default=32, help="scenes for methods of many forwards")
    parser.add_argument("--out", type=Path, default=RESULTS / "class_specificity.json")
    options = parser.parse_args(words)
    model = load_net()
    scenes = make_scenes("test", max(options.scenes, options.dear), scene_config=SceneConfig(objects=2))
    chance = [float(own_region(scenes, scenes.entities[:, k], "box").float().mean()) for k in (0, 1)]
    content: dict[str, Any] = {
        "meta": metadata("cpu", quick=False),
        "question": "own minus other pointing accuracy of each class on scenes of two digits, boxes, tolerance 0",
        "box_area": chance,
        "methods": {},
    }
    print(f"{'own minus other pointing':<26}{'object 1':<24}{'object 2':<24}{'both':<24}scenes", flush=True)
    for name, (method, changed) in methods(model).items():
        started = time.process_time()
        values = pointing(method, scenes[: options.dear if name in DEAR else options.scenes])
        row = {"first": summary(values[:, 0]), "second": summary(values[:, 1]), "both": summary(values.mean(1))}
        seconds = time.process_time() - started
        content["methods"][name] = row | {"changed": changed, "family": method.info.family, "cpu_seconds": seconds}
        texts = [f"{part['mean']:+.2f} [{part['low']:+.2f}, {part['high']:+.2f}]" for part in row.values()]
        counted = f"{row['both']['scenes']} of {len(values)}"
        print(f"{name:<26}{''.join(f'{text:<24}' for text in texts)}{counted:<12}{changed or ''}", flush=True)
        write_json(options.out, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
