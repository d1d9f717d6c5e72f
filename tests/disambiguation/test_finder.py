"""The pair search on models whose retentions are known exactly."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from saliency_ext.disambiguation import PairFinder, Partition, Rules, partition, preset_rules, verify
from saliency_ext.disambiguation._search import owners
from saliency_ext.infill import Constant, ImageMean
from saliency_ext.segmentation import grid
from tests.disambiguation.planted import CELLS, Planted, alike, apart, cells_of, finder, ones, planted

PAIR = torch.tensor([[0, 1]])
STRICT = Rules(weaker=())


@pytest.mark.parametrize("rules", [Rules(), preset_rules("pairs2024_diff")["rules"], preset_rules("pairs2024_own")["rules"]])
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
    assert finder(apart(2.0), STRICT)(ones(), PAIR)[0][0].verdict == "undecided"
    assert finder(apart(2.0), Rules(delta=78.0))(ones(), PAIR)[0][0].verdict == "distinct"


def test_weaker_thresholds_are_tried_in_turn_where_a_pair_is_undecided():
    """21.9 % is above 20 and 21, below 25 and 35: the proof speaks of the first threshold that it passes, and is valid there."""
    model = apart(2.0)
    for weaker, delta in (((79.0, 75.0, 65.0), 75.0), ((65.0,), 65.0), ((79.0,), None), ((), None)):
        pair = finder(model, Rules(weaker=weaker))(ones(), PAIR)[0][0]
        assert [proof.delta for proof in pair.proofs] == ([] if delta is None else [delta]), weaker
        assert all(verify(model, ones()[0], proof).valid for proof in pair.proofs)
        assert delta is None or pair.reason.startswith(f"distinct at {delta:g} %: redacting 11 % of the image leaves 22 % of")
    assert "lowers both to 21 %" in finder(model, Rules(weaker=(79.0,)))(ones(), PAIR)[0][0].reason
    strong = finder(apart(3.0))(ones(), PAIR)[0][0].proofs[0]
    assert strong.delta == 80.0, "what passes the first is not weakened"


def test_the_weaker_threshold_that_is_ours_stands_aside_where_it_does_not_fit():
    """65 lies below 80 and 66, not below 65 and 60; what is recorded is what was tried."""
    for first, second in ((80.0, 80.0), (66.0, 80.0), (65.0, 80.0), (80.0, 65.0), (60.0, 80.0), (80.0, 60.0)):
        rules = Rules(delta=first, shared_delta=second)
        assert rules.weaker == ((65.0,) if min(first, second) > 65 else ())
        assert [level.delta for level in rules.levels()] == [first, *rules.weaker]
    assert Rules() == Rules(weaker=(65.0,)) == Rules(weaker=[65.0]) and "weaker=(65.0,)" in repr(Rules())
    assert finder(apart(1.5), Rules(delta=60.0))(ones(), PAIR)[0][0].proofs[0].delta == 60.0
    assert Rules(weaker=()).levels() == [Rules(weaker=())] and hash(Rules(weaker=[70.0])) == hash(Rules(weaker=(70.0,)))


def test_weaker_thresholds_of_shared_and_of_some_pairs_only():
    """Each pair passes through its thresholds on its own: a pair that needs none of the weaker ones is not weakened by others."""
    model = planted(40, {(0, 4): 3.0, (1, 4): 3.0, (2, 1): 5.0, (3, 7): 5.0})
    result = finder(model, Rules(floor=0.0))(ones(), torch.tensor([[0, 1, 2, 3]]))[0]
    by_pair = {pair.labels: [(proof.kind, proof.delta) for proof in pair.proofs] for pair in result}
    alone = {
        pair.labels: [(proof.kind, proof.delta) for proof in pair.proofs]
        for labels in by_pair
        for pair in finder(model, Rules(floor=0.0))(ones(), torch.tensor([labels]))[0]
    }
    assert by_pair == alone and by_pair[2, 3] == [("distinct", 80.0)]


@pytest.mark.parametrize("distinct", ["prefix_difference", "ownership"])
def test_weaker_thresholds_cost_no_further_trace(distinct):
    """An undecided pair: 2 traces of 9 (ownership: 4) and the clean image at either number of thresholds."""
    requested = []
    for weaker in ((), (75.0, 70.0, 65.0)):
        search = finder(apart(0.5), Rules(weaker=weaker, distinct=distinct))
        assert search(ones(), PAIR)[0][0].verdict == "undecided"
        requested.append(search.masked_inputs)
    assert requested[0] == requested[1] == 1 + 9 * (2 if distinct == "prefix_difference" else 4)


def test_a_common_set_is_traced_once_for_all_thresholds_that_propose_it():
    """Undecided from 80 to 75: each asks about cells {1, 4}, {5} (it keeps 72 % of 1) and a common set of 7 cells (it separates).

    1 clean image, 2 traces of 9, 3 sets, and 2 traces within the 7 cells; a further threshold costs the 3 sets anew.
    """
    requested = []
    for weaker in ((), (75.0,), (79.0, 78.0, 77.0, 76.0, 75.0)):
        model = planted(40, {(0, 1): 1.5, (1, 5): 4.0, (0, 4): 3.0, (1, 4): 3.0, (0, 8): 1.0})
        search = finder(model, Rules(weaker=weaker, floor=0.0))
        assert search(ones(), PAIR)[0][0].verdict == "undecided"
        requested.append(search.masked_inputs)
    assert requested == [1 + 2 * 9 + 3 + 2 * 7 + 3 * further for further in (0, 1, 5)]


@pytest.mark.parametrize("seed", range(20, 26))
def test_thresholds_in_turn_are_searches_of_their_own(seed):
    """What is kept between thresholds changes no answer: a pair is settled as at the first threshold that settles it alone.

    With 21 and 23 a threshold changes a common set that was traced: the traces of the old one would settle them otherwise.
    """
    weights, levels = torch.zeros(40, 9), (80.0, 74.0, 68.0, 62.0, 56.0)
    own, common, shares = torch.rand(4, 9, generator=torch.Generator().manual_seed(seed)).split((2, 1, 1))
    weights[:2] = 1.5 * (own + common * (shares < 0.5))
    model = Planted(weights)
    together = finder(model, Rules(weaker=levels[1:], floor=0.0))(ones(), PAIR)[0][0]
    for level in levels:
        alone = finder(model, Rules(delta=level, shared_delta=level, weaker=(), floor=0.0))(ones(), PAIR)[0][0]
        if alone.proofs:
            break
    assert [converged(proof) for proof in together.proofs] == [converged(proof) for proof in alone.proofs]


def converged(proof) -> tuple:
    return proof.kind, proof.delta, [cells_of(mask) for mask in proof.masks]


@pytest.mark.parametrize("rules", [STRICT, preset_rules("pairs2024_diff")["rules"], preset_rules("pairs2024_own")["rules"]])
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
    assert finder(model, preset_rules("pairs2024_diff")["rules"])(ones(), PAIR)[0][0].verdict == "both"
    assert finder(model)(ones(), PAIR)[0][0].verdict == "distinct"


def test_a_set_that_separates_is_not_shared():
    """Class 0 sees cell 1, class 1 cells 1 and 5 in such a way that only class 0 can be lowered alone."""
    model = planted(40, {(0, 1): 6.0, (1, 5): 6.0, (1, 6): 6.0})
    model.weights[1, 6] = 0.0
    maps = torch.zeros(2, 6, 6)
    maps[0, :2, 2:4], maps[0, 2:4, 4:], maps[1, :2, 2:4] = 2.0, 1.0, 1.0  # class 1's own cell is not in its map
    maps[1, 2:4, 4:] = 0.5
    result = finder(model, attribution=lambda x, classes: maps[classes])(ones(), PAIR)[0][0]
    assert result.verdict != "shared"
    assert finder(model, Rules(inseparable=False), attribution=lambda x, c: maps[c])(ones(), PAIR)[0][0].verdict in (
        "both",
        "shared",
    )


@pytest.mark.parametrize("rules", [Rules(), preset_rules("pairs2024_diff")["rules"], preset_rules("pairs2024_own")["rules"]])
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
        result = alone(image, torch.tensor([pair.labels]))[0][0]
        spent.append(alone.masked_inputs)
        assert (result.verdict, result.clean) == (pair.verdict, pair.clean)
        for a, b in zip(result.proofs, pair.proofs, strict=True):
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


def parts(*sizes: int) -> Partition:
    """Segments of so many cells each, in their order."""
    cells = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)).view(1, 3, 3)
    return partition(ones(), cells.repeat_interleave(2, 1).repeat_interleave(2, 2))


def test_what_takes_most_of_the_image_proves_nothing():
    """Both see cell 4, in a segment of six cells of nine; at a limit of exactly two thirds it is a proof again."""
    model, segments = alike(6.0, 20), parts(1, 6, 2)
    result = finder(model)(ones(), PAIR, segments=segments)[0][0]
    assert (result.verdict, result.status, result.proofs) == ("undecided", "ok", ())
    assert result.reason.startswith("only a common set that lowers both labels to 20 % by redacting 66.67 % of the image, more")
    assert result.reason.endswith("more than the 50 % that a proof may")
    assert finder(model, Rules(area_limit=0.66))(ones(), PAIR, segments=segments)[0][0].verdict == "undecided"
    for limit in (2 / 3, 0.7, 1.0):
        pair = finder(model, Rules(area_limit=limit))(ones(), PAIR, segments=segments)[0][0]
        assert pair.verdict == "shared" and pair.proofs[0].area_limit == limit
        assert verify(model, ones()[0], pair.proofs[0]).valid
    for name in ("pairs2024_diff", "pairs2024_own"):
        assert finder(model, preset_rules(name)["rules"])(ones(), PAIR, segments=segments)[0][0].verdict == "shared"


def test_half_of_the_image_is_a_proof():
    halves = (torch.arange(6) // 3).expand(1, 6, 6)
    result = finder(alike(6.0, 20))(ones(), PAIR, segments=partition(ones(), halves))[0][0]
    middle = planted(20, {(0, 3): 6.0, (1, 3): 6.0})
    assert result.verdict == "undecided", "cell 4 lies across both halves"
    assert finder(middle)(ones(), PAIR, segments=partition(ones(), halves))[0][0].proofs[0].areas == (0.5,)


def test_both_sets_of_a_distinct_proof_are_limited():
    """Cell 1 is alone, cell 5 among five cells."""
    model, segments = apart(4.0), parts(1, 1, 2, 5)
    result = finder(model)(ones(), PAIR, segments=segments)[0][0]
    assert result.verdict == "undecided" and result.reason.startswith("only separate sets that lower one label each to 20 % by")
    assert "55.56 %" in result.reason
    assert finder(model, Rules(area_limit=0.6))(ones(), PAIR, segments=segments)[0][0].verdict == "distinct"


def test_a_weaker_threshold_is_tried_where_the_first_takes_too_much():
    """Cell 0 alone leaves 30 % of A; without the six cells after it 16 % are left. B is cell 8's."""
    model, segments = planted(4, {(0, 0): 1.8, (0, 4): 1.0, (1, 8): 4.0}), parts(1, 6, 2)
    limited, free = (finder(model, Rules(area_limit=limit))(ones(), PAIR, segments=segments)[0][0] for limit in (0.5, 1.0))
    assert [(pair.verdict, pair.proofs[0].delta) for pair in (limited, free)] == [("distinct", 65.0), ("distinct", 80.0)]
    assert limited.proofs[0].areas == pytest.approx((1 / 9, 2 / 9)) and max(free.proofs[0].areas) > 0.5


