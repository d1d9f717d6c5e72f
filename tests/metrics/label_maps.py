"""A small model, maps for each of its classes, and the two metrics that judge them."""

from functools import partial

import torch

from saliency_ext.evaluation import TargetMaps, evaluate
from saliency_ext.infill import Constant
from saliency_ext.metrics import Completeness, Soundness
from saliency_ext.perturbation import Engine, GridFractions
from tests.helpers import tensors as random_tensor

GREY = Constant(0.5)
SIZE, CLASSES = (4, 7), 5
GRID = GridFractions(7, first=1)


tensors = partial(random_tensor, dtype=torch.float64)


def make_model():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(40, CLASSES)]
    model = torch.nn.Sequential(*layers).double().eval()
    with torch.no_grad():
        model[3].weight *= 6  # probabilities that differ
    return model


def scored(model, images, maps, *, target="predicted", infill=GREY, schedule=GRID, area="mean", **options):
    """(completeness, soundness) of one map."""
    metrics = [metric(infill, schedule, area=area, **options) for metric in (Completeness, Soundness)]
    results = evaluate(model, images, target, maps, metrics, engine=Engine(model, max_batch=32), check_model=False)
    return results["map", "completeness"], results["map", "soundness"]


def per_class(maps):
    return TargetMaps(maps, torch.arange(maps.shape[1]))
