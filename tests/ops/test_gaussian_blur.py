from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from saliency_ext import reference
from saliency_ext.ops import gaussian_blur
from tests.backends import Backend, close, generator
from tests.ops.cases import Arguments, Change, Fault, Shape
from tests.ops.contract import DifferentiableContract

BORDERS = ("reflect", "zero", "replicate", "renormalise")


@pytest.mark.backends("cpu", "cuda")
class TestGaussianBlur(DifferentiableContract):
    name = "gaussian_blur"
    batched = ("inputs",)
    repeatable = False  # "as deterministic as torch.matmul; a batch equals its rows to rounding"
    twice = True
    leaves = ("inputs",)

    def arguments(self, shape: Shape, dtype: torch.dtype, rng: torch.Generator) -> Arguments:
        return {"inputs": torch.randn(shape, generator=rng, dtype=dtype), "sigma": 1.5}

    def variants(self, dtype: torch.dtype) -> dict[str, Change]:
        changes = {f"{border}_{sigma}": {"border": border, "sigma": sigma} for border in BORDERS for sigma in (0.4, 3, 12.0)}
        return {"zero_sigma": lambda given: {"sigma": 0}} | {
            name: (lambda given, c=change: c) for name, change in changes.items()
        }

    def compare(self, actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], what: str) -> None:
        close(actual[0], expected[0], what)

    def compare_backends(self, actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], what: str) -> None:
        close(actual[0], expected[0], what)

    def reference(self, **arguments: Any) -> tuple[Tensor, ...]:
        return (reference.gaussian_blur(**arguments),)

    def faults(self) -> dict[str, Fault]:
        return {
            "type": Fault(lambda a: {"inputs": [1.0]}, TypeError, "inputs to be a torch.Tensor, got list"),
            "dtype": Fault(lambda a: {"inputs": a["inputs"].byte()}, TypeError, "inputs of dtype float32 or float64, got uint8"),
            "ndim": Fault(lambda a: {"inputs": a["inputs"][0]}, ValueError, "inputs of shape (N, C, H, W), got (3, 6, 10); add"),
            "sigma_low": Fault(lambda a: {"sigma": -0.1}, ValueError, "sigma >= 0 and finite, got -0.1"),
            "sigma_nan": Fault(lambda a: {"sigma": float("nan")}, ValueError, "sigma >= 0 and finite, got nan"),
            "sigma_infinite": Fault(lambda a: {"sigma": float("inf")}, ValueError, "sigma >= 0 and finite, got inf"),
            "sigma_bool": Fault(lambda a: {"sigma": True}, TypeError, "sigma to be a number, got bool"),
            "sigma_pair": Fault(lambda a: {"sigma": (1.0, 1.0)}, TypeError, "sigma to be a number, got tuple"),
            "border": Fault(
                lambda a: {"border": "wrap"}, ValueError, "border to be one of 'reflect', 'zero', 'replicate', 'renormalise'"
            ),
        }

    def gradient_cases(self) -> dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]]:
        inputs = torch.randn(1, 2, 3, 4, generator=generator(), dtype=torch.float64)
        return {border: (lambda x, b=border: gaussian_blur(x, 1.3, border=b), (inputs,)) for border in BORDERS}

    def test_example(self, backend: Backend) -> None:
        # sigma 0.25: radius floor(4 / 4 + 1/2) = 1, weights 1 and e^(-1 / (2 / 16)) = e^-8 on both sides, over their sum.
        # A point of 1 in a line of three keeps 1 / (1 + 2 e^-8) and gives e^-8 times that to each neighbour; the other axis has
        # size 1: reflect and replicate read the same pixel three times (1), zero reads it once.
        near = torch.exp(torch.tensor(-8.0, dtype=torch.float64)).item()
        point = torch.tensor([[[[0.0, 1.0, 0.0]]]], dtype=torch.float64, device=backend.device)
        centre = 1 / (1 + 2 * near)
        line = torch.tensor([near * centre, centre, near * centre], dtype=torch.float64)
        # Reflect: the left pixel's left neighbour is the middle one, so it hears the point twice.
        close(gaussian_blur(point, 0.25).flatten(), line * torch.tensor([2.0, 1.0, 2.0]))
        close(gaussian_blur(point, 0.25, border="replicate").flatten(), line)
        close(gaussian_blur(point, 0.25, border="zero").flatten(), line * centre)
        # Renormalise: the left pixel has only two weights inside, 1 and e^-8.
        ends = torch.tensor([near / (1 + near), centre, near / (1 + near)], dtype=torch.float64)
        close(gaussian_blur(point, 0.25, border="renormalise").flatten(), ends)

    @pytest.mark.parametrize("sigma", [0.7, 2.0, 11.0])
    @pytest.mark.parametrize(("border", "mode"), [("reflect", "mirror"), ("zero", "constant"), ("replicate", "nearest")])
    def test_equals_scipy(self, backend: Backend, border: str, mode: str, sigma: float) -> None:
        """scipy's "mirror" does not repeat the border pixel, which is what torch and we call reflect. truncate = 4."""
        ndimage = pytest.importorskip("scipy.ndimage")
        inputs = torch.randn(1, 1, 19, 30, generator=generator(), dtype=torch.float64)
        expected = ndimage.gaussian_filter(inputs[0, 0].numpy(), sigma, mode=mode, truncate=4.0)
        actual = gaussian_blur(inputs.to(backend.device), sigma, border=border)
        torch.testing.assert_close(actual[0, 0].cpu(), torch.from_numpy(expected), rtol=1e-10, atol=1e-12)

    @pytest.mark.parametrize("sigma", [0.3, 5.0, 60.0])
    def test_constant_images(self, backend: Backend, sigma: float) -> None:
        grey = torch.full((1, 2, 12, 17), 0.6, dtype=torch.float64, device=backend.device)
        for border in ("reflect", "replicate", "renormalise"):
            close(gaussian_blur(grey, sigma, border=border), grey, border)
        assert (gaussian_blur(grey, sigma, border="zero")[..., 0, 0] < 0.6).all()

    def test_linear_and_symmetric(self, backend: Backend) -> None:
        a, b = torch.randn(2, 1, 2, 9, 14, generator=generator(), dtype=torch.float64).to(backend.device)
        for border in BORDERS:
            blurred = gaussian_blur(a, 2.2, border=border)
            close(gaussian_blur(3 * a - b, 2.2, border=border), 3 * blurred - gaussian_blur(b, 2.2, border=border), border)
            close(gaussian_blur(a.mT, 2.2, border=border).mT, blurred, border)
            close(gaussian_blur(a.flip(-1), 2.2, border=border).flip(-1), blurred, border)

    def test_result_is_a_contiguous_copy(self, backend: Backend) -> None:
        inputs = torch.randn(2, 3, 4, 5).to(backend.device).contiguous(memory_format=torch.channels_last)
        for sigma in (0, 1.0):
            result = gaussian_blur(inputs, sigma)
            assert result.is_contiguous()
            assert result.data_ptr() != inputs.data_ptr()
