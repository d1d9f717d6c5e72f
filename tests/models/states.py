"""A small network in every state that a model is brought in, and what methods and metrics say of it."""

import threading
import warnings

import torch
from torch import nn

from saliency_ext import evaluate
from saliency_ext.attribution.base import MethodOptions
from saliency_ext.attribution.registry import METHODS, controls, make_methods
from saliency_ext.infill import Constant
from saliency_ext.metrics.base import MetricOptions
from saliency_ext.metrics.registry import METRICS, make_metrics
from saliency_ext.segmentation import grid

SIZE, CLASSES = 12, 3
MAPS = [*METHODS, "gradient_random_weights"]
OF_THE_MODEL = [name for name in MAPS if name not in controls()]
ASKING = [name for name, entry in METRICS.items() if entry.info.role != "form" and entry.info.needs != "truth"]


def network(outputs=CLASSES, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, outputs)).eval()
    with torch.no_grad():
        net[1].running_mean.uniform_(-0.2, 0.2)
        net[1].running_var.uniform_(0.5, 1.5)
        net[7].weight.mul_(4)
    return net


def images(count=2):
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def cells(inputs):
    return grid(inputs, 3)


def made(name, model):
    reference_images = torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    choices = MethodOptions(Constant(0.2), cells, reference_images, samples=8, max_batch=16)
    method = make_methods([name], model, choices)[name]
    if hasattr(method, "steps"):
        method.steps = 4
    return method


def metric(name, score="probability"):
    (result,) = make_metrics([name], MetricOptions(Constant(0.2), 4, score))
    return result


def judged(name, model, inputs=None, score="probability"):
    """Values of a metric on maps of a method, in a way that every metric accepts."""
    inputs = images() if inputs is None else inputs
    explain = made("gradient", model) if METRICS[name].info.needs == "method" else inputs[:, 0].nan_to_num()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = evaluate(model, inputs, 1 if score == "probability" else 0, {"map": explain}, [metric(name, score)])
    (pair,) = results
    return results[pair]


def explained(name, model, inputs=None, target=1):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return made(name, model)(images() if inputs is None else inputs, target)


def alike(found, right, tolerance=1e-4):
    return torch.allclose(found, right, rtol=0, atol=tolerance * float(right.abs().nan_to_num().max()), equal_nan=True)


def in_threads(request, count=4, times=3):
    """What four threads get, and what they raise."""
    result, errors, start = [], [], threading.Barrier(count)

    def work(index):
        start.wait()
        for _ in range(times):
            try:
                result.append((index, request(index)))
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return result, errors


def hooked():
    """A network whose hooks matter, and one without hooks that computes the same."""
    net, plain = network(), network()
    net.register_forward_pre_hook(lambda module, args: ((args[0] - 0.3) / 0.5,))
    net[3].register_forward_hook(lambda module, args, output: output * 2)
    with torch.no_grad():
        plain[3].weight.mul_(2)
        plain[3].bias.mul_(2)
    return net, nn.Sequential(Normalise(), plain)


class Normalise(nn.Module):
    def forward(self, inputs):
        return (inputs - 0.3) / 0.5


class Stops(nn.Module):
    """Raises in its n-th forward."""

    def __init__(self, after):
        super().__init__()
        self.left = after

    def forward(self, inputs):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return inputs


def snapshot(net):
    modules = [
        (module.training, len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
        for module in net.modules()
    ]
    weights = [(value.requires_grad, value.grad is None, value.detach().clone()) for value in net.parameters()]
    return modules, weights, torch.is_grad_enabled(), torch.get_rng_state(), {k: v.clone() for k, v in net.state_dict().items()}


def same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    return first == second
