"""The pair search on models whose retentions are known exactly."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import ClassVar

import pytest
import torch

from saliency_ext.disambiguation import PairFinder, Rules, mask_partition, partition, preset
from saliency_ext.disambiguation.search import owners
from saliency_ext.infill import Constant, ImageMean
from saliency_ext.segmentation import grid
from tests.disambiguation.planted import CELLS, cells_of, finder, ones, planted

PAIR = torch.tensor([[0, 1]])


def apart(gain: float, classes: int = 4, **more: float):
    """Class 0 sees cell 1, class 1 cell 5."""
    return planted(classes, {(0, 1): gain, (1, 5): gain})


def alike(gain: float, classes: int):
    """Classes 0 and 1 both see cell 4, and nothing else."""
    return planted(classes, {(0, 4): gain, (1, 4): gain})


@pytest.mark.parametrize("rules", [Rules(), preset("pairs2024_diff")["rules"], preset("pairs2024_own")["rules"]])
def test_two_things_in_closed_form(rules):
    """K = 4, z_A = a [cell 1], z_B = a [cell 5]; redacting cell 1 leaves (2e^a + 2) / (e^a (e^a + 3)) of A. At a = 3: 9.1 %."""
    a = math.exp(3)
    pair = finder(apart(3.0), rules)(ones(), PAIR)[0][0]
    assert pair.verdict == "distinct" and pair.status == "ok"
    proof = pair.proofs[0]
    assert [cells_of(mask) for mask in proof.masks] == [{1}, {5}]
    expected = [100 * (2 * a + 2) / (a * (a + 3)), 100 * (2 * a + 2) / (a + 3)]
    assert proof.shown[0].retention[:, :, 0].flatten().tolist() == pytest.approx(expected + expected[::-1], rel=1e-5)
    assert expected[0] == pytest.approx(9.1, abs=0.1) and proof.margin == pytest.approx(20 - expected[0], rel=1e-4)
    assert proof.areas == pytest.approx((1 / 9, 1 / 9))


def test_weak_evidence_is_no_proof():
    """At a = 2 cell 1 still leaves 21.9 % of A: more than 20."""
    assert finder(apart(2.0))(ones(), PAIR)[0][0].verdict == "undecided"
    assert finder(apart(2.0), Rules(delta=78.0))(ones(), PAIR)[0][0].verdict == "distinct"


@pytest.mark.parametrize("rules", [Rules(), preset("pairs2024_diff")["rules"], preset("pairs2024_own")["rules"]])
@pytest.mark.parametrize(("classes", "gain", "verdict"), [(11, 3.75, "undecided"), (11, 3.9, "shared"), (20, 2.15, "undecided"),
                                                          (20, 2.3, "shared"), (4, 9.0, "undecided")])  # fmt: skip
def test_one_thing_in_closed_form(rules, classes, gain, verdict):
    """Redacting cell 4 leaves (2e^a + K - 2) / (K e^a) of both: 20 % needs K > 10, then e^a > (K - 2) / (.2 K - 2)."""
    pair = finder(alike(gain, classes), rules)(ones(), PAIR)[0][0]
    assert pair.verdict == verdict
    if verdict == "shared":
        assert cells_of(pair.proofs[0].masks[0]) == {4}
        left = 100 * (2 * math.exp(gain) + classes - 2) / (classes * math.exp(gain))
        assert pair.proofs[0].shown[0].retention[0, :, 0].tolist() == pytest.approx([left, left], rel=1e-5)


def test_own_and_common_evidence_is_both():
    """z_A = 6 [cell 1][cell 4], z_B = 6 [cell 5][cell 4]: cells 1 and 5 tell the labels apart, cell 4 takes both."""

    def model(x):
        cells = torch.nn.functional.avg_pool2d(x[:, 0], 2).flatten(1)
        return torch.cat([6 * cells[:, [1]] * cells[:, [4]], 6 * cells[:, [5]] * cells[:, [4]], x.new_zeros(len(x), 38)], 1)

    maps = planted(2, {(0, 1): 2.0, (1, 5): 2.0, (0, 4): 1.0, (1, 4): 1.0}).attribution
    pair = PairFinder(model, Constant(0.0), CELLS, attribution=maps)(ones(), PAIR)[0][0]
    assert pair.verdict == "both"
    by_kind = {proof.kind: [cells_of(mask) for mask in proof.masks] for proof in pair.proofs}
    assert by_kind == {"distinct": [{1}, {5}], "shared": [{4}]}


def test_two_things_removed_at_once_are_not_one():
    """Many classes: without both cells both labels are gone. Published: "both"; ours: the two sets explain it."""
    model = apart(6.0, 40)
    assert finder(model, preset("pairs2024_diff")["rules"])(ones(), PAIR)[0][0].verdict == "both"
    assert finder(model)(ones(), PAIR)[0][0].verdict == "distinct"


def test_a_set_that_separates_is_not_shared():
    """Class 0 sees cell 1, class 1 cells 1 and 5 in such a way that only class 0 can be lowered alone."""
    model = planted(40, {(0, 1): 6.0, (1, 5): 6.0, (1, 6): 6.0})
    model.weights[1, 6] = 0.0
    maps = torch.zeros(2, 6, 6)
    maps[0, :2, 2:4], maps[0, 2:4, 4:], maps[1, :2, 2:4] = 2.0, 1.0, 1.0  # class 1's own cell is not in its map
    maps[1, 2:4, 4:] = 0.5
    found = finder(model, attribution=lambda x, classes: maps[classes])(ones(), PAIR)[0][0]
    assert found.verdict != "shared"
    assert finder(model, Rules(inseparable=False), attribution=lambda x, c: maps[c])(ones(), PAIR)[0][0].verdict in (
        "both",
        "shared",
    )


@pytest.mark.parametrize("rules", [Rules(), preset("pairs2024_diff")["rules"], preset("pairs2024_own")["rules"]])
def test_two_classes_are_never_shared(rules):
    """r_1 and r_2 <= q < 1 would leave probabilities of sum <= q."""
    draws = torch.Generator().manual_seed(0)
    for _ in range(15):
        weights = 8 * torch.randn(2, 9, generator=draws)
        model = planted(2, {(k, s): float(weights[k, s]) for k in range(2) for s in range(9)})
        for pair in finder(model, rules)(ones(), PAIR)[0]:
            assert pair.verdict in ("distinct", "undecided")


def random_model(seed: int, classes: int = 24):
    weights = torch.randn(classes, 9, generator=torch.Generator().manual_seed(seed))
    weights[:3] = 6 * weights[:3].relu() * (weights[:3] > 0.3)
    return planted(classes, {(k, s): float(weights[k, s]) * (1.0 if k < 3 else 0.2) for k in range(classes) for s in range(9)})


def test_the_order_of_the_labels_makes_no_difference():
    seen = set()
    for seed in range(25):
        model = random_model(seed)
        rules = Rules(floor=0.0)
        one, two = (finder(model, rules)(ones(), torch.tensor([labels]))[0][0] for labels in ((0, 1), (1, 0)))
        assert one.verdict == two.verdict
        seen.add(one.verdict)
        for a, b in zip(one.proofs, two.proofs, strict=True):
            masks = [cells_of(mask) for mask in b.masks]
            assert [cells_of(mask) for mask in a.masks] == (masks[::-1] if a.kind == "distinct" else masks)
    assert {"distinct", "shared"} <= seen, seen


def test_all_pairs_at_once_are_the_pairs_one_by_one_for_less_than_thrice_the_price_of_one():
    """Five labels, 8 x 8 segments, every pair judged: the same to the bit, at most 3 x the masked inputs of one pair."""
    weights = torch.randn(30, 64, generator=torch.Generator().manual_seed(5))
    weights = torch.where(torch.arange(30)[:, None] < 5, 2.0 * weights.relu() * (weights > 1), 0.1 * weights)

    def search() -> PairFinder:
        maps = lambda x, classes: weights[classes].view(-1, 8, 8)  # noqa: E731
        model = lambda x: x.flatten(1) @ weights.T  # noqa: E731
        return PairFinder(
            model, Constant(0.0), partial(grid, cells=8), attribution=maps, rules=Rules(floor=0.0), minimise=False, max_batch=8
        )

    image, together = torch.ones(1, 1, 8, 8), search()
    whole = together(image, torch.tensor([[0, 1, 2, 3, 4]]))[0]
    assert len(whole) == 10 and all(pair.status == "ok" for pair in whole) and any(pair.proofs for pair in whole)
    spent = []
    for pair in whole:
        alone = search()
        found = alone(image, torch.tensor([pair.labels]))[0][0]
        spent.append(alone.masked_inputs)
        assert (found.verdict, found.clean) == (pair.verdict, pair.clean)
        for a, b in zip(found.proofs, pair.proofs, strict=True):
            assert all(torch.equal(p, q) for p, q in zip(a.masks, b.masks, strict=True))
            assert torch.equal(a.shown[0].retention.nan_to_num(-1), b.shown[0].retention.nan_to_num(-1))
    assert min(spent) >= 2 * 64 and together.masked_inputs <= 3 * min(spent)


def test_an_image_alone_is_as_among_others():
    model = random_model(7)
    images = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([[0, 1, 2]]).expand(3, 3)
    batch = finder(model, Rules(floor=0.0))(images, labels, sample_ids=torch.tensor([4, 5, 6]))
    alone = finder(model, Rules(floor=0.0))(images[1:2], labels[:1], sample_ids=torch.tensor([5]))
    assert [pair.verdict for pair in alone[0]] == [pair.verdict for pair in batch[1]]
    assert [pair.clean for pair in alone[0]] == [pair.clean for pair in batch[1]]


def test_pruning_gives_back_what_is_not_needed():
    """The map puts a useless cell first: without pruning it is part of the proof, with pruning it is not."""
    model = apart(4.0)
    maps = model.weights[:2].clone()
    maps[0, 7], maps[1, 8] = 9.0, 9.0
    paint = lambda x, classes: maps[classes].view(-1, 3, 3).repeat_interleave(2, 1).repeat_interleave(2, 2)  # noqa: E731
    whole, small = (finder(model, attribution=paint, minimise=flag)(ones(), PAIR)[0][0].proofs[0] for flag in (False, True))
    assert [cells_of(mask) for mask in whole.masks] == [{1, 7}, {5, 8}]
    assert [cells_of(mask) for mask in small.masks] == [{1}, {5}]


def test_further_infills_make_a_proof_robust():
    image = ones()
    image[..., 0, 0] = 0.0  # so that the image's mean is not what is there
    robust = finder(apart(4.0), others=[Constant(-0.1)])(image, PAIR)[0][0].proofs[0]
    assert robust.robust and robust.shown[1].infill == Constant(-0.1)
    fragile = finder(apart(4.0), others=[ImageMean()])(image, PAIR)[0][0].proofs[0]
    assert not fragile.robust and len(fragile.shown) == 1


def test_logits_count_where_they_are_asked_for():
    """K = 4, a = 3: redacting cell 1 takes z_A - mean z from 3 - 1.5 to 0 - .75: below zero; B from 1.5 to 2.25: 150 %."""
    proof = finder(apart(3.0), Rules(score="both"))(ones(), PAIR)[0][0].proofs[0]
    assert proof.shown[0].retention[:, :, 1].flatten().tolist() == pytest.approx([-50, 150, 150, -50], rel=1e-5)
    assert finder(apart(2.0), Rules(score="logit"))(ones(), PAIR)[0][0].verdict == "distinct", "probabilities do not count"
    assert finder(apart(2.0), Rules(score="both"))(ones(), PAIR)[0][0].verdict == "undecided"


def test_ties_of_ownership():
    """Equal shares: the first label owns them as published; else neither, so that the order of labels does not matter."""
    gains = torch.tensor([[4.0, 2.0, 1.0, 9.0]], dtype=torch.float64), torch.tensor([[8.0, 2.0, 3.0, 99.0]]).double()
    absent = torch.tensor([[False, False, False, True]])
    for ties, first in (("first", [True, True, False, False]), ("neither", [False, True, False, False])):
        owned = owners(Rules(distinct="ownership", ties=ties), gains, absent)
        assert owned[0].tolist() == [first] and owned[1].tolist() == [[False, False, True, False]]
    nothing = owners(Rules(ties="first"), (-gains[0].abs(), gains[1]), absent)
    assert not nothing[0].any(), "a label without positive evidence owns nothing"


# ---- bad input


def test_a_label_below_the_floor_is_not_judged():
    pair = finder(apart(6.0, 40))(ones(), torch.tensor([[0, 7]]))[0][0]
    assert (pair.verdict, pair.status, pair.proofs) == ("undecided", "pair_undefined", ()) and "floor" in pair.reason


def test_bad_images_are_marked_and_the_others_finish():
    images = ones(3)
    images[1, 0, 0, 0] = math.nan
    found = finder(apart(4.0))(images, PAIR.expand(3, 2))
    assert [row[0].status for row in found] == ["ok", "nonfinite_input", "ok"]
    assert [row[0].verdict for row in found] == ["distinct", "undecided", "distinct"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_map_that_is_not_finite(value):
    """One bad pixel in the map of one label: the pairs of that label are marked, the others are judged."""
    model = apart(4.0)

    def maps(x, classes):
        found = model.attribution(x, classes)
        found[classes == 1, 0, 0] = value
        return found

    found = finder(model, Rules(floor=0.0), attribution=maps)(ones(), torch.tensor([[0, 1, 2]]))[0]
    assert [pair.status for pair in found] == ["nonfinite_map", "ok", "nonfinite_map"]
    assert found[0].verdict == "undecided"


def test_images_with_fewer_segments_are_as_they_are_alone():
    """Two segments beside nine: the numbers that an image lacks are neither redacted nor anyone's own."""
    model, rules = apart(4.0), Rules(distinct="ownership", past_own=True, ties="first", inseparable=False)
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


