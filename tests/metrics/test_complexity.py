from __future__ import annotations

import math

import pytest
import torch

from saliency_ext.metrics.complexity import Complexity
from tests.backends import close, same_bits
from tests.metrics.test_relevance_mass import MapMetricContract, Masks, Rows, maps


class TestComplexity(MapMetricContract):
    metric = Complexity()
    reads_truth = False
    constant_is_defined = True

    def naive(self, saliency: Rows, truth: Masks, sample_id: int) -> float:
        total = sum(abs(value) for row in saliency for value in row)
        entropy = 0.0
        for row in saliency:
            for value in row:
                share = abs(value) / total
                entropy -= share * math.log(share) if share > 0 else 0.0
        return entropy


def test_by_hand() -> None:
    # Shares 1/4, 1/4, 1/2: (2/4) ln 4 + (1/2) ln 2 = ln 2 + ln(2) / 2 = 1.5 ln 2. Signs do not matter.
    saliency = torch.tensor([[[1.0, -1.0, 2.0]]], dtype=torch.float64)
    assert Complexity().score(saliency).item() == pytest.approx(1.5 * math.log(2))


@pytest.mark.parametrize("value", [0.1, 1e-310, 1e308, 7.0])
def test_equal_values_have_the_most(value: float) -> None:
    signs = torch.where(torch.arange(35).view(1, 5, 7) % 3 == 0, 1.0, -1.0).double()
    assert Complexity().score(signs * value).item() == pytest.approx(math.log(35))


@pytest.mark.parametrize("value", [1e-310, 1e308, 7.0])
def test_one_pixel_has_none(value: float) -> None:
    saliency = torch.zeros(1, 5, 7, dtype=torch.float64)
    saliency[0, 3, 2] = -value
    assert Complexity().score(saliency).item() == 0


def test_replication_adds_its_logarithm_and_zeros_add_nothing() -> None:
    saliency = maps((3, 5, 7), "untied")
    score = Complexity().score(saliency)
    close(Complexity().score(saliency.repeat_interleave(3, 1).repeat_interleave(3, 2)), score + 2 * math.log(3))
    close(Complexity().score(torch.nn.functional.pad(saliency, (1, 1, 1, 1))), score)


def test_the_sign_is_ignored_and_the_truth_is_not_read() -> None:
    saliency = maps((3, 5, 7), "untied")
    same_bits(Complexity().score(-saliency), Complexity().score(saliency))
    same_bits(Complexity().score(saliency, None), Complexity().score(saliency))
