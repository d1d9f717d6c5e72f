"""What the pair search does with images, maps, segments and arguments that are not as they should be."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import saliency_ext.disambiguation.finder as finder_module
from saliency_ext.disambiguation import PairFinder, Rules, mask_partition, partition, preset_rules
from saliency_ext.disambiguation._redaction import Redactions
from saliency_ext.infill import Constant
from tests.disambiguation.planted import CELLS, alike, apart, finder, ones

PAIR = torch.tensor([[0, 1]])


def test_a_label_below_the_floor_is_not_judged():
    pair = finder(apart(6.0, 40))(ones(), torch.tensor([[0, 7]]))[0][0]
    assert (pair.verdict, pair.status, pair.proofs) == ("undecided", "pair_undefined", ()) and "floor" in pair.reason


def test_bad_images_are_marked_and_the_others_finish():
    images = ones(3)
    images[1, 0, 0, 0] = math.nan
    result = finder(apart(4.0))(images, PAIR.expand(3, 2))
    assert [row[0].status for row in result] == ["ok", "nonfinite_input", "ok"]
    assert [row[0].verdict for row in result] == ["distinct", "undecided", "distinct"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_map_that_is_not_finite(value):
    """One bad pixel in the map of one label: the pairs of that label are marked, the others are judged."""
    model = apart(4.0)

    def maps(x, classes):
        result = model.attribution(x, classes)
        result[classes == 1, 0, 0] = value
        return result

    result = finder(model, Rules(floor=0.0), attribution=maps)(ones(), torch.tensor([[0, 1, 2]]))[0]
    assert [pair.status for pair in result] == ["nonfinite_map", "ok", "nonfinite_map"]
    assert result[0].verdict == "undecided"


def test_images_with_fewer_segments_are_as_they_are_alone():
    """Two segments beside nine: the numbers that an image lacks are neither redacted nor anyone's own."""
    model, rules = apart(4.0), preset_rules("pairs2024_own")["rules"]
    few = (torch.arange(6)[None, :, None] > 1).long().expand(1, 6, 6).clone()
    few[0, :2, :2] = 2
    labels = torch.cat([CELLS(ones()), few])
    search = finder(model, rules)
    both = search(ones(2), PAIR.expand(2, 2), segments=partition(ones(2), labels))
    alone = [search(ones(), PAIR, segments=partition(ones(), own[None]))[0] for own in labels]
    assert [row[0].verdict for row in both] == [row[0].verdict for row in alone] == ["distinct", "distinct"]
    for together, single in zip(both, alone, strict=True):
        masks = zip(together[0].proofs[0].masks, single[0].proofs[0].masks, strict=True)
        assert all(torch.equal(a, b) for a, b in masks)


class Elsewhere(torch.Tensor):
    """Stands for a tensor on another device: plain only once it was moved."""

    def to(self, *where, **options):
        return super().to(*where, **options).as_subclass(torch.Tensor) if torch.device("cpu") in where else self


@pytest.mark.parametrize("which", ["labels", "sample_ids", "segments"])
def test_what_comes_with_the_images_is_moved_to_them(which, monkeypatch):
    given = {"labels": PAIR, "sample_ids": torch.tensor([0]), "segments": partition(ones(), CELLS)}
    part = given["segments"]
    away = (part.labels if which == "segments" else given[which]).as_subclass(Elsewhere)
    given[which] = replace(part, labels=away) if which == "segments" else away
    made = []
    monkeypatch.setattr(finder_module, "Redactions", lambda *parts: made.append(parts) or Redactions(*parts))
    assert finder(apart(4.0))(ones(), **given)[0][0].verdict == "distinct"
    assert [type(each) for each in made[0][1:5]] == [torch.Tensor] * 4


def test_labels_and_ids_on_the_host_images_on_a_device(cuda):
    model = apart(4.0).cuda()
    given = {"labels": PAIR, "sample_ids": torch.tensor([5]), "segments": partition(ones(), CELLS)}
    assert finder(model)(ones().cuda(), **given)[0][0].verdict == "distinct"


