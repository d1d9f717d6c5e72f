"""Relevance mass, and the contract of all metrics that need a map only."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from saliency_ext.metrics.base import ROLES
from saliency_ext.metrics.relevance_mass import RelevanceMass
from saliency_ext.protocols import MetricInfo
from tests.backends import TOLERANCE, close, generator, same_bits

SHAPES = [(3, 5, 7), (2, 1, 9), (2, 9, 1), (1, 2, 1), (4, 8, 8)]
NAN, INF = math.nan, math.inf
Rows = list[list[float]]
Masks = list[list[bool]]


def maps(shape: tuple[int, ...], kind: str, dtype: torch.dtype = torch.float64) -> Tensor:
    """Signed maps without ties, or with many, or non-negative ones with zeros; none is constant or without a positive value."""
    rng = generator()
    if kind == "untied":
        values = torch.randperm(math.prod(shape), generator=rng).view(shape).double() - math.prod(shape) // 3
    elif kind == "tied":
        values = torch.randint(-2, 3, shape, generator=rng).double() / 4
    else:
        values = torch.randn(shape, generator=rng, dtype=torch.float64).clamp(min=0)
    values[:, 0, 0], values[:, -1, -1] = 1.5, 0.5
    return values.to(dtype)


def truths(shape: tuple[int, ...]) -> Tensor:
    """Masks of about a third of the pixels, none empty."""
    mask = torch.rand(shape, generator=generator("layout")) < 0.35
    mask[:, -1, -1] = True
    return mask


class MapMetricContract:
    """What every metric of a map alone does. A subclass supplies the metric and its value by loops over one map."""

    metric: Any
    keyed = False  # ties at random, by sample id
    reads_truth = True
    constant_is_defined = False

    def naive(self, saliency: Rows, truth: Masks, sample_id: int) -> float:
        raise NotImplementedError

    def score(self, saliency: Tensor, truth: Tensor | None, ids: list[int] | None = None) -> Tensor:
        options = {"sample_ids": torch.tensor(ids)} if self.keyed and ids is not None else {}
        result: Tensor = self.metric.score(saliency, truth, **options)
        return result

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    @pytest.mark.parametrize("kind", ["untied", "tied", "rectified"])
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_matches_the_loops(self, shape: tuple[int, ...], kind: str, dtype: torch.dtype) -> None:
        saliency, truth = maps(shape, kind, dtype), truths(shape)
        ids = [5 * i + 2 for i in range(shape[0])]
        rows = zip(saliency.tolist(), truth.tolist(), ids, strict=True)
        expected = torch.tensor([self.naive(*row) for row in rows], dtype=dtype)
        assert expected.isfinite().all()
        close(self.score(saliency, truth, ids), expected)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    def test_narrow_floats_are_widened(self, dtype: torch.dtype) -> None:
        saliency, truth = maps((3, 5, 7), "rectified", dtype), truths((3, 5, 7))
        same_bits(self.score(saliency, truth), self.score(saliency.double(), truth).float())

    @pytest.mark.parametrize("bad", [NAN, -NAN, INF, -INF])
    def test_a_nonfinite_map_spoils_its_own_value_only(self, bad: float) -> None:
        saliency, truth = maps((3, 5, 7), "untied"), truths((3, 5, 7))
        expected = self.score(saliency, truth)
        expected[1] = NAN
        saliency[1, 2, 3] = bad
        same_bits(self.score(saliency, truth), expected)

    @pytest.mark.parametrize("value", [0.0, -0.0, 2.5, -2.5])
    def test_a_constant_map(self, value: float) -> None:
        saliency, truth = maps((3, 5, 7), "untied"), truths((3, 5, 7))
        expected = self.score(saliency, truth)
        saliency[2] = value
        if value == 0.0:
            saliency[2, 0] = 0.0  # of both signs
        score = self.score(saliency, truth)
        same_bits(score[:2], expected[:2])
        assert score[2].isnan() == (value == 0.0 or not self.constant_is_defined)

    def test_an_empty_truth_spoils_its_own_value_only(self) -> None:
        saliency, truth = maps((3, 5, 7), "untied"), truths((3, 5, 7))
        expected = self.score(saliency, truth)
        truth[0] = False
        if self.reads_truth:
            expected[0] = NAN
        same_bits(self.score(saliency, truth), expected)

    @pytest.mark.parametrize("shape", [(0, 5, 7), (0, 0, 0), (3, 0, 7), (3, 7, 0)], ids=str)
    def test_nothing_to_score(self, shape: tuple[int, ...]) -> None:
        score = self.score(torch.ones(shape), torch.ones(shape, dtype=torch.bool))
        same_bits(score, torch.full(shape[:1], NAN))

    def test_one_pixel_is_a_constant_map(self) -> None:
        score = self.score(torch.tensor([[[0.0]], [[3.0]], [[-1.0]]]), torch.ones(3, 1, 1, dtype=torch.bool))
        assert score[0].isnan()
        assert (score[1:] == 0).all() if self.constant_is_defined else score.isnan().all()

    @pytest.mark.parametrize("size", [(10, 21), (160, 300)], ids=str)
    def test_any_strides(self, size: tuple[int, int]) -> None:
        saliency, truth = (wide[:, 1::2, ::3].transpose(1, 2) for wide in (maps((3, *size), "rectified"), truths((3, *size))))
        same_bits(self.score(saliency, truth), self.score(saliency.contiguous(), truth.contiguous()))
        saliency, truth = saliency[:1].expand(3, -1, -1), truth[:1].expand(3, -1, -1)
        same_bits(self.score(saliency, truth), self.score(saliency.contiguous(), truth.contiguous()))

    @pytest.mark.parametrize("shape", [(3, 5, 7), (3, 200, 210), (3, 3, 30000)], ids=str)
    def test_a_map_alone_scores_as_in_a_batch(self, shape: tuple[int, ...]) -> None:
        saliency, truth = maps(shape, "rectified"), truths(shape)
        together = self.score(saliency, truth, [7, 8, 9])
        same_bits(self.score(saliency, truth, [7, 8, 9]), together)
        alone = [self.score(saliency[i : i + 1], truth[i : i + 1], [7 + i]) for i in (2, 0)]
        same_bits(torch.cat(alone), together[[2, 0]])

    def test_inputs_are_not_modified_nor_tracked(self) -> None:
        saliency, truth = maps((3, 5, 7), "tied"), truths((3, 5, 7))
        before = saliency.clone(), truth.clone()
        assert not self.score(saliency.requires_grad_(), truth).requires_grad
        same_bits(saliency, before[0])
        same_bits(truth.byte(), before[1].byte())

    @pytest.mark.parametrize("kind", ["untied", "tied", "rectified"])
    def test_a_positive_factor_changes_nothing(self, kind: str) -> None:
        saliency, truth = maps((3, 5, 7), kind), truths((3, 5, 7))
        score = self.score(saliency, truth)
        for factor in (4.0, 2.0**-600, 2.0**1000):  # exact: squares of these would not be finite
            same_bits(self.score(saliency * factor, truth), score)
        close(self.score(saliency * 3.7, truth), score)

    def test_pixels_have_no_places(self) -> None:
        saliency, truth = maps((3, 5, 7), "untied"), truths((3, 5, 7))
        shuffle = torch.randperm(35, generator=generator("rows"))
        moved = (values.flatten(1)[:, shuffle].view(3, 5, 7) for values in (saliency, truth))
        close(self.score(*moved), self.score(saliency, truth))

    def test_says_what_the_number_means(self) -> None:
        info = type(self.metric).info
        assert isinstance(info, MetricInfo) and info.direction in ("higher", "lower")
        assert all((info.name, info.unit, info.measures, info.reference, info.meaning)) and info.role in ROLES
        with pytest.raises(dataclasses.FrozenInstanceError):
            self.metric.info = info
        assert hash(self.metric) == hash(dataclasses.replace(self.metric)) and self.metric == dataclasses.replace(self.metric)

    @pytest.mark.parametrize(
        ("saliency", "error", "text"),
        [
            ([[1.0]], TypeError, "expected saliency to be a torch.Tensor, got list; convert it with torch.as_tensor"),
            (torch.ones(2, 3, 4, 5), ValueError, "expected saliency of shape (N, H, W), got (2, 3, 4, 5); reduce the channels"),
            (torch.ones(4, 5), ValueError, "expected saliency of shape (N, H, W), got (4, 5); add the batch dimension"),
            (torch.ones(2, 4, 5, dtype=torch.int64), TypeError, "bfloat16, got int64"),
        ],
        ids=["list", "channels", "no_batch", "int"],
    )
    def test_refuses_maps_that_are_none(self, saliency: Any, error: type[Exception], text: str) -> None:
        with pytest.raises(error) as caught:
            self.metric.score(saliency, torch.ones(2, 4, 5, dtype=torch.bool))
        assert str(caught.value).startswith(f"{type(self.metric).__name__}.score: ") and text in str(caught.value)

    @pytest.mark.parametrize(
        ("truth", "error", "text"),
        [
            (None, TypeError, "expected truth to be a torch.Tensor, got NoneType"),
            (torch.ones(2, 4, 5), TypeError, "expected truth of dtype bool, got float32; compare with a threshold"),
            (torch.ones(2, 5, 4).bool(), ValueError, "expected truth of shape (N, H, W) = (2, 4, 5), got (2, 5, 4)"),
            (torch.ones(4, 5).bool(), ValueError, "expected truth of shape (N, H, W) = (2, 4, 5), got (4, 5)"),
            (torch.ones(2, 4, 5, device="meta").bool(), ValueError, "expected truth on the device of saliency (cpu), got meta"),
        ],
        ids=["none", "float", "transposed", "no_batch", "device"],
    )
    def test_refuses_truths_that_are_none(self, truth: Any, error: type[Exception], text: str) -> None:
        saliency = maps((2, 4, 5), "untied")
        if not self.reads_truth:
            return same_bits(self.metric.score(saliency, truth), self.metric.score(saliency))
        with pytest.raises(error) as caught:
            self.metric.score(saliency, truth)
        assert str(caught.value).startswith(f"{type(self.metric).__name__}.score: ") and text in str(caught.value)


class TestRelevanceMass(MapMetricContract):
    metric = RelevanceMass()

    def naive(self, saliency: Rows, truth: Masks, sample_id: int) -> float:
        inside = total = 0.0
        for values, mask in zip(saliency, truth, strict=True):
            for value, on_object in zip(values, mask, strict=True):
                if value > 0:
                    total += value
                    inside += value if on_object else 0.0
        return inside / total


def test_by_hand() -> None:
    # Positive relevance 3 + 1 + 4 = 8, of which 3 + 4 = 7 inside; -5 counts as 0.
    saliency = torch.tensor([[[3.0, 1.0], [-5.0, 4.0]]])
    truth = torch.tensor([[[True, False], [True, True]]])
    assert RelevanceMass().score(saliency, truth).tolist() == [7 / 8]
    # The other way round: 1 / 8 inside.
    assert RelevanceMass().score(saliency, ~truth).tolist() == [1 / 8]


def test_perfect_and_opposite_maps() -> None:
    truth = truths((4, 8, 9))
    perfect = torch.where(truth, 0.3, -0.7)
    assert RelevanceMass().score(perfect, truth).tolist() == [1.0] * 4
    assert RelevanceMass().score(-perfect, truth).tolist() == [0.0] * 4


def test_a_map_without_positive_relevance_has_no_mass() -> None:
    saliency = torch.tensor([[[-1.0, 0.0]], [[-1.0, 1.0]]])
    same_bits(RelevanceMass().score(saliency, torch.tensor([[[False, True]]]).expand(2, 1, 2)), torch.tensor([NAN, 1.0]))


def test_an_added_constant_moves_it_towards_the_area_share() -> None:
    # 3 / (3 + 1 + 0) = 3/4; with 1 added 4 / (4 + 2 + 1) = 4/7; the area share is 1/3.
    saliency, truth = torch.tensor([[[3.0, 1.0, 0.0]]]), torch.tensor([[[True, False, False]]])
    scores = [RelevanceMass().score(saliency + offset, truth).item() for offset in (0.0, 1.0, 1e6)]
    assert scores[0] == 3 / 4 and scores[1] == pytest.approx(4 / 7) and scores[2] == pytest.approx(1 / 3, abs=1e-5)


@given(
    values=st.lists(st.floats(0, 1e300, allow_subnormal=True), min_size=2, max_size=30),
    inside=st.lists(st.booleans(), min_size=30, max_size=30),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_truth_and_the_rest_share_everything(values: list[float], inside: list[bool]) -> None:
    saliency = torch.tensor(values, dtype=torch.float64).view(1, 1, -1)
    truth = torch.tensor(inside[: len(values)]).view(1, 1, -1)
    own, rest = RelevanceMass().score(saliency, truth), RelevanceMass().score(saliency, ~truth)
    if len(set(values)) == 1 or truth.all() or not truth.any():
        assert (own + rest).isnan()
    else:
        assert 0 <= own <= 1
        assert (own + rest).item() == pytest.approx(1.0, rel=TOLERANCE[torch.float64][0])
