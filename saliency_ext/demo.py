"""The demo: one deletion curve of a shipped picture, judged against two controls that know no model."""

import time

import torch
from torch import Tensor

from . import ops
from .perturbation.curve_integration import area_under
from .testbed import make_mosaic

STEPS = 20


def deletion_curves(inputs: Tensor, target: Tensor, maps: dict[str, Tensor], model: torch.nn.Module) -> dict[str, Tensor]:
    """Probability of the target (STEPS + 1,) as the most relevant pixels of each map (1, H, W) turn mid-grey."""
    counts = torch.linspace(0, inputs.shape[2] * inputs.shape[3], STEPS + 1).round().long()
    curves = {}
    for name, saliency in maps.items():
        perturbed = ops.blend_rank(inputs, 0.5, ops.rank(saliency, ties="random"), counts, keep="tail")
        curves[name] = model(perturbed.flatten(0, 1)).softmax(1)[:, target].squeeze(1)
    return curves


def run() -> str:
    """Scores the class activation map of the testbed's mosaic; the text to show."""
    start = time.perf_counter()
    scene = make_mosaic()
    maps = {
        "class activation map": scene.model.activation_map(scene.image, scene.target),
        "random": ops.philox_uniform((1, *scene.image.shape[2:]), torch.tensor([0]), seed=0)[:, 0],
        "grey level": scene.image.mean(1),
    }
    curves = deletion_curves(scene.image, scene.target, maps, scene.model)
    seconds = time.perf_counter() - start
    names = list(curves)
    lines = [
        "Scene: a crop of one photograph (a cat) pasted into another (a brick wall). Does the map know where the cat is?",
        f"Model: right on {scene.accuracy:.0%} of unseen crops; P(cat) on the scene {curves[names[0]][0]:.2f}.",
        "",
        "Deletion: P(cat) while the most relevant pixels turn grey. Faster fall = more faithful map.",
        "",
        "removed   " + "   ".join(f"{name:>20}" for name in names),
    ]
    for step in range(0, STEPS + 1, 2):
        cells = "   ".join(f"{curves[name][step]:.3f} {_bar(float(curves[name][step])):<14}" for name in names)
        lines.append(f"{step / STEPS:>6.0%}    {cells}".rstrip())
    lines.append("")
    for name in names:
        top, left, bottom, right = scene.box
        y, x = divmod(int(maps[name].argmax()), scene.image.shape[3])
        hit = "inside" if top <= y < bottom and left <= x < right else "outside"
        area = area_under(curves[name], torch.linspace(0, 1, STEPS + 1))
        lines.append(f"{name:<22} deletion AUC {area:.4f} (lower is better), peak {hit} the cat's box")
    lines.append(f"\n{len(maps) * (STEPS + 1)} masked inputs, {seconds:.1f} s, nothing downloaded.")
    return "\n".join(lines)


def _bar(value: float) -> str:
    return "#" * round(14 * value)
