"""A small model, a batch of images, and every metric class with its options."""

import dataclasses

import torch
from torch import nn

from saliency_ext.attribution import Gradient
from saliency_ext.infill import Constant
from saliency_ext.metrics import METRICS, MetricOptions, PointingGame
from saliency_ext.metrics.registry import make_metrics
from saliency_ext.perturbation import EqualFractions

IMAGES, SIDE = 7, 6


class Net(nn.Module):
    """Two layers; picklable."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 16, 5))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weights in self.eval().parameters():
                weights.copy_(torch.randn(weights.shape, generator=generator) / 3)

    def forward(self, inputs):
        return self.layers(inputs)


def batch():
    """Images, targets, maps with ties, truth masks."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(IMAGES, 3, SIDE, SIDE, generator=generator)
    maps = torch.randint(0, 5, (IMAGES, SIDE, SIDE), generator=generator).float()  # ties: decided by sample ids
    truth = torch.rand(IMAGES, SIDE, SIDE, generator=generator) > 0.5
    return images, torch.tensor([0, 1, 2, 3, 4, 0, 1]), maps, truth


def method(model):
    """For metrics that explain other inputs too."""
    return Gradient(model, channels="abs_sum")


GREY = Constant(0.25)
STEPS = {"schedule": EqualFractions(4)}


def _options_of(name):
    """What the command line makes a metric of, as keyword arguments of its class."""
    (metric,) = make_metrics([name], MetricOptions(GREY, steps=4))
    return {field.name: getattr(metric, field.name) for field in dataclasses.fields(metric) if field.init}


# class -> arguments, options, and whether the method itself is needed
CASES = {kind.__name__: ((), _options_of(name), kind.info.needs == "method") for name, kind in METRICS.items()}
CASES["TargetMinusDistractor"] = ((PointingGame(), ~batch()[3]), {}, False)


def make(classes, name, evaluator, **extra):
    """A metric of the module `classes`, by name."""
    arguments, options, _ = CASES[name]
    return getattr(classes, name)(evaluator, *arguments, **options, **extra)


def states_of_rank(rank, world, meeting, shares, names, out):
    """A process of a group: its share of the images, one update per image, and the synchronised means."""
    import torch.distributed as dist

    from saliency_ext.integrations import torchmetrics as classes

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    images, target, maps, truth = batch()
    metrics = {name: make(classes, name, classes.Evaluator(Net())) for name in names}
    for index in shares[rank]:
        one = slice(index, index + 1)
        for metric in metrics.values():
            metric.update(images[one], target[one], maps[one], truth=truth[one], sample_ids=torch.tensor([index]))
    torch.save({name: metric.compute() for name, metric in metrics.items()}, f"{out}.{rank}")
    dist.destroy_process_group()
