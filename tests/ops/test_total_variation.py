from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from saliency_ext import reference
from saliency_ext.ops import total_variation, total_variation_with_grad
from tests.backends import Backend, close, generator, same_bits
from tests.ops.cases import USUAL, Arguments, Change, Fault, Shape
from tests.ops.contract import DifferentiableContract, OpContract

RULES: dict[str, dict[str, Any]] = {
    f"{kind}_{beta}_{eps}": {"kind": kind, "beta": beta, "eps": eps}
    for kind in ("anisotropic", "isotropic")
    for beta in (1.0, 1.5, 2.0, 3.0)
    for eps in (0.0, 1e-3)
} | {"squared": {"kind": "squared"}}


class VariationContract(OpContract):
    batched = ("mask", "weight")

    def arguments(self, shape: Shape, dtype: torch.dtype, rng: torch.Generator) -> Arguments:
        return {"mask": torch.randn(shape, generator=rng, dtype=dtype)}

    def variants(self, dtype: torch.dtype) -> dict[str, Change]:
        def flat(given: Arguments) -> Arguments:
            return {"mask": torch.round(given["mask"])}  # many differences are 0

        rules = {name: (lambda given, rule=rule: rule) for name, rule in RULES.items()}
        return {**rules, "flat": flat, "flat_isotropic": lambda given: flat(given) | {"kind": "isotropic"}}

    def compare(self, actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], what: str) -> None:
        for a, b in zip(actual, expected, strict=True):
            close(a, b, what)

    def compare_backends(self, actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], what: str) -> None:
        """Sums run in another order; gradients gather the same three slopes, but pow is each device's own."""
        close(actual[0], expected[0], what)
        for a, b in zip(actual[1:], expected[1:], strict=True):
            (close if a.is_cuda else same_bits)(a, b, what)

    def faults(self) -> dict[str, Fault]:
        return {
            "type": Fault(lambda a: {"mask": [[0.0]]}, TypeError, "mask to be a torch.Tensor, got list"),
            "dtype": Fault(lambda a: {"mask": a["mask"].half()}, TypeError, "mask of dtype float32 or float64, got float16"),
            "bool": Fault(lambda a: {"mask": a["mask"] > 0}, TypeError, "mask of dtype float32 or float64, got bool"),
            "ndim": Fault(
                lambda a: {"mask": a["mask"][0]}, ValueError, "mask of shape (N, C, H, W), got (3, 6, 10); add the batch"
            ),
            "kind": Fault(
                lambda a: {"kind": "l2"}, ValueError, "kind to be one of 'anisotropic', 'isotropic', 'squared', got 'l2'"
            ),
            "beta_bool": Fault(lambda a: {"beta": True}, TypeError, "beta to be a number, got bool"),
            "beta_text": Fault(lambda a: {"beta": "1"}, TypeError, "beta to be a number, got str"),
            "beta_zero": Fault(lambda a: {"beta": 0}, ValueError, "beta > 0 and finite, got 0"),
            "beta_infinite": Fault(lambda a: {"beta": float("inf")}, ValueError, "beta > 0 and finite, got inf"),
            "beta_nan": Fault(lambda a: {"beta": float("nan")}, ValueError, "beta > 0 and finite, got nan"),
            "eps_low": Fault(lambda a: {"eps": -1e-9}, ValueError, "eps >= 0 and finite, got -1e-09"),
            "eps_none": Fault(lambda a: {"eps": None}, TypeError, "eps to be a number, got NoneType"),
            "squared_beta": Fault(
                lambda a: {"kind": "squared", "beta": 2}, ValueError, "beta and eps 1 and 0 with kind='squared'"
            ),
            "squared_eps": Fault(lambda a: {"kind": "squared", "eps": 0.1}, ValueError, "use kind='isotropic', beta=2"),
        }


class TestTotalVariation(VariationContract, DifferentiableContract):
    name = "total_variation"
    native = ("total_variation", "total_variation_backward")
    leaves = ("mask",)

    def reference(self, **arguments: Any) -> tuple[Tensor, ...]:
        mask = arguments.pop("mask")
        return (reference.total_variation(mask.double(), **arguments).to(mask.dtype),)

    def gradient_cases(self) -> dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]]:
        # Differences of at least 1/4 between neighbours: far from the kink at 0.
        rng = generator()
        order = torch.stack([torch.randperm(20, generator=rng) for _ in range(4)]).view(2, 2, 4, 5)
        mask = order.double() / 4
        cases = {name: (lambda m, rule=rule: total_variation(m, **rule), (mask,)) for name, rule in RULES.items()}
        return {"plain": (total_variation, (mask,)), **cases}


