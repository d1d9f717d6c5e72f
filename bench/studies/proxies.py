"""Which cheap proxies go with Fidelity, and whether they are worth their forwards beside drawn steps.

python -m bench.studies.proxies FOLDER reads the curves of bench.studies.full_curves from the folder, walks those that are
missing, and writes bench/results/proxies.json: coarse grids as proxies of the whole grid on all scenes, and cheaper forwards
(images of half the side, bfloat16) on a few.
"""

import copy
from typing import Any

import torch
from torch import Tensor

from saliency_ext.attribution import GradCAM
from saliency_ext.evaluation import Proxy, controlled_means
from saliency_ext.infill import DatasetMean
from saliency_ext.metrics import Fidelity
from saliency_ext.perturbation import EqualFractions, StratifiedSteps
from saliency_ext.stats import controlled_mean
from saliency_ext.testbed.load import load_net
from saliency_ext.testbed.scenes import SIDE, make_scenes

from ..report import write_json
from .full_curves import GRID, PILOT, SCENES, Curves, requested

IMAGES, RESEEDS, STRATA, COARSE = 300, 1000, 8, (2, 5, 10)
MODEL_SCENES, MODEL_IMAGES, MODEL_STEPS = 64, 32, 4
_PIXELS = SIDE * SIDE


def measured(curves: dict[str, Curves]) -> list[dict[str, Any]]:
    """Coarse grids of so many steps as proxies, for each method."""
    shares = torch.tensor(EqualFractions(GRID).counts(_PIXELS)).double() / _PIXELS
    rows = []
    for name, own in curves.items():
        gap = own.fidelity[: len(own.mif) - PILOT]
        values = torch.trapezoid(gap, shares)
        drawn = float(values.var() + StratifiedSteps(STRATA, GRID).draw_variance(gap, _PIXELS).mean())
        noise = drawn - float(values.var())
        for steps in COARSE:
            every = slice(None, None, GRID // steps)
            proxies = torch.trapezoid(gap[:, every], shares[every])
            cost = IMAGES * (2 * (GRID - 1) + 2) + len(gap) * 2 * (steps - 1)  # both ends are known to all
            row = {"method": name, "proxy": f"{steps + 1} points", "masked_inputs": cost, **_held(values, proxies)}
            looked = min(cost // (2 * STRATA + 2), len(gap))
            # Without replacement: what is left of the images, and all of the draws.
            variance = (float(values.var()) * (1 - looked / len(gap)) + noise) / looked
            rows.append(row | {"standard_error_drawn": variance**0.5})
    return rows


def _held(values: Tensor, proxies: Tensor) -> dict[str, float]:
    """Means over random choices of IMAGES images."""
    result = []
    for seed in range(RESEEDS):
        picks = torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))[:IMAGES]
        result.append(controlled_mean(values[picks], picks, proxies))
    means, truth = torch.tensor([each.mean for each in result]).double(), float(values.mean())
    return {
        "correlation": sum(each.correlation for each in result) / RESEEDS,
        "gain": sum(each.gain for each in result) / RESEEDS,
        "coverage": sum(each.low <= truth <= each.high for each in result) / RESEEDS,
        "standard_error": float(means.std()),
        "bias_in_standard_errors": float((means.mean() - truth) / means.std()),
    }


def models() -> list[dict[str, Any]]:
    """Cheaper forwards, of the net itself."""
    net, scenes = load_net("residual").eval(), make_scenes("test", torch.arange(MODEL_SCENES))
    maps = {"grad_cam": GradCAM(net)(scenes.inputs, scenes.labels)}
    half = copy.deepcopy(net).bfloat16()
    metric = Fidelity(DatasetMean(), EqualFractions(MODEL_STEPS))
    proxies = {"half the side": Proxy(shrink=2), "bfloat16": Proxy(model=half, dtype=torch.bfloat16)}
    rows = []
    for name, proxy in proxies.items():
        result = controlled_means(net, scenes.inputs, scenes.labels, maps, metric, proxy, images=MODEL_IMAGES)["grad_cam"]
        rows.append({"proxy": name, "correlation": result.correlation, "gain": result.gain, "used": result.used})
    return rows


def main() -> None:
    """Runs the study, prints the rows, writes the JSON."""
    curves, out = requested(__doc__, "proxies")
    rows = measured(curves)
    others = models()
    for row in (*rows, *others):
        print(row)
    chosen = {"scenes": SCENES, "methods": list(curves), "images": IMAGES, "reseeds": RESEEDS, "strata": STRATA, "grid": GRID}
    chosen |= {"model_method": "grad_cam", "model_scenes": MODEL_SCENES, "model_images": MODEL_IMAGES, "model_steps": MODEL_STEPS}
    write_json(out, {"parameters": chosen, "rows": rows, "models": others})


if __name__ == "__main__":
    main()
