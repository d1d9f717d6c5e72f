"""A Captum object goes straight in as a method; without Captum, an object of the same shape does."""

import torch

from saliency_ext import evaluate
from saliency_ext.attribution import GreyLevel
from saliency_ext.infill import DatasetMean
from saliency_ext.metrics import Fidelity
from saliency_ext.perturbation import EqualFractions
from saliency_ext.testbed.load import load_net
from saliency_ext.testbed.scenes import make_scenes

net = load_net("residual")
scenes = make_scenes("test", torch.arange(6))
try:
    from captum.attr import InputXGradient

    theirs = InputXGradient(net)
except ImportError:

    class InputXGradient:
        """What Captum's class of this name does."""

        def attribute(self, inputs, target):
            """(N, C, H, W)."""
            scores = net(inputs).gather(1, target[:, None]).sum()
            return inputs * torch.autograd.grad(scores, inputs)[0]

    theirs = InputXGradient()
maps = {"input_x_gradient": theirs, "grey_level": GreyLevel()}
results = evaluate(net, scenes.inputs, scenes.labels, maps, [Fidelity(DatasetMean(), EqualFractions(5))], channels="abs_sum")
print(results.compare("input_x_gradient", "grey_level", "fidelity"))
