"""The last line of defence, for callers of torch.ops: a wrong argument is an error in words, never a crash."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from saliency_ext.ops import MaskRule, MaskState, Resizing, mask_step_, native
from tests.backends import Backend, same_bits


def images(n: int = 2, c: int = 3, h: int = 4, w: int = 5, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(n, c, h, w, dtype=dtype)


def integers(*shape: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype)


RANKS, OUT = integers(2, 4, 5, dtype=torch.int32), torch.zeros(3, 2, 3, 4, 5)
BLEND = (images(), images(), RANKS, integers(3), True, None, None, OUT)
BOXES = (images(), images(), integers(3, 4, dtype=torch.int32), None, None, OUT)
GRIDS = (images(), images(), integers(3, 2, 2, dtype=torch.uint8), integers(3, 2, dtype=torch.int32), True, None, None, OUT)
SEGMENTS = (images(), images(), RANKS, integers(3, 6, dtype=torch.uint8), None, None, OUT)
DENSE = (images(), images(), torch.zeros(3, 4, 5), None, None, OUT)
NEW = (images(), images(), torch.zeros(3, 4, 5), None, None, torch.float32, False)
BACKWARD = (OUT, images(), images(), torch.zeros(3, 4, 5), None)
INFILL = (images(), torch.zeros(3, 2, 4, 5, dtype=torch.bool), images(), 0, 1e-3, 0.01)
PLACES = integers(1, 1, 4)
MASK_STEP = (
    *(None, images(), images(n=1), PLACES, PLACES, *Resizing.bilinear((4, 5), 2)),
    *(*MaskState.start(torch.zeros(1, 1, 2, 3), (4, 5)), torch.zeros(1, 1, 1, 3, 4, 5)),
    *(True, True, False, 0, 0.1, 0.9, 0.999, 1e-8, 1.0, 0.0, 2.0),
)
SMOOTH = (torch.zeros(1, 1, 2, 3), torch.zeros(4, 4), 4, 6, 2, 0, 20.0)
SMOOTH_BACK = (
    torch.zeros(1, 1, 4, 6),
    torch.zeros(1, 1, 2, 3),
    torch.zeros(4, 4),
    torch.zeros(1, 1, 4, 6),
    torch.ones(1, 1, 4, 6),
    *(2, 0, 20.0),
)
UPDATE = (images(), images(), RANKS, integers(1), integers(1))

# op, good arguments, position of the bad one, the bad one, words
CASES: list[tuple[str, tuple[Any, ...], int, Any, str]] = [
    ("rank", (torch.zeros(1, 2, 3), None, 0), 0, torch.zeros(2, 3), "rank: expected saliency of shape (N, H, W), got (2, 3)"),
    (
        "rank",
        (torch.zeros(1, 2, 3), None, 0),
        0,
        torch.zeros(1, 2, 3).half(),
        "rank: expected saliency of dtype float32 or float64",
    ),
    ("rank", (torch.zeros(1, 2, 3), None, 0), 1, integers(2), "rank: expected sample_ids of shape (1), got (2)"),
    ("topk_mask", (torch.zeros(1, 2, 3), integers(2), None, 0), 1, integers(2, 2), "expected counts of shape (K,), got (2, 2)"),
    ("topk_mask", (torch.zeros(1, 2, 3), integers(2), None, 0), 1, torch.zeros(2), "expected counts of dtype int64"),
    ("blend_rank", BLEND, 0, torch.zeros(3), "expected inputs of shape (N, C, H, W), got (3)"),
    ("blend_rank", BLEND, 1, images(c=1), "expected infill of shape (2, 3, 4, 5), got (2, 1, 4, 5)"),
    ("blend_rank", BLEND, 1, images(dtype=torch.float64), "expected infill of the inputs' dtype"),
    ("blend_rank", BLEND, 2, RANKS[:1], "expected ranks of shape (2, 4, 5), got (1, 4, 5)"),
    ("blend_rank", BLEND, 2, RANKS.long(), "expected ranks of dtype int32"),
    ("blend_rank", BLEND, 3, integers(4), "expected counts of shape (2, 3), got (4)"),
    ("blend_rank", BLEND, 5, torch.zeros(3), "expected mean, std both or neither, got one"),
    ("blend_rank", BLEND, 7, torch.zeros(3, 2, 3, 5, 4), "expected out of shape (3, 2, 3, 4, 5), got (3, 2, 3, 5, 4)"),
    ("blend_rank", BLEND, 7, OUT.double(), "expected out of dtype float64 exactly when inputs are"),
    ("blend_rank", BLEND, 7, OUT.int(), "expected out of a floating dtype"),
    (
        "blend_rank",
        BLEND,
        7,
        torch.zeros(3, 2, 3, 5, 4).mT,
        "expected out packed, contiguous or channels_last, got other strides",
    ),
    ("blend_boxes", BOXES, 2, integers(3, 5, dtype=torch.int32), "expected boxes of shape (2, 3, 4), got (3, 5)"),
    ("blend_boxes", BOXES, 2, integers(3, 4), "expected boxes of dtype int32"),
    ("blend_grids", GRIDS, 2, integers(2, 2, dtype=torch.uint8), "expected grids of shape (S, h, w) or (N, S, h, w), got (2, 2)"),
    ("blend_grids", GRIDS, 2, integers(3, 0, 2, dtype=torch.uint8), "expected grids of at least one cell"),
    ("blend_grids", GRIDS, 3, integers(2, 3, 2, dtype=torch.int32), "expected shifts per image exactly when grids are"),
    ("blend_segments", SEGMENTS, 3, integers(6, dtype=torch.uint8), "expected coalitions of shape (S, K) or (N, S, K), got (6)"),
    ("blend_segments", SEGMENTS, 2, RANKS[:, 1:], "expected segments of shape (2, 4, 5), got (2, 3, 5)"),
    ("blend_dense_out", DENSE, 2, torch.zeros(3, 5, 4), "expected mask of shape (2, 3, 4, 5), got (3, 5, 4)"),
    ("blend_dense_out", DENSE, 2, torch.zeros(3, 4, 5).double(), "expected mask of dtype"),
    ("blend_dense", NEW, 2, torch.zeros(4, 5), "expected mask of shape (S, H, W) or (N, S, H, W), got (4, 5)"),
    ("blend_dense_backward", BACKWARD, 0, torch.zeros(3, 2, 3, 4, 4), "expected gradient of shape (3, 2, 3, 4, 5)"),
    ("blend_dense_backward", BACKWARD, 3, torch.zeros(3, 4, 5).double(), "expected gradient, infill, mask of the inputs' dtype"),
    ("blend_dense_backward", BACKWARD, 4, torch.ones(2), "expected std of shape (3), got (2)"),
    ("blend_rank_update", UPDATE, 0, images().int(), "expected source of the canvas' dtype"),
    ("blend_rank_update", UPDATE, 1, images(n=1), "expected source of shape (2, 3, 4, 5), got (1, 3, 4, 5)"),
    ("blend_rank_update", UPDATE, 3, integers(3), "expected lo, hi of the same shape (1,) or (N,)"),
    ("blend_rank_update", UPDATE, 4, integers(2), "expected lo, hi of the same shape (1,) or (N,)"),
    ("total_variation", (images(), 0, 1.0, 0.0), 0, torch.zeros(2, 3), "expected mask of shape (N, C, H, W), got (2, 3)"),
    ("total_variation", (images(), 0, 1.0, 0.0), 1, 3, "expected kind 0 (anisotropic), 1 (isotropic) or 2 (squared), got 3"),
    *[
        (op, (images(), torch.zeros(2, 3), 0, 1.0, 0.0), 1, torch.zeros(3, 2), "expected weight of shape (2, 3)")
        for op in ("total_variation_with_grad", "total_variation_backward")
    ],
    ("linear_infill", INFILL, 0, torch.zeros(3), "expected inputs of shape (N, C, H, W), got (3)"),
    ("linear_infill", INFILL, 0, images().half(), "expected inputs of dtype float32 or float64"),
    ("linear_infill", INFILL, 1, torch.zeros(2, 4, 5, dtype=torch.bool), "expected remove of shape (S, N, H, W), got (2, 4, 5)"),
    ("linear_infill", INFILL, 1, torch.zeros(3, 1, 4, 5, dtype=torch.bool), "expected remove of shape (3, 2, 4, 5), got (3, 1,"),
    ("linear_infill", INFILL, 1, torch.zeros(3, 2, 4, 5), "expected remove of dtype bool"),
    ("linear_infill", INFILL, 2, images(c=1), "expected noise of shape (2, 3, 4, 5), got (2, 1, 4, 5)"),
    ("linear_infill", INFILL, 2, images(dtype=torch.float64), "expected noise of dtype float32"),
    ("linear_infill", INFILL, 3, 2, "expected stencil 0 (road) or 1 (harmonic), got 2"),
    ("linear_infill", INFILL, 4, 0.0, "expected tolerance > 0"),
    ("mask_step", MASK_STEP, 0, torch.zeros(1, 1, 1, 3, 4, 4), "expected gradient of shape (1, 1, 1, 3, 4, 5), got (1, 1, 1, 3"),
    ("mask_step", MASK_STEP, 1, torch.zeros(3), "expected inputs of shape (N, C, H, W), got (3)"),
    ("mask_step", MASK_STEP, 1, torch.zeros(2, 3, 3, 5), "expected infill of the inputs' shape but for the first size"),
    ("mask_step", MASK_STEP, 2, images(n=1, dtype=torch.float64), "expected every tensor of the values' dtype"),
    ("mask_step", MASK_STEP, 3, integers(1, 4), "expected places of shape (R, U, 4), got (1, 4)"),
    ("mask_step", MASK_STEP, 4, integers(1, 2, 4), "expected places of shape (1, 1, 4), got (1, 2, 4)"),
    ("mask_step", MASK_STEP, 6, integers(5, 2, dtype=torch.int32), "expected bands of shape (6, 2), got (5, 2)"),
    ("mask_step", MASK_STEP, 10, torch.zeros(1, 1, 2, 2), "expected state of shape (1, 1, 2, 3), got (1, 1, 2, 2)"),
    ("mask_step", MASK_STEP, 14, integers(1, dtype=torch.int32), "expected counts of dtype int64"),
    ("mask_step", MASK_STEP, 17, torch.zeros(1, 1, 1, 3, 5, 4).mT, "expected everything that is changed contiguous"),
    ("smooth_maximum", SMOOTH, 0, torch.zeros(2, 3), "expected values of shape (N, C, h, w), got (2, 3)"),
    ("smooth_maximum", SMOOTH, 1, torch.zeros(4, 2), "expected weights of shape (4, 4), got (4, 2)"),
    ("smooth_maximum", SMOOTH, 1, torch.zeros(4, 4).double(), "expected weights of the values' dtype"),
    ("smooth_maximum", SMOOTH, 2, 40, "expected values"),
    ("smooth_maximum_backward", SMOOTH_BACK, 0, torch.zeros(1, 1, 4, 5), "expected gradient, out and sums of shape (1, 1, 4, 6)"),
    ("smooth_maximum_backward", SMOOTH_BACK, 3, torch.zeros(4, 6), "expected out of shape (N, C, H, W), got (4, 6)"),
    ("noise", (integers(2), 1, 2, 2, False, 0, 0), 0, integers(2, 2), "expected sample_ids of shape (N,), got (2, 2)"),
    ("noise", (integers(2), 1, 2, 2, False, 0, 0), 1, 65536, "expected channels, height, width >= 0 and channels < 65536"),
]


def changed(values: torch.Tensor, *place: int, to: int) -> torch.Tensor:
    result = values.clone()
    result[place] = to
    return result


STEP = (torch.rand(1, 1, 1, 3, 4, 5, generator=torch.Generator().manual_seed(1)), *MASK_STEP[1:])
DOWN_BANDS, ACROSS_BANDS, SHIFTS = MASK_STEP[6], MASK_STEP[8], integers(3, 2, dtype=torch.int32)
COUNTS = MASK_STEP[14]

# What an integer may hold: refused on the host, on the device as if it were the nearest that is allowed (the last of each line).
CONTENTS: list[tuple[str, tuple[Any, ...], int, Any, str, Any]] = [
    *[
        (
            "mask_step",
            STEP,
            at,
            changed(PLACES, 0, 0, column, to=value),
            f"{name}[..., {column}] in [0, {last}], got {value}",
            PLACES,
        )
        for at, name in ((3, "places"), (4, "next_places"))
        for column, value, last in ((0, -(10**7), 1), (1, -(2**63), 0), (1, 10**6, 0), (2, 10**9, 0), (3, 2**62, 0), (3, -1, 0))
    ],
    (
        *("mask_step", STEP, 3, changed(PLACES, 0, 0, 0, to=10**6)),
        *("places[..., 0] in [0, 1], got 1000000", changed(PLACES, 0, 0, 0, to=1)),
    ),
    ("mask_step", STEP, 6, changed(DOWN_BANDS, -1, 1, to=2**30), "down_bands in [0, 2], got 1073741824", DOWN_BANDS),
    ("mask_step", STEP, 6, changed(DOWN_BANDS, 0, 0, to=-(2**20)), "down_bands in [0, 4], got -1048576", DOWN_BANDS),
    ("mask_step", STEP, 6, changed(DOWN_BANDS, 1, 1, to=2**31 - 1), "down_bands in [0, 4], got 2147483647", DOWN_BANDS),
    ("mask_step", STEP, 8, changed(ACROSS_BANDS, 2, 1, to=2**30), "across_bands in [0, 5], got 1073741824", ACROSS_BANDS),
    ("mask_step", STEP, 8, changed(ACROSS_BANDS, -1, 1, to=2**30), "across_bands in [0, 3], got 1073741824", ACROSS_BANDS),
    ("mask_step", STEP, 8, changed(ACROSS_BANDS, 3, 0, to=-(2**31)), "across_bands in [0, 3], got -2147483648", ACROSS_BANDS),
    *[
        ("blend_grids", GRIDS, 3, changed(SHIFTS, 0, axis, to=value), f"shifts[..., {axis}] in [0, {last}], got {value}", nearest)
        for axis, last in ((0, 1), (1, 2))
        for value, nearest in ((-(2**31), SHIFTS), (2**31 - 1, changed(SHIFTS, 0, axis, to=last)))
    ],
]

# Sizes and numbers: refused everywhere.
NUMBERS: list[tuple[str, tuple[Any, ...], int, Any, str]] = [
    ("mask_step", STEP, 1, images(n=0), "expected inputs and infill to hold an image, got (0, 3, 4, 5)"),
    ("mask_step", STEP, 2, images(n=0), "expected inputs and infill to hold an image"),
    ("mask_step", STEP, 21, 7, "expected kind 0 (anisotropic), 1 (isotropic) or 2 (squared), got 7"),
    *[("smooth_maximum", SMOOTH, 5, value, "expected margin in [0, 2^31)") for value in (2**63 - 1, 2**62, -(2**63), 2**31)],
    *[("smooth_maximum", SMOOTH, 4, value, "expected step in [1, 2^31)") for value in (0, 2**63 - 1, -(2**63), 2**31)],
    *[("smooth_maximum", SMOOTH, at, value, "expected height and width") for at in (2, 3) for value in (-1, 2**63 - 1, -(2**63))],
    ("smooth_maximum_backward", SMOOTH_BACK, 6, 2**63 - 1, "expected margin in [0, 2^31)"),
    *[
        ("noise", (integers(n), 1, 2, 2, False, 0, 0), at, value, "expected")
        for n in (0, 2)
        for at in (1, 2, 3)
        for value in (2**63 - 1, -(2**63), 2**62)
    ],
    ("noise", (integers(0), 1, 2**40, 2**40, False, 0, 0), 1, 3, "sample_ids, channels, height, width of at most 2^48 elements"),
    ("rank", (torch.zeros(1, 2, 3), None, 0), 0, torch.empty(0, 2**40, 2**20), "saliency of at most 2^48 elements, got more"),
    ("total_variation", (images(), 0, 1.0, 0.0), 1, -1, "expected kind 0"),
]


def run(backend: Backend, op: str, arguments: tuple[Any, ...]) -> Any:
    place: Callable[[Any], Any] = lambda v: v.to(backend.device) if isinstance(v, torch.Tensor) else v  # noqa: E731
    return native.call(op, *map(place, arguments))


@pytest.mark.parametrize(
    ("op", "arguments", "position", "bad", "words"), CASES, ids=[f"{case[0]}-{number}" for number, case in enumerate(CASES)]
)
def test_refuses(backend: Backend, op: str, arguments: tuple[Any, ...], position: int, bad: Any, words: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        run(backend, op, with_argument(arguments, position, bad))
    assert words in str(caught.value)
    run(backend, op, arguments)


def with_argument(arguments: tuple[Any, ...], position: int, value: Any) -> tuple[Any, ...]:
    return (*arguments[:position], value, *arguments[position + 1 :])


def copied(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.clone() if isinstance(value, torch.Tensor) else value for value in arguments)


@pytest.mark.parametrize("case", CONTENTS, ids=[f"{case[0]}-{number}" for number, case in enumerate(CONTENTS)])
def test_contents(backend: Backend, case: tuple[str, tuple[Any, ...], int, Any, str, Any]) -> None:
    op, arguments, position, bad, words, nearest = case
    given = copied(with_argument(arguments, position, bad))
    if backend.name == "cpu":
        with pytest.raises(RuntimeError) as caught:
            run(backend, op, given)
        assert f"{op}: expected {words}" in str(caught.value)
        return
    expected = copied(with_argument(arguments, position, nearest))
    run(backend, op, given)
    run(backend, op, expected)
    for at, (a, b) in enumerate(zip(given, expected, strict=True)):
        if isinstance(a, torch.Tensor) and at != position:
            same_bits(a, b, f"argument {at}")


@pytest.mark.parametrize("case", NUMBERS, ids=[f"{case[0]}-{number}" for number, case in enumerate(NUMBERS)])
def test_numbers(backend: Backend, case: tuple[str, tuple[Any, ...], int, Any, str]) -> None:
    op, arguments, position, bad, words = case
    with pytest.raises(RuntimeError) as caught:
        run(backend, op, copied(with_argument(arguments, position, bad)))
    assert f"{op}: expected" in str(caught.value) and words in str(caught.value)


def test_a_count_stays_where_it_ends(backend: Backend) -> None:
    given = copied(with_argument(STEP, 14, changed(COUNTS, 0, to=2**63 - 1)))
    run(backend, "mask_step", given)
    assert given[14].tolist() == [2**63 - 1]


def test_compiled_calls_are_checked_too() -> None:
    """The Python layer looks at no values while it is traced."""
    places = changed(PLACES, 0, 0, 2, to=10**9)
    state, out = MaskState.start(torch.zeros(1, 1, 2, 3), (4, 5)), torch.zeros(1, 1, 1, 3, 4, 5)
    step = torch.compile(mask_step_, backend="eager", fullgraph=True)
    with pytest.raises(RuntimeError, match="mask_step: expected places"):
        step(None, images(), images(), places, PLACES, state, out, resizing=Resizing.bilinear((4, 5), 2), rule=MaskRule())


def test_every_op_is_here() -> None:
    assert {case[0] for case in CASES} == set(native.op_names())


def test_where_there_is_no_kernel_the_reference_runs_with_one_warning() -> None:
    """The fallback of other devices, called by hand."""
    run_reference = native._warned_once("rank", "MPS", native._definitions["rank"].reference)
    saliency = torch.tensor([[[0.5, 2.0, 1.0]]])
    with pytest.warns(RuntimeWarning, match="rank: no native kernel for MPS tensors; the slow reference runs instead"):
        first = run_reference(saliency, None, 0)
    with warnings.catch_warnings(action="error"):
        second = run_reference(saliency, None, 0)
    assert first.tolist() == second.tolist() == [[[2, 0, 1]]]
