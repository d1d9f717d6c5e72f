from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from saliency_ext import reference
from saliency_ext.ops import smooth_maximum
from tests.backends import Backend, close, generator, same_bits
from tests.ops.cases import Arguments, Change, Fault, Shape
from tests.ops.contract import DifferentiableContract


class TestSmoothMaximum(DifferentiableContract):
    name = "smooth_maximum"
    native = ("smooth_maximum", "smooth_maximum_backward")
    batched = ("values",)
    leaves = ("values",)

    def arguments(self, shape: Shape, dtype: torch.dtype, rng: torch.Generator) -> Arguments:
        step = 5 if shape[-1] > 40 else 2
        cells = (*shape[:2], -(-shape[2] // step), -(-shape[3] // step))
        values = torch.rand(cells, generator=rng, dtype=dtype)
        return {"values": values, "size": tuple(shape[2:]), "step": step, "sigma": 1.2 * step}

    def variants(self, dtype: torch.dtype) -> dict[str, Change]:
        def saturated(given: Arguments) -> Arguments:
            return {"values": given["values"].round()}  # zeros, which are skipped, and ones

        def single(given: Arguments) -> Arguments:
            cells = (*given["values"].shape[:2], *given["size"])
            return {"step": 1, "values": torch.rand(cells, generator=generator(), dtype=dtype)}

        return {
            "wide": lambda given: {"sigma": 2.7 * given["step"]},
            "narrow": lambda given: {"sigma": 0.3},
            "mean": lambda given: {"inverse_temperature": 0.0},
            "cold": lambda given: {"inverse_temperature": 60.0},
            "saturated": saturated,
            "single": single,
        }

    def reference(self, **arguments: Any) -> tuple[Tensor, ...]:
        values = arguments.pop("values")
        return (reference.smooth_maximum(values.double(), **arguments).to(values.dtype),)

    def compare(self, actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], what: str) -> None:
        close(actual[0], expected[0], what)

    def compare_backends(self, actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], what: str) -> None:
        """float64 takes each device's own exponential."""
        close(actual[0], expected[0], what)

    def gradient_cases(self) -> dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]]:
        values = torch.rand(2, 1, 3, 2, generator=generator(), dtype=torch.float64)
        values[0, 0, 1, 1] = 0
        return {
            "plain": (lambda v: smooth_maximum(v, (5, 4), step=2, sigma=2.5), (values,)),
            "mean": (lambda v: smooth_maximum(v, (6, 3), step=2, sigma=1.0, inverse_temperature=0.0), (values,)),
        }

    def faults(self) -> dict[str, Fault]:
        return {
            "type": Fault(lambda a: {"values": 1.0}, TypeError, "values to be a torch.Tensor, got float"),
            "dtype": Fault(
                lambda a: {"values": a["values"].half()}, TypeError, "values of dtype float32 or float64, got float16"
            ),
            "ndim": Fault(lambda a: {"values": a["values"][0]}, ValueError, "values of shape (N, C, h, w), got (3, 3, 5)"),
            "cells": Fault(lambda a: {"size": (7, 10)}, ValueError, "values with one cell per step of the size, (.., .., 4, 5)"),
            "step": Fault(lambda a: {"step": 0}, ValueError, "step in [1, 1048576], got 0"),
            "step_type": Fault(lambda a: {"step": 2.0}, TypeError, "step to be an int, got float"),
            "sigma": Fault(lambda a: {"sigma": 0.0}, ValueError, "sigma > 0 and finite, got 0.0"),
            "inverse_temperature": Fault(
                lambda a: {"inverse_temperature": -1.0}, ValueError, "inverse_temperature >= 0 and finite, got -1.0"
            ),
            "size": Fault(lambda a: {"size": (6, -10)}, ValueError, "size in [0, 2147483647], got -10"),
        }


