"""What the cards of metrics and methods show: `python docs/cards.py` measures it and writes bench/results/cards.json.

A metric: its value for maps that are known to be good, upside down and blind, on scenes of the testbed, and which rules of the
conformance kit hold for it. A method: which rules hold for it. The values are measured three times, as processors with AVX-512,
with AVX2 and with neither compute them; what is committed is the middle value, and how far the others are from it.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saliency_ext import evaluate
from saliency_ext.attribution import Centre, GradCAM, Method, RandomControl
from saliency_ext.attribution.base import MethodOptions
from saliency_ext.attribution.registry import METHODS, make_methods
from saliency_ext.conformance import ConformanceTable, check_explainer, check_metric
from saliency_ext.infill import Constant
from saliency_ext.metrics.base import MetricOptions
from saliency_ext.metrics.registry import METRICS, make_metrics
from saliency_ext.ops import philox_normal
from saliency_ext.segmentation import grid
from saliency_ext.testbed.load import load_net
from saliency_ext.testbed.scenes import make_scenes
from saliency_ext.testbed.truth import own_region

FILE = Path(__file__).resolve().parent.parent / "bench/results/cards.json"
IMAGES = 8
MAPS = ("grad_cam", "grad_cam, negated", "centre", "random")


def reference_values(names: Iterable[str] = tuple(METRICS)) -> dict[str, dict[str, float | None]]:
    """Metric -> map -> mean over the first scenes of the test split, with the choices of `saliency-ext evaluate`."""
    net, scenes = load_net("residual"), make_scenes("test", torch.arange(IMAGES))
    maps = {"grad_cam": GradCAM(net), "grad_cam, negated": _Negated(GradCAM(net)), "centre": Centre(), "random": RandomControl(0)}
    truth = own_region(scenes, scenes.labels, "box")
    result: dict[str, dict[str, float | None]] = {}
    for asks_methods in (False, True):  # the negated map is none that could be asked again
        own = [name for name in names if (METRICS[name].info.needs == "method") is asks_methods]
        given = {name: method for name, method in maps.items() if isinstance(method, Method) or not asks_methods}
        results = (
            evaluate(net, scenes.inputs, scenes.labels, given, make_metrics(own, MetricOptions()), truth=truth) if own else {}
        )
        for name in own:
            means = {each: float(results[each, name].values.nanmean()) for each in given}
            result[name] = {each: None if math.isnan(value) else float(f"{value:.4g}") for each, value in means.items()}
    return {name: result[name] for name in names}


class _Negated:
    def __init__(self, method: Callable[..., Tensor]) -> None:
        self.method = method

    def __call__(self, inputs: Tensor, target: Any) -> Tensor:
        return -self.method(inputs, target)


def rules_of_metric(name: str) -> ConformanceTable | None:
    """The conformance of a metric; None where it explains other inputs: the conformance kit has no method."""
    if METRICS[name].info.needs == "method":
        return None
    (metric,) = make_metrics([name], MetricOptions(infill=Constant(0.0)))
    return check_metric(metric)


def rules_of_method(name: str) -> ConformanceTable:
    """The conformance of a method, with few draws."""

    def make(model: Any) -> Callable[..., Tensor]:
        def method(inputs: Tensor, target: Tensor) -> Tensor:
            reference_images = philox_normal(tuple(inputs.shape[1:]), torch.arange(4), seed=1)  # as large as the images of a rule
            choices = MethodOptions(segmenter=partial(grid, cells=3), reference_images=reference_images)
            return make_methods([name], model, choices)[name](inputs, target)

        return method

    return check_explainer(make, name)


def plain(table: ConformanceTable | None) -> list[list[str]] | None:
    """Rule and, where it does not hold, what was seen."""
    return None if table is None else [[row.rule, row.seen if not row.holds else ""] for row in table.rows]


PROCESSORS: tuple[dict[str, str], ...] = (
    {},
    {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"},
)


def over_processors() -> tuple[dict[str, Any], dict[str, Any]]:
    """Reference values, the middle of three processors, and the largest distance of another from it where there is any."""
    command = [sys.executable, __file__, "--values"]
    runs = [
        json.loads(subprocess.run(command, env=os.environ | each, check=True, capture_output=True, text=True).stdout)
        for each in PROCESSORS
    ]
    values: dict[str, Any] = {}
    spread: dict[str, Any] = {}
    for name, maps in runs[0].items():
        for each, first in maps.items():
            seen = [run[name][each] for run in runs]
            middle = first if None in seen else sorted(seen)[1]
            values.setdefault(name, {})[each] = middle
            apart = 0.0 if None in seen else max(abs(value - middle) for value in seen)
            if apart > 0:
                spread.setdefault(name, {})[each] = float(f"{apart:.2g}")
    return values, spread


def measured() -> dict[str, Any]:
    """All of it."""
    values, spread = over_processors()
    return {
        "images": IMAGES,
        "maps": list(MAPS),
        "values": values,
        "spread": spread,
        "metrics": {name: plain(rules_of_metric(name)) for name in METRICS},
        "methods": {name: plain(rules_of_method(name)) for name in METHODS},
    }


if __name__ == "__main__" and "--values" in sys.argv:
    print(json.dumps(reference_values()))
elif __name__ == "__main__":
    FILE.write_text(json.dumps(measured(), indent=1) + "\n")
