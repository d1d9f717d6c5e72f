"""What holds for every native op however it is called: bytes of bools, versions, tensors without values, torch.func."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.utils import _pytree as pytree

from saliency_ext import ops
from tests.backends import Backend, close, generator, same_bits
from tests.ops.all_contracts import CONTRACTS
from tests.ops.cases import USUAL, copied, is_tensor, moved
from tests.ops.contract import OpContract

every_contract = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
WRITERS = {"blend_rank", "blend_boxes", "blend_grids", "blend_segments", "blend_rank_update", "mask_step"}


def recorded(
    contract: type[OpContract], backend: Backend, dtype: torch.dtype | None = None
) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Direct calls of the ops that a contract's variants reach."""
    tests = contract()
    for _, arguments in tests.cases((2, 3, 4, 9), dtype or tests.dtypes[0]):
        for op, given in tests.record(moved(arguments, backend)):
            yield op, tuple(value.detach() if is_tensor(value) else value for value in given)


def run(op: Any, given: tuple[Any, ...]) -> list[Tensor]:
    """Results of a direct call, and its arguments after it; bytes that say yes or no as 0 and 1."""
    given = tuple(value.clone() if is_tensor(value) else value for value in given)
    result = op(*given)
    parts = [part for part in (*(result if isinstance(result, tuple) else (result,)), *given) if is_tensor(part)]
    return [part.view(torch.uint8) != 0 if part.dtype in (torch.bool, torch.uint8) else part for part in parts]


def with_bytes(value: Any, byte: int) -> Any:
    """The same yes and no, yes written as another byte."""
    if not is_tensor(value) or value.dtype not in (torch.bool, torch.uint8):
        return value
    return ((value.view(torch.uint8) != 0).to(torch.uint8) * byte).view(value.dtype)


# ---- bytes of bools


@every_contract
@pytest.mark.parametrize("byte", [2, 128, 255])
def test_any_byte_but_zero_is_yes(contract: type[OpContract], backend: Backend, byte: int) -> None:
    for op, given in recorded(contract, backend):
        for a, b in zip(run(op, tuple(with_bytes(value, byte) for value in given)), run(op, given), strict=True):
            same_bits(a, b, op._schema.name)


@every_contract
def test_a_view_of_bytes_is_a_mask(contract: type[OpContract], backend: Backend) -> None:
    tests = contract()
    for what, arguments in tests.cases(USUAL, tests.dtypes[0]):
        if not any(is_tensor(value) and value.dtype == torch.bool for value in arguments.values()):
            continue
        arguments = moved(arguments, backend)
        views = {name: with_bytes(value, 255) for name, value in arguments.items()}
        tests.compare_runs(tests.call(**views), tests.call(**arguments), what)
        expected = tests.reference(**copied({k: v.cpu() if is_tensor(v) else v for k, v in arguments.items()}))
        by_reference = tests.reference(**{k: v.cpu() if is_tensor(v) else v for k, v in views.items()})
        tests.compare_runs(by_reference, expected, what)


# ---- versions


@every_contract
def test_what_is_written_gets_a_new_version(contract: type[OpContract], backend: Backend) -> None:
    for op, given in recorded(contract, backend):
        written = [argument.is_write for argument in op._schema.arguments]
        assert any(written) == (op._schema.name.split("::")[1] in WRITERS)
        before = [value._version if is_tensor(value) else 0 for value in given]
        op(*given)
        for value, is_written, version in zip(given, written, before, strict=True):
            if is_tensor(value):
                assert (value._version > version) == is_written


@pytest.mark.parametrize("name", ["blend_rank_", "blend_dense"])
def test_a_graph_that_saved_what_was_written_is_refused(backend: Backend, name: str) -> None:
    inputs = torch.rand(1, 3, 4, 4, device=backend.device)
    target = inputs.clone() if name == "blend_rank_" else inputs.clone()[None]
    weight = torch.tensor(2.0, device=backend.device, requires_grad=True)
    product = (weight * target).sum()  # saves the target
    if name == "blend_rank_":
        ops.blend_rank_(target, torch.zeros_like(target), ops.rank(inputs[:, 0]), 0, 9)
    else:
        ops.blend_dense(inputs, 0.0, torch.zeros(1, 4, 4, device=backend.device), out=target)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