def test_one_segment_proves_nothing():
    """Redacting the whole image lowers every label."""
    model = alike(6.0, 40)
    whole = PairFinder(
        model, Constant(0.0), lambda x: torch.zeros(len(x), 6, 6, dtype=torch.int64), attribution=model.attribution
    )
    assert whole(ones(), PAIR)[0][0].verdict == "undecided"


def test_no_segment_at_all():
    model = alike(6.0, 40)
    none = PairFinder(model, Constant(0.0), lambda x: torch.full((len(x), 6, 6), -1), attribution=model.attribution)
    assert none(ones(), PAIR)[0][0].verdict == "undecided"


def test_masks_of_ones_own():
    masks = torch.zeros(1, 2, 6, 6, dtype=torch.bool)
    masks[0, 0, :2, 2:], masks[0, 1, 2:4, 4:] = True, True
    proof = finder(apart(4.0))(ones(), PAIR, segments=mask_partition(masks))[0][0].proofs[0]
    assert torch.equal(proof.masks[0], masks[0, 0]) and torch.equal(proof.masks[1], masks[0, 1])


def test_empty_batch_and_the_callers_model():
    model = apart(4.0)
    assert finder(model)(ones(0), "top-3") == []
    model.train()
    with torch.inference_mode(), pytest.warns(RuntimeWarning, match="training mode"):
        assert finder(model)(ones(), PAIR)[0][0].verdict == "distinct"
    assert model.training


def test_refusals():
    search = finder(apart(4.0))
    with pytest.raises(
        ValueError, match=r"PairFinder: expected labels to be different within an image, got \[1, 1\] for image 0"
    ):
        search(ones(), torch.tensor([[1, 1]]))
    with pytest.raises(ValueError, match=r"PairFinder: expected labels in \[0, 4\), got 4 at index \(0, 1\)"):
        search(ones(), torch.tensor([[0, 4]]))
    with pytest.raises(ValueError, match=r"PairFinder: expected labels of shape \(N, T\) with T >= 2, got \(1, 1\)"):
        search(ones(), torch.tensor([[0]]))
    with pytest.raises(TypeError, match="PairFinder: expected infill and others to be an Infill, got int, which has no 'name'"):
        PairFinder(lambda x: x, 0, CELLS)
    with pytest.raises(ValueError, match=r"Rules: expected delta in \(50, 100\), percent, got 50"):
        Rules(delta=50)
    with pytest.raises(
        ValueError, match=r"Rules: expected weaker to decrease from below delta and shared_delta, got \(70.0, 75.0\)"
    ):
        Rules(weaker=(70.0, 75.0))
    with pytest.raises(ValueError, match=r"Rules: expected weaker to decrease .*, got \(80.0,\); weaker=None takes what fits"):
        Rules(weaker=(80.0,))
    with pytest.raises(
        TypeError, match=r"Rules: expected weaker to be a tuple of numbers, or None, got float; for one threshold: \(70.0,\)"
    ):
        Rules(weaker=70.0)
    with pytest.raises(TypeError, match="Rules: expected weaker to be a number, got str"):
        Rules(weaker=("70",))
    with pytest.raises(ValueError, match=r"Rules: expected weaker in \(50, 100\), percent, got 50"):
        Rules(weaker=(50.0,))
    for limit in (0.0, -0.5, 1.01, math.nan):
        with pytest.raises(ValueError, match="Rules: expected area_limit"):
            Rules(area_limit=limit)
    with pytest.raises(TypeError, match="Rules: expected area_limit to be a number, got str"):
        Rules(area_limit="half")
    with pytest.raises(ValueError, match="preset_rules: expected name to be one of 'default', 'pairs2024_own', 'pairs2024_diff'"):
        preset_rules("published")