class TestTotalVariationWithGrad(VariationContract):
    name = "total_variation_with_grad"
    native = ("total_variation_with_grad",)

    def arguments(self, shape: Shape, dtype: torch.dtype, rng: torch.Generator) -> Arguments:
        return super().arguments(shape, dtype, rng) | {"weight": torch.randn(shape[:2], generator=rng, dtype=dtype)}

    def reference(self, **arguments: Any) -> tuple[Tensor, ...]:
        mask, weight = arguments.pop("mask"), arguments.pop("weight")
        leaf = mask.double().requires_grad_()
        sums = reference.total_variation(leaf, **arguments)
        (gradient,) = torch.autograd.grad(sums, leaf, weight.double())
        return sums.detach().to(mask.dtype), gradient.to(mask.dtype)

    def compare(self, actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], what: str) -> None:
        """A gradient adds four slopes that may cancel: absolute in the size of the largest gradient."""
        close(actual[0], expected[0], what)
        scale = 1 + (float(expected[1].abs().max()) if expected[1].numel() else 0.0)
        close(actual[1] / scale, expected[1] / scale, what)

    def test_every_thread_takes_part(self) -> None:
        pytest.skip("counted with total_variation, whose kernel this is")

    def faults(self) -> dict[str, Fault]:
        return super().faults() | {
            "weight_type": Fault(lambda a: {"weight": 1.0}, TypeError, "weight to be a torch.Tensor, got float"),
            "weight_shape": Fault(lambda a: {"weight": a["weight"][0]}, ValueError, "weight of shape (N, C) = (3, 3), got (3,)"),
            "weight_dtype": Fault(lambda a: {"weight": a["weight"].double()}, TypeError, "weight of dtype float32, got float64"),
            "weight_device": Fault(
                lambda a: {"weight": a["weight"].to("meta")}, ValueError, "weight on the device of mask (cpu)"
            ),
        }

    def test_gradient_through_it_is_refused(self, backend: Backend) -> None:
        mask = torch.rand(1, 1, 2, 2, device=backend.device, requires_grad=True)
        sums, _ = total_variation_with_grad(mask, torch.ones(1, 1, device=backend.device))
        with pytest.raises(RuntimeError, match="double backward is not supported"):
            sums.sum().backward()


def test_example(backend: Backend) -> None:
    # Rows 0 1 and 0 3. dx: 1, 3; dy: 0, 2.
    mask = torch.tensor([[[[0.0, 1.0], [0.0, 3.0]]]], dtype=torch.float64, device=backend.device)
    assert total_variation(mask).item() == 1 + 3 + 0 + 2
    assert total_variation(mask, kind="squared").item() == 1 + 9 + 0 + 4
    # Isotropic: (dx, dy) = (1, 0), (0, 2), (3, 0), (0, 0): lengths 1, 2, 3, 0; squares 1, 4, 9, 0; with eps = 1 each + 1.
    assert total_variation(mask, kind="isotropic").item() == 6
    assert total_variation(mask, kind="isotropic", beta=2).item() == pytest.approx(14)
    assert total_variation(mask, kind="isotropic", beta=2, eps=1).item() == pytest.approx(18)
    # Anisotropic with eps: over the four pairs only, (1 + 1) + (9 + 1) + (0 + 1) + (4 + 1) = 18; beta 3: 1 + 27 + 0 + 8.
    assert total_variation(mask, beta=2, eps=1).item() == pytest.approx(18)
    assert total_variation(mask, beta=3).item() == pytest.approx(36)
    # Gradient of |dx| + |dy|: top left -1 (its dx) and 0 (its dy = 0); top right +1 - 1; bottom left -1; bottom right +1 + 1.
    _, gradient = total_variation_with_grad(mask, torch.full((1, 1), 10.0, dtype=torch.float64, device=backend.device))
    assert gradient.flatten().tolist() == [-10.0, 0.0, -10.0, 20.0]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_properties(backend: Backend, rule: dict[str, Any]) -> None:
    mask = torch.randn(2, 2, 9, 35, generator=generator("properties"), dtype=torch.float64).to(backend.device)
    sums = total_variation(mask, **rule)
    close(total_variation(mask.mT, **rule), sums, "transposed")
    close(total_variation(mask + 3, **rule), sums, "shifted", torch.float32)  # the sum 3 + m rounds
    beta, eps = (2.0, 0.0) if rule["kind"] == "squared" else (rule["beta"], rule["eps"])
    constant = total_variation(torch.full_like(mask, 2.5), **rule)
    terms = 9 * 35 if rule["kind"] == "isotropic" else 9 * 34 + 8 * 35
    close(constant, torch.full_like(sums, terms * eps ** (beta / 2)), "constant")
    if eps == 0:
        close(total_variation(-2 * mask, **rule), 2**beta * sums, "homogeneous")
        assert (constant == 0).all()
    leaf = mask.clone().requires_grad_()
    (by_autograd,) = torch.autograd.grad(total_variation(leaf, **rule).sum(), leaf)
    both = total_variation_with_grad(mask, torch.ones_like(sums), **rule)
    same_bits(both[0], sums)
    same_bits(both[1], by_autograd)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_gradient_of_a_constant_map_is_zero(backend: Backend, rule: dict[str, Any]) -> None:
    mask = torch.full((1, 1, 4, 5), 0.7, device=backend.device, requires_grad=True)
    total_variation(mask, **rule).sum().backward()
    assert (mask.grad == 0).all()