def test_versions_stay_out_of_inference_mode(backend: Backend) -> None:
    with torch.inference_mode():
        canvas = torch.ones(1, 1, 2, 2, device=backend.device)
        ops.blend_rank_(canvas, torch.zeros_like(canvas), ops.rank(canvas[:, 0]), 0, 4)
    assert (canvas == 0).all()


# ---- tensors without values


def facts(results: tuple[Tensor, ...]) -> list[tuple[Any, ...]]:
    return [(tuple(result.shape), result.dtype, result.stride()) for result in results]


@every_contract
def test_meta(contract: type[OpContract]) -> None:
    tests = contract()
    for _, arguments in tests.cases(USUAL, tests.dtypes[0]):
        on_meta = pytree.tree_map_only(Tensor, lambda value: value.to("meta"), arguments)
        results = tests.call(**on_meta)
        assert all(result.is_meta for result in results)
        assert facts(results) == facts(tests.call(**copied(arguments)))


@every_contract
def test_fake_tensors(contract: type[OpContract]) -> None:
    tests = contract()
    for _, arguments in tests.cases(USUAL, tests.dtypes[0]):
        expected = facts(tests.call(**copied(arguments)))
        with FakeTensorMode() as mode:
            results = tests.call(**pytree.tree_map_only(Tensor, mode.from_tensor, arguments))
        assert facts(results) == expected


def test_lists_under_a_fake_tensor_mode() -> None:
    with FakeTensorMode():
        inputs, ranks = torch.empty(2, 3, 4, 5), torch.empty(2, 4, 5, dtype=torch.int32)
        out = torch.empty(2, 2, 3, 4, 5)
        assert ops.blend_rank(inputs, 0.5, ranks, [1, 20], mean=[0.1] * 3, std=[1.0] * 3, out=out) is out
        assert ops.blend_rank_(inputs, torch.empty(2, 3, 4, 5), ranks, [1, 2], [3, 4]) is inputs
        assert ops.rank(torch.empty(1, 4, 5), ties="random").shape == (1, 4, 5)


# ---- forward mode and torch.func


def smooth(values: Tensor) -> Tensor:
    return ops.smooth_maximum(values, (3, 5), step=1, sigma=1.2)


def mixed(mask: Tensor) -> Tensor:
    images = torch.linspace(-1, 1, 2 * 3 * 15, dtype=torch.float64).view(2, 3, 3, 5)
    return ops.blend_dense(images, 0.25, mask[0], mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7], memory_format=torch.channels_last)


DIFFERENTIABLE: dict[str, Callable[[Tensor], Tensor]] = {
    "total_variation": lambda mask: ops.total_variation(mask, kind="isotropic", eps=0.1),
    "blend_dense": mixed,
    "smooth_maximum": smooth,
    "gaussian_blur": lambda images: ops.gaussian_blur(images, 1.5),
}


@pytest.mark.backends("cpu", "sim")
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_torch_func(backend: Backend, name: str) -> None:
    function = DIFFERENTIABLE[name]
    point, direction = torch.randn(2, 2, 2, 3, 5, generator=generator(), dtype=torch.float64)
    leaf = point.clone().requires_grad_()
    (expected,) = torch.autograd.grad(function(leaf).square().sum(), leaf)
    close(torch.func.grad(lambda at: function(at).square().sum())(point), expected, "grad")
    value, slope = torch.func.jvp(lambda at: function(at).square().sum(), (point,), (direction,))
    close(slope, (expected * direction).sum(), "jvp")
    close(value, function(point).square().sum(), "value")
    forward, reverse = torch.func.jacfwd(function)(point), torch.func.jacrev(function)(point)
    close(forward, reverse, "jacobians")
    assert forward.abs().sum() > 0
    points = torch.stack([point, direction])
    each = torch.stack([torch.func.grad(lambda at: function(at).sum())(at) for at in points])
    close(torch.func.vmap(torch.func.grad(lambda at: function(at).sum()))(points), each, "vmap of grad")


@pytest.mark.backends("cpu", "sim")
@pytest.mark.parametrize("name", [name for name in DIFFERENTIABLE if name != "gaussian_blur"])
def test_second_derivatives_are_refused(backend: Backend, name: str) -> None:
    function = DIFFERENTIABLE[name]
    point = torch.rand(2, 2, 3, 5, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="_backward: expected arguments without a forward-mode tangent, got one"):
        torch.func.hessian(lambda at: function(at).square().sum())(point)
    with pytest.raises(RuntimeError, match=f"{name}: expected one backward pass, got a second"):
        torch.func.grad(lambda at: torch.func.grad(lambda x: function(x).square().sum())(at).square().sum())(point)


