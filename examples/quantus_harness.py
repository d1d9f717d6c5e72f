"""Our methods and metrics in a harness with the calls of Quantus: its `evaluate` where installed, a loop like it elsewhere."""

import numpy as np
import torch

from saliency_ext.attribution import GradCAM, Gradient
from saliency_ext.infill import DatasetMean
from saliency_ext.integrations.quantus import ExplainFunc, QuantusMetric, pixel_flipping
from saliency_ext.metrics import Fidelity
from saliency_ext.perturbation import EqualFractions
from saliency_ext.testbed.load import load_net
from saliency_ext.testbed.scenes import make_scenes

net = load_net("residual")
scenes = make_scenes("test", torch.arange(4))
x, y = scenes.inputs.numpy(), scenes.labels.numpy()
methods = {"grad_cam": ExplainFunc(GradCAM), "gradient": ExplainFunc(lambda model: Gradient(model, channels="abs_sum"))}
metrics = {
    "fidelity": QuantusMetric(Fidelity(DatasetMean(), EqualFractions(5))),
    "flipping": pixel_flipping(3072, return_auc_per_sample=True),
}
try:
    from quantus import evaluate
except Exception:  # also where it is installed without what it needs

    def evaluate(metrics, methods, model, x_batch, y_batch, **_):
        """What it does with callables."""
        maps = {name: explain(model=model, inputs=x_batch, targets=y_batch) for name, explain in methods.items()}
        return {
            name: {each: metric(model=model, x_batch=x_batch, y_batch=y_batch, a_batch=a) for each, metric in metrics.items()}
            for name, a in maps.items()
        }


for name, scores in evaluate(metrics, methods, net, x, y, explain_func_kwargs={}).items():
    print(f"{name:9}", {metric: round(float(np.mean(values)), 3) for metric, values in scores.items()})
