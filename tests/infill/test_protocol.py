"""What holds for every infill."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from saliency_ext import infill as package
from saliency_ext.infill import BaseInfill
from saliency_ext.ops import blend_rank, rank
from saliency_ext.protocols import Infill
from tests.backends import same_bits
from tests.infill.cases import ALL, FIXED, IDS, RANDOM, SHAPE, ids, images

every = pytest.mark.parametrize("name", list(ALL))
every_random = pytest.mark.parametrize("name", list(RANDOM))
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def filled(infill: Infill, inputs: Tensor, sample_ids: Tensor | None = None, draw: int = 0) -> Tensor:
    """The infill at the inputs' shape."""
    return infill.fill(inputs, ids(len(inputs)) if sample_ids is None else sample_ids, draw).expand(inputs.shape)


def test_every_infill_is_tested() -> None:
    public = {name for name in package.__all__ if not name.endswith("Infill") and name not in ("INFILLS", "InfillOptions")}
    assert {type(make()).__name__ for make in ALL.values()} == public


@every
def test_keeps_the_protocol(name: str) -> None:
    infill: Infill = ALL[name]()
    assert isinstance(infill, Infill)
    assert infill.name == name
    assert infill.draws == 1
    assert ("draws" in infill.parameters) == (name in RANDOM or name == "noisy_linear")
    json.dumps(infill.parameters)  # plain values
    assert {infill.key: 1}[ALL[name]().key] == 1
    assert infill == ALL[name]() and hash(infill) == hash(ALL[name]())
    assert pickle.loads(pickle.dumps(infill)).key == infill.key
    with pytest.raises(dataclasses.FrozenInstanceError):
        infill.seed = 1  # type: ignore[attr-defined]


@every
@every_dtype
def test_dtype_and_shape_fit_the_inputs(name: str, dtype: torch.dtype) -> None:
    inputs = images(dtype=dtype)
    result = ALL[name]().fill(inputs, ids())
    assert result.dtype == dtype and result.device == inputs.device and result.ndim == 4
    assert result.isfinite().all()
    ranks = rank(inputs.sum(1))
    assert blend_rank(inputs, result, ranks, [0, 63]).shape == (2, *inputs.shape)


@every
def test_precisions_agree(name: str) -> None:
    inputs = images()
    torch.testing.assert_close(filled(ALL[name](), inputs).double(), filled(ALL[name](), inputs.double()), rtol=1e-5, atol=1e-6)


@every
@every_dtype
def test_independent_of_the_batch(name: str, dtype: torch.dtype) -> None:
    for shape in (SHAPE, (1, 33, 65)):
        inputs, infill = images(shape=shape, dtype=dtype), ALL[name](shape)
        together = filled(infill, inputs)
        for row in range(4):
            same_bits(filled(infill, inputs[row : row + 1], ids()[row : row + 1])[0], together[row], f"{name} alone")
        order = torch.tensor([2, 0, 3, 1, 2])
        same_bits(filled(infill, inputs[order], ids()[order]), together[order], f"{name} permuted")
        same_bits(filled(infill, inputs), together, f"{name} again")


@every
def test_layouts_agree(name: str) -> None:
    inputs = images(count=2)
    infill, expected = ALL[name](), None
    wide = torch.zeros(2, 5, 10, 16)
    wide[:, 1:4, 1:, 1:15:2] = inputs
    for view in (inputs, inputs.contiguous(memory_format=torch.channels_last), wide[:, 1:4, 1:, 1:15:2]):
        expected = filled(infill, view) if expected is None else expected
        same_bits(filled(infill, view).contiguous(), expected.contiguous(), name)
    expanded = inputs[:1].expand(3, -1, -1, -1)
    same_bits(filled(infill, expanded), filled(infill, expanded.clone()), name)


@every
@pytest.mark.parametrize("size", [(0, 3, 9, 7), (3, 3, 1, 1), (2, 1, 1, 5), (1, 4, 6, 1)], ids=str)
def test_small_and_empty_inputs(name: str, size: tuple[int, ...]) -> None:
    inputs = images(size[0], size[1:])
    result = filled(ALL[name](size[1:]), inputs)
    assert result.shape == inputs.shape and result.isfinite().all()


@every
def test_leaves_the_caller_alone(name: str) -> None:
    inputs, sample_ids = images().requires_grad_(), ids()
    before, state, infill = inputs.detach().clone(), torch.get_rng_state(), ALL[name]()
    result = infill.fill(inputs, sample_ids)
    assert not result.requires_grad and inputs.requires_grad and inputs.grad is None
    result.add_(1)  # shares no memory
    same_bits(inputs.detach(), before)
    assert sample_ids.tolist() == IDS
    same_bits(infill.fill(inputs, sample_ids) + 1, result)
    assert torch.equal(torch.get_rng_state(), state)