class Watched(torch.Tensor):
    """A tensor that remembers where it was sent."""

    sent: ClassVar[list[torch.device]] = []

    def to(self, *where, **options):
        Watched.sent += [each for each in where if isinstance(each, torch.device)]
        return super().to(*where, **options)


@pytest.mark.parametrize("which", ["labels", "sample_ids", "segments"])
def test_what_comes_with_the_images_is_moved_to_them(which):
    given = {"labels": PAIR, "sample_ids": torch.tensor([0]), "segments": partition(ones(), CELLS)}
    part = given["segments"]
    Watched.sent = []
    given[which] = (
        replace(part, labels=part.labels.as_subclass(Watched)) if which == "segments" else given[which].as_subclass(Watched)
    )
    assert finder(apart(4.0))(ones(), **given)[0][0].verdict == "distinct"
    assert torch.device("cpu") in Watched.sent


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
    with pytest.raises(TypeError, match="PairFinder: expected infill and others to be infills, got int"):
        PairFinder(lambda x: x, 0, CELLS)
    with pytest.raises(ValueError, match=r"Rules: expected delta in \(50, 100\), percent, got 50"):
        Rules(delta=50)
    with pytest.raises(ValueError, match="preset: expected name to be one of 'default', 'pairs2024_own', 'pairs2024_diff'"):
        preset("published")
