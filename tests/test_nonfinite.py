"""Rows that are not finite are found wherever the value stands, and only they are replaced."""

import pytest
import torch

from saliency_ext.nonfinite import finite_rows, with_zeros


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("place", [(1, 0, 0, 0), (1, 1, 2, 2), (1, 0, 2, 1)])
def test_one_bad_value_marks_its_row(value, dtype, place):
    values = torch.arange(54).view(3, 2, 3, 3).to(dtype)
    values[place] = value
    for layout in (values, values.to(memory_format=torch.channels_last), values.transpose(2, 3)):
        assert finite_rows(layout).tolist() == [True, False, True]
        clean = with_zeros(layout, finite_rows(layout))
        assert torch.equal(clean[[0, 2]], layout[[0, 2]]) and not clean[1].any()


def test_the_largest_finite_values_are_finite():
    largest = torch.finfo(torch.float32).max
    values = torch.tensor([[largest, largest], [-largest, largest]])
    assert finite_rows(values).all()
    assert with_zeros(values, finite_rows(values)) is values


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0, 4)])
def test_nothing_is_finite(shape):
    assert finite_rows(torch.empty(shape)).tolist() == [True] * shape[0]


def test_integers_are_finite():
    assert finite_rows(torch.tensor([[1, 2]])).tolist() == [True]