def test_forward_mode_of_direct_calls(backend: Backend) -> None:
    mask, direction = torch.rand(2, 1, 1, 4, 5, generator=generator(), dtype=torch.float64).to(backend.device)
    direct = getattr(torch.ops, backend.namespace)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(mask, direction)
        slope = forward_ad.unpack_dual(direct.total_variation(dual, 2, 1.0, 0.0)).tangent
        with pytest.raises(RuntimeError, match="total_variation_with_grad: expected arguments without a forward-mode tangent"):
            direct.total_variation_with_grad(dual, torch.ones_like(mask[:, :, 0, 0]), 2, 1.0, 0.0)
    expected = direct.total_variation_backward(mask, torch.ones_like(mask[:, :, 0, 0]), 2, 1.0, 0.0) * direction
    close(slope.flatten(), expected.sum().flatten())


IMAGES = torch.rand(2, 3, 4, 5, generator=generator())
RANKS = ops.rank(IMAGES[:, 0])
NOT_DIFFERENTIABLE: dict[str, Callable[[Tensor], Tensor]] = {
    "blend_rank": lambda images: ops.blend_rank(images, 0.0, RANKS, [3]),
    "blend_boxes": lambda images: ops.blend_boxes(IMAGES, images, torch.tensor([[0, 0, 2, 2]])),
    "blend_grids": lambda images: ops.blend_grids(images, 0.0, RANKS[:, :2, :2] > 3, torch.zeros(2, 2).int()),
    "blend_segments": lambda images: ops.blend_segments(images, 0.0, RANKS // 5, RANKS[:, 0, :4] > 3),
    "blend_rank_": lambda images: ops.blend_rank_(IMAGES.clone(), images, RANKS, 0, 5),
    "linear_infill": lambda images: ops.linear_infill(images, RANKS[None] > 9),
}


@pytest.mark.parametrize("name", NOT_DIFFERENTIABLE)
def test_a_derivative_that_is_not_there_is_refused(name: str) -> None:
    function = NOT_DIFFERENTIABLE[name]
    with pytest.raises(RuntimeError, match=f"{name}: expected .* that need no gradient, got requires_grad=True"):
        torch.func.grad(lambda images: function(images).sum())(IMAGES)
    with pytest.raises(RuntimeError, match=f"{name}: expected .* that need no gradient, got a forward-mode tangent"):
        torch.func.jvp(function, (IMAGES,), (IMAGES,))


def test_constants_inside_a_transform() -> None:
    """What does not depend on the differentiated argument is rendered as ever."""
    blended = ops.blend_rank(IMAGES, 0.0, RANKS, [3, 9])
    gradient = torch.func.grad(lambda factor: (ops.blend_rank(IMAGES, 0.0, RANKS, [3, 9]) * factor).sum())(torch.tensor(1.0))
    close(gradient, blended.sum())


@pytest.mark.parametrize("name", ["blend_rank", "blend_grids", "blend_rank_", "rank"])
def test_vmap_of_what_writes_or_looks_at_values_is_refused(name: str) -> None:
    function = NOT_DIFFERENTIABLE.get(name, lambda images: ops.rank(images[:, 0]))
    with pytest.raises(RuntimeError, match=f"{name}: expected tensors outside torch.vmap, got one inside"):
        torch.func.vmap(function)(torch.stack([IMAGES, IMAGES]))


def test_vmap() -> None:
    several = torch.rand(4, *IMAGES.shape, generator=generator())
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "rank": lambda images: ops.rank(images[:, 0], nan="last"),
        "linear_infill": NOT_DIFFERENTIABLE["linear_infill"],
        "total_variation": ops.total_variation,
    }
    for name, function in functions.items():
        same_bits(torch.func.vmap(function)(several), torch.stack([function(images) for images in several]), name)
    ids = torch.arange(6).view(3, 2)
    draw: Callable[[Tensor], Tensor] = lambda each: ops.philox_normal((1, 2, 2), each, seed=1)  # noqa: E731
    same_bits(torch.func.vmap(draw)(ids), torch.stack([draw(each) for each in ids]))
