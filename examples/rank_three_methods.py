"""Which of three methods is best on the testbed, and can they be told apart?"""

import torch

from saliency_ext import evaluate
from saliency_ext.attribution import GradCAM, Gradient, RandomControl
from saliency_ext.infill import DatasetMean
from saliency_ext.metrics import Fidelity
from saliency_ext.perturbation import EqualFractions
from saliency_ext.testbed.load import load_net
from saliency_ext.testbed.scenes import make_scenes

net = load_net("residual")
scenes = make_scenes("test", torch.arange(16))
methods = {"grad_cam": GradCAM(net), "gradient": Gradient(net, channels="abs_sum"), "random": RandomControl(0)}
results = evaluate(net, scenes.inputs, scenes.labels, methods, [Fidelity(DatasetMean(), EqualFractions(5))])
for name in sorted(methods, key=lambda name: -results.summary(name, "fidelity").mean):
    print(f"{name:10} {results.summary(name, 'fidelity').mean:+.3f}")
print("grad_cam against random:", results.compare("grad_cam", "random", "fidelity"))
