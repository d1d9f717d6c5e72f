"""Metrics in a loop over batches, as torchmetrics: one pass over the model for all of them."""

import torch
from torchmetrics import MetricCollection

from saliency_ext.attribution import GradCAM
from saliency_ext.infill import DatasetMean
from saliency_ext.integrations.torchmetrics import Deletion, Evaluator, Insertion, PointingGame
from saliency_ext.perturbation import EqualFractions
from saliency_ext.testbed.load import load_net
from saliency_ext.testbed.scenes import make_scenes
from saliency_ext.testbed.truth import own_region

net = load_net("residual")
scenes = make_scenes("test", torch.arange(6))
truth = own_region(scenes, scenes.labels, "box")
evaluator, steps = Evaluator(net), EqualFractions(5)
curves = [kind(evaluator, DatasetMean(), steps) for kind in (Deletion, Insertion)]
metrics, method = MetricCollection([*curves, PointingGame(evaluator)]), GradCAM(net)
for part in torch.arange(6).split(2):
    metrics.update(scenes.inputs[part], scenes.labels[part], method, truth=truth[part])
for name, value in metrics.compute().items():
    print(f"{name:12} {value:.3f}")
print(f"{evaluator.passes} passes over the model for 3 batches and 3 metrics")
