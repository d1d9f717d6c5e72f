from __future__ import annotations

import pytest
import torch

from saliency_ext.metrics.sparseness import Sparseness
from tests.backends import close, same_bits
from tests.metrics.test_relevance_mass import MapMetricContract, Masks, Rows, maps


class TestSparseness(MapMetricContract):
    metric = Sparseness()
    reads_truth = False
    constant_is_defined = True

    def naive(self, saliency: Rows, truth: Masks, sample_id: int) -> float:
        """Mean absolute difference of all pairs, divided by twice the mean."""
        values = [abs(value) for row in saliency for value in row]
        difference = 0.0
        for one in values:
            for another in values:
                difference += abs(one - another)
        return difference / (2 * len(values) * sum(values))

    @pytest.mark.parametrize("kind", ["untied", "tied", "rectified"])
    def test_matches_the_equation(self, kind: str) -> None:
        """1 - 2 sum over k of v(k) / sum(v) (d - k + 1/2) / d, as printed."""
        saliency = maps((3, 5, 7), kind)
        expected = []
        for one in saliency.abs().flatten(1).tolist():
            values, total = sorted(one), sum(one)
            expected.append(1 - 2 * sum(v / total * (35 - k + 0.5) / 35 for k, v in enumerate(values, 1)))
        close(Sparseness().score(saliency), torch.tensor(expected, dtype=torch.float64))


def test_by_hand() -> None:
    # Sorted 1, 2, 5 with weights 2 k - 4 = -2, 0, 2: (-2 + 0 + 10) / (3 * 8) = 1/3. Signs do not matter.
    assert Sparseness().score(torch.tensor([[[5.0, -1.0, 2.0]]], dtype=torch.float64)).item() == pytest.approx(1 / 3)
    # 0, 0, 0, 4 with weights -3, -1, 1, 3: 12 / (4 * 4) = 3/4 = 1 - 1/4.
    assert Sparseness().score(torch.tensor([[[0.0, 0.0], [-4.0, 0.0]]])).item() == 3 / 4


@pytest.mark.parametrize("value", [0.1, 1e-310, 1e308, 7.0])
def test_equal_values_have_exactly_no_sparseness(value: float) -> None:
    signs = torch.where(torch.arange(35).view(1, 5, 7) % 3 == 0, 1.0, -1.0).double()
    assert Sparseness().score(signs * value).item() == 0
    assert Sparseness().score(signs.abs() * value).item() == 0


@pytest.mark.parametrize("value", [1e-310, 1e308, 7.0])
def test_one_pixel_has_the_most(value: float) -> None:
    saliency = torch.zeros(1, 5, 7, dtype=torch.float64)
    saliency[0, 3, 2] = -value
    assert Sparseness().score(saliency).item() == 1 - 1 / 35


def test_replication_leaves_it_and_a_frame_of_zeros_raises_it() -> None:
    saliency = maps((3, 5, 7), "untied")
    score = Sparseness().score(saliency)
    close(Sparseness().score(saliency.repeat_interleave(3, 1).repeat_interleave(2, 2)), score)
    assert (Sparseness().score(torch.nn.functional.pad(saliency, (1, 1, 1, 1))) > score).all()


def test_the_sign_is_ignored_and_the_truth_is_not_read() -> None:
    saliency = maps((3, 5, 7), "untied")
    same_bits(Sparseness().score(-saliency), Sparseness().score(saliency))
    same_bits(Sparseness().score(saliency, None), Sparseness().score(saliency))