@every
def test_works_in_inference_mode_and_autocast(name: str) -> None:
    expected = ALL[name]().fill(images(), ids())
    with torch.inference_mode():
        same_bits(ALL[name]().fill(images(), ids()), expected)
    with torch.autocast("cpu", torch.bfloat16):
        same_bits(ALL[name]().fill(images(), ids()), expected)


@every_random
def test_keyed_by_seed_sample_and_draw(name: str) -> None:
    inputs = images(1).expand(2, -1, -1, -1)
    base = filled(RANDOM[name](), inputs, torch.tensor([5, 6]))
    assert not torch.equal(base[0], base[1])  # another sample
    same_bits(filled(RANDOM[name](draws=4), inputs, torch.tensor([5, 6])), base)  # draws to come change nothing
    others = [
        filled(RANDOM[name](), inputs, torch.tensor([5, 6]), draw=1),
        filled(RANDOM[name](), inputs, torch.tensor([5, 6]), draw=2**31 - 1),
        filled(RANDOM[name](seed=4), inputs, torch.tensor([5, 6])),
        filled(RANDOM[name](seed=3 + 2**32), inputs, torch.tensor([5, 6])),
        filled(RANDOM[name](), inputs, torch.tensor([5 + 2**32, 7])),
    ]
    assert len({tuple(values[0].flatten().tolist()) for values in [base, *others]}) == 6


@every_random
def test_key_of_random_infills(name: str) -> None:
    base = RANDOM[name]()
    assert RANDOM[name](seed=4).key != base.key
    assert RANDOM[name](draws=4).key == base.key and RANDOM[name](draws=4) != base  # the pixels of each draw are the same
    assert RANDOM[name](draws=4).draws == RANDOM[name](draws=4).parameters["draws"] == 4


@pytest.mark.parametrize("name", list(FIXED))
def test_fixed_infills_know_neither_sample_nor_draw(name: str) -> None:
    same_bits(filled(FIXED[name](), images(), ids().flip(0) + 1, draw=9), filled(FIXED[name](), images()))


def test_keys_differ_between_infills() -> None:
    assert len({make().key for make in ALL.values()}) == len(ALL)


FAULTS: dict[str, tuple[Callable[[BaseInfill], object], type[Exception], str]] = {
    "list": (lambda f: f.fill([1.0], ids()), TypeError, "inputs to be a torch.Tensor, got list; convert it with torch.as_tensor"),
    "uint8": (
        lambda f: f.fill(images().byte(), ids()),
        TypeError,
        "inputs of dtype float32 or float64, got uint8; images of 8-bit integers are first scaled and normalised",
    ),
    "half": (
        lambda f: f.fill(images().half(), ids()),
        TypeError,
        "inputs of dtype float32 or float64, got float16; convert with .float()",
    ),
    "ndim": (
        lambda f: f.fill(images()[0], ids(3)),
        ValueError,
        "inputs of shape (N, C, H, W), got (3, 9, 7); add the batch dimension with [None]",
    ),
    "ids_list": (lambda f: f.fill(images(), [1, 2, 3, 4]), TypeError, "sample_ids to be a torch.Tensor, got list"),
    "ids_dtype": (lambda f: f.fill(images(), ids().int()), TypeError, "sample_ids of dtype int64, got int32"),
    "ids_length": (lambda f: f.fill(images(), ids(3)), ValueError, "sample_ids of shape (N,) = (4,), got (3,)"),
    "ids_negative": (lambda f: f.fill(images(), ids() - 1), ValueError, "sample_ids in [0, 281474976710655], got -1"),
    "ids_device": (
        lambda f: f.fill(images(), ids().to("meta")),
        ValueError,
        "sample_ids on the device of inputs (cpu), got meta; move it with .to('cpu')",
    ),
    "draw": (lambda f: f.fill(images(), ids(), -1), ValueError, "draw in [0, 2147483647], got -1"),
    "draw_float": (lambda f: f.fill(images(), ids(), 0.5), TypeError, "draw to be an int, got float"),
}


@every
@pytest.mark.parametrize("fault", list(FAULTS))
def test_says_what_is_wrong(name: str, fault: str) -> None:
    infill = ALL[name]()
    action, error, text = FAULTS[fault]
    with pytest.raises(error) as raised:
        action(infill)
    assert str(raised.value).startswith(f"{type(infill).__name__}: expected {text}")


@every_random
@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"seed": -1}, ValueError, "seed in [0, 9223372036854775807], got -1"),
        ({"seed": 0.5}, TypeError, "seed to be an int, got float"),
        ({"draws": 0}, ValueError, "draws in [1, 2147483647], got 0"),
        ({"draws": True}, TypeError, "draws to be an int, got bool"),
    ],
)
def test_says_what_is_wrong_with_randomness(name: str, options: dict[str, object], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as raised:
        RANDOM[name](**options)
    assert str(raised.value) == f"{type(RANDOM[name]()).__name__}: expected {text}"
