"""The plan asks each distinct masked input once, and names it canonically."""

import pytest
import torch

from saliency_ext.infill import Constant, UniformNoise
from saliency_ext.ops import rank
from saliency_ext.perturbation import BoxMasks, DenseMasks, GridMasks, Plan, Ranked, RankMasks, SegmentMasks
from saliency_ext.perturbation.masks import ALL_KEPT

RANKED = Ranked(rank(torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0))))
GREY = Constant(0.5)


def test_ends_are_one_probe_whatever_the_side():
    plan = Plan()
    (tail,) = plan.request(RankMasks(RANKED, [0, 12], keep="tail"), GREY)
    (head,) = plan.request(RankMasks(RANKED, [0, 12], keep="head"), GREY)
    assert tail == head[::-1] and tail[0] == ALL_KEPT
    assert (plan.requested, len(plan)) == (4, 2)


def test_head_and_tail_of_one_count_are_two_probes():
    plan = Plan()
    (tail,) = plan.request(RankMasks(RANKED, [5], keep="tail"), GREY)
    (head,) = plan.request(RankMasks(RANKED, [5], keep="head"), GREY)
    assert tail != head and len(plan) == 2


def test_maps_with_equal_ranks_are_one_map():
    plan = Plan()
    plan.request(RankMasks(RANKED, [3, 5]), GREY)
    plan.request(RankMasks(Ranked(RANKED.ranks.clone()), [3, 5]), GREY)
    plan.request(RankMasks(Ranked(11 - RANKED.ranks), [3, 5]), GREY)
    assert len(plan) == 4


def test_infills_keep_apart_but_share_the_clean_image():
    plan = Plan()
    plan.request(RankMasks(RANKED, [0, 5, 12], keep="tail"), GREY)
    plan.request(RankMasks(RANKED, [0, 5, 12], keep="tail"), Constant(0.25))
    assert len(plan) == 5


def test_draws_are_separate_probes_but_for_the_clean_image():
    plan = Plan()
    draws = plan.request(RankMasks(RANKED, [0, 5], keep="tail"), UniformNoise(0.0, 1.0, seed=0, draws=3))
    assert len(draws) == 3 and len(plan) == 4
    assert {keys[0] for keys in draws} == {ALL_KEPT}


def test_known_probes_are_not_asked_again():
    plan = Plan()
    (keys,) = plan.request(RankMasks(RANKED, [0, 3, 5], keep="tail"), GREY)
    (batch,) = plan.batches({keys[0], keys[2]})
    assert batch.keys == (keys[1],) and batch.steps == (1,)


def test_every_family_renders_the_steps_it_is_asked_for():
    inputs, infill = torch.rand(2, 3, 3, 4), torch.zeros(1)
    families = [
        RankMasks(RANKED, [1, 5, 9]),
        BoxMasks(torch.tensor([[0, 0, 2, 2], [1, 1, 3, 3], [0, 0, 0, 0]])),
        SegmentMasks(torch.arange(12).view(3, 4).expand(2, 3, 4) % 3, torch.eye(3).bool()),
        GridMasks(torch.rand(3, 2, 2) < 0.5, torch.tensor([[0, 0], [1, 1], [0, 1]])),
        DenseMasks(torch.rand(3, 3, 4)),
        DenseMasks(torch.rand(2, 3, 3, 4)),
    ]
    for family in families:
        assert len(family.keys) == 3 and len(set(family.keys)) == 3
        whole, part, second = torch.empty(3, 2, 3, 3, 4), torch.empty(2, 2, 3, 3, 4), torch.empty(3, 1, 3, 3, 4)
        family.render(inputs, infill, [0, 1, 2], slice(0, 2), whole)
        family.render(inputs, infill, [2, 0], slice(0, 2), part)
        family.render(inputs[1:], infill, [0, 1, 2], slice(1, 2), second)
        assert torch.equal(part, whole[[2, 0]]), type(family).__name__
        assert torch.equal(second, whole[:, 1:]), type(family).__name__


def test_bad_masks_are_refused():
    with pytest.raises(ValueError, match=r"RankMasks: expected counts in \[0, 12\], got 13"):
        RankMasks(RANKED, [13])
    with pytest.raises(ValueError, match="RankMasks: expected keep to be one of 'head', 'tail', got 'top'"):
        RankMasks(RANKED, [1], keep="top")