def test_a_set_counts_as_it_is_after_pruning():
    """The map puts six useless cells first; pruned, cell 0 is left."""
    model, segments = planted(20, {(0, 0): 6.0, (1, 0): 6.0}), parts(1, 6, 2)
    maps = torch.zeros(20, 6, 6)
    maps[:, :2, :2], maps[:, 2:4] = 1.0, 9.0
    verdicts = [
        finder(model, attribution=lambda x, classes: maps[classes], minimise=flag)(ones(), PAIR, segments=segments)[0][0].verdict
        for flag in (False, True)
    ]
    assert verdicts == ["undecided", "shared"]


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
    assert finder(apart(2.0), Rules(score="both", weaker=()))(ones(), PAIR)[0][0].verdict == "undecided"


def test_ties_of_ownership():
    """Equal shares: the first label owns them as published; else neither, so that the order of labels does not matter."""
    gains = torch.tensor([[4.0, 2.0, 1.0, 9.0]], dtype=torch.float64), torch.tensor([[8.0, 2.0, 3.0, 99.0]]).double()
    absent = torch.tensor([[False, False, False, True]])
    for ties, first in (("first", [True, True, False, False]), ("neither", [False, True, False, False])):
        owned = owners(Rules(distinct="ownership", ties=ties), gains, absent)
        assert owned[0].tolist() == [first] and owned[1].tolist() == [[False, False, True, False]]
    nothing = owners(Rules(ties="first"), (-gains[0].abs(), gains[1]), absent)
    assert not nothing[0].any(), "a label without positive evidence owns nothing"
