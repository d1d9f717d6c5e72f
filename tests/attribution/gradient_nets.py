"""Small models and instruments for tests of gradient methods: what was forwarded, what was in memory, what was changed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from tests.backends import generator

SHAPE = (3, 8, 6)


def make_images(count: int = 4, shape: tuple[int, ...] = SHAPE, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(count, *shape, generator=generator(), dtype=dtype) * 2 - 0.7


def smooth_net(classes: int = 5, shape: tuple[int, ...] = SHAPE) -> torch.nn.Sequential:
    """A convolution, tanh, and a read-out: smooth, so that rules of integration converge as their theory says."""
    draws, (channels, height, width) = generator("layout"), shape
    net = torch.nn.Sequential(
        torch.nn.Conv2d(channels, 6, 3, padding=1),
        torch.nn.Tanh(),
        torch.nn.Flatten(),
        torch.nn.Linear(6 * height * width, classes),
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws) / max(parameter[0].numel(), 1) ** 0.5)
    return net.eval()


def relu_net() -> torch.nn.Sequential:
    """Begins with an in-place operation and holds batch statistics: what a careless method would trip over or change."""
    torch.manual_seed(0)
    layers = [torch.nn.ReLU(inplace=True), torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(inplace=True)]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(4 * 6 * 4, 5)).eval()


class Watched:
    """A forward that notes the size of each batch, and the most elements that tensors held when it was called."""

    def __init__(self, forward, memory: bool = False) -> None:
        self.forward, self.memory = forward, memory
        self.batches: list[int] = []
        self.peak = 0

    def __call__(self, inputs: Tensor) -> Tensor:
        self.batches.append(len(inputs))
        if self.memory:
            self.peak = max(self.peak, sum(each.numel() for each in gc.get_objects() if type(each) is Tensor))
        return self.forward(inputs)


@contextmanager
def left_as_it_was(model: torch.nn.Module, *tensors: Tensor) -> Iterator[None]:
    """Fails if parameters, buffers, flags, modes, .grad, the given tensors, the grad mode or the generator's state change."""

    def state():
        parameters = [(id(each.grad), each.requires_grad) for each in model.parameters()]
        gradients = [None if each.grad is None else each.grad.tolist() for each in model.parameters()]
        modes = [(part.training, len(part._forward_hooks), len(part._backward_hooks)) for part in model.modules()]
        values = [each.tolist() for each in (*model.state_dict().values(), *tensors)]
        flags = [(each.requires_grad, each.grad is None) for each in tensors]
        return parameters, gradients, modes, values, flags, torch.is_grad_enabled(), torch.get_rng_state().tolist()

    before = state()
    try:
        yield
    finally:
        assert state() == before