def test_rows_in_several_chunks(backend: Backend) -> None:
    """More than 65,536 pixels a map: chunks of rows with a sum of their own, and slopes across their borders."""
    mask = torch.randn(2, 1, 150, 1000, generator=generator())
    weight = torch.tensor([[2.0], [-1.0]])
    leaf = mask.double().requires_grad_()
    expected = reference.total_variation(leaf, "isotropic")
    (gradient,) = torch.autograd.grad(expected, leaf, weight.double())
    sums, actual = total_variation_with_grad(mask.to(backend.device), weight.to(backend.device), kind="isotropic")
    close(sums, expected.detach())
    close(actual, gradient)
    alone, _ = total_variation_with_grad(mask[1:].to(backend.device), weight[1:].to(backend.device), kind="isotropic")
    same_bits(alone, sums[1:])


def test_small_differences_do_not_underflow(backend: Backend) -> None:
    """beta = 1 without eps is |d| itself: 1e-30 squared is 0 in float32."""
    mask = torch.tensor([[[[0.0, 1e-30]]]], device=backend.device)
    assert total_variation(mask).item() == pytest.approx(1e-30)
    assert total_variation(mask, kind="squared").item() == 0


def test_nan_and_infinity_are_not_hidden(backend: Backend) -> None:
    mask = torch.zeros((3, 1, *USUAL[2:]), device=backend.device)
    mask[0, 0, 3, 4], mask[1, 0, 2, 2] = float("nan"), float("inf")
    sums = total_variation(mask).flatten()
    assert sums[0].isnan() and sums[1].isinf() and sums[2] == 0


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_nan_makes_every_sum_nan(backend: Backend, rule: dict[str, Any]) -> None:
    """Also in the last row and column, with their gradients; from an infinity to 0 is infinitely far."""
    for y, x in ((0, 0), (3, 3), (7, 34)):
        mask = torch.rand(2, 1, 8, 35, generator=generator()).to(backend.device)
        mask[0, 0, y, x] = float("nan")
        sums, gradient = total_variation_with_grad(mask, torch.ones(2, 1, device=backend.device), **rule)
        assert sums.flatten().isnan().tolist() == [True, False]
        assert gradient[0, 0, y, x].isnan() and not gradient[1].isnan().any()
        same_bits(total_variation(mask, **rule), sums)
        assert reference.total_variation(mask, **rule).flatten().isnan().tolist() == [True, False]
    jump = torch.tensor([[[[float("inf"), 0.0]]], [[[0.0, float("inf")]]]], device=backend.device)
    for edge in (jump, jump.mT):
        assert (total_variation(edge, **rule) == float("inf")).all()
        assert (reference.total_variation(edge, **rule) == float("inf")).all()