def test_example(backend: Backend) -> None:
    """One cell of value 1 on pixel 0, sigma 1, step 1: reach 2, so 25 neighbours, 24 of them outside the grid."""
    values = torch.ones(1, 1, 1, 1, dtype=torch.float64, device=backend.device)
    out = smooth_maximum(values, (1, 1), step=1, sigma=1.0, inverse_temperature=2.0)[0, 0]
    assert out.shape == (3, 3)
    for (y, x), distance in {(1, 1): 0.0, (0, 1): 1.0, (0, 0): math.sqrt(2)}.items():
        v = math.exp(-2 * max(distance - 0.5, 0) ** 2)
        assert out[y, x].item() == pytest.approx(v * math.exp(2 * v) / (24 + math.exp(2 * v)), rel=1e-12)


def test_colder_is_closer_to_the_maximum(backend: Backend) -> None:
    values = torch.rand(1, 1, 4, 4, generator=generator(), dtype=torch.float64).to(backend.device)
    size = (8, 8)
    terms = reference.weighted_neighbours(values, _weights(2, 3.0).to(backend.device), size, 2, 3)
    errors = [
        (smooth_maximum(values, size, step=2, sigma=3.0, inverse_temperature=c) - terms.amax(0)).abs().max()
        for c in (0.0, 20.0, 80.0)
    ]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.06
    close(smooth_maximum(values, size, step=2, sigma=3.0, inverse_temperature=0.0), terms.mean(0), "inverse_temperature 0")


def test_symmetric(backend: Backend) -> None:
    values = torch.rand(2, 2, 5, 5, generator=generator()).to(backend.device)
    out = smooth_maximum(values, (5, 5), step=1, sigma=2.0)
    close(smooth_maximum(values.mT, (5, 5), step=1, sigma=2.0), out.mT, "transposed")
    close(smooth_maximum(values.flip(-1), (5, 5), step=1, sigma=2.0), out.flip(-1), "mirrored")


def test_wider_is_smoother(backend: Backend) -> None:
    values = torch.rand(1, 1, 8, 8, generator=generator()).to(backend.device)
    rough = [smooth_maximum(values, (32, 32), step=4, sigma=s)[..., 10:-10, 10:-10].diff().abs().mean() for s in (4.0, 8.0, 12.0)]
    assert rough[0] > rough[1] > rough[2]


def test_zeros_and_gradient_of_a_flat_map(backend: Backend) -> None:
    values = torch.zeros(1, 1, 3, 3, device=backend.device, requires_grad=True)
    out = smooth_maximum(values, (6, 6), step=2, sigma=2.0)
    assert (out == 0).all()
    (slopes,) = torch.autograd.grad(out[0, 0, 5, 5], values)  # pixel (3, 3): a mean over 25 neighbours of weight * value
    expected = reference.weighted_neighbours(torch.eye(9).view(9, 1, 3, 3), _weights(2, 2.0).float(), (6, 6), 2, 2)
    close(slopes.flatten().cpu(), expected[:, :, 0, 5, 5].sum(0) / 25, "flat")


def test_batch_mates_do_not_matter(backend: Backend) -> None:
    values = torch.rand(4, 1, 6, 6, generator=generator()).to(backend.device).requires_grad_()
    alone = values.detach()[2:3].clone().requires_grad_()
    whole, one = (smooth_maximum(v, (12, 12), step=2, sigma=4.0) for v in (values, alone))
    same_bits(whole[2:3], one)
    upstream = torch.randn(whole.shape, generator=generator("rows")).to(backend.device)
    same_bits(torch.autograd.grad(whole, values, upstream)[0][2:3], torch.autograd.grad(one, alone, upstream[2:3])[0])


def _weights(step: int, sigma: float) -> Tensor:
    away = torch.arange(step * (2 + math.ceil(sigma / step)), dtype=torch.float64)
    apart = torch.hypot(away[:, None], away[None]) / sigma
    return torch.exp(-2 * (apart - 0.5).clamp(min=0) ** 2)
