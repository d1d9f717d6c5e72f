"""The searches as functions of numbers: which prefixes are proposed, which proposal is second, what pruning tries first."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from saliency_ext.disambiguation import PairFinder, Rules
from saliency_ext.disambiguation._redaction_claims import RedactionClaims, pruned
from saliency_ext.disambiguation._search import _smaller, common_prefix, owners, prefix_difference, ranked
from saliency_ext.infill import Constant
from tests.disambiguation.planted import CELLS, cells_of, finder, ones, planted

PAIR = torch.tensor([[0, 1]])


def sets_of(*removed: Tensor) -> list[list[int]]:
    return [mask[0].nonzero().flatten().tolist() for mask in removed]


def trace(*steps: tuple[float, float]) -> Tensor:
    """Retentions (1, S, 2, 2) of c1 and c2, the same for both measures."""
    return torch.tensor(steps, dtype=torch.float64)[None, :, :, None].expand(1, -1, 2, 2)


def orders(*rows: list[int]) -> tuple[Tensor, ...]:
    return tuple(torch.tensor([row]) for row in rows)


def test_ranks_of_segments():
    """Decreasing gain, ties by number, and what an image does not have comes last whatever its gain."""
    gains = torch.tensor([[1.0, 3.0, 3.0, 9.0, -2.0]])
    assert ranked(gains, torch.tensor([[False, False, False, True, False]])).tolist() == [[1, 2, 0, 4, 3]]


def test_shared_prefixes_end_where_both_have_fallen_or_the_own_one():
    """Removing 0 takes c1, removing 1 takes c2: "own" ends after one segment each, "both" after two."""
    left = trace((10, 90), (10, 10), (5, 5)), trace((90, 10), (10, 10), (5, 5))
    along = orders([0, 1, 2], [1, 0, 2])
    for search, common, wider in (("both", [0, 1], [0, 1]), ("own", [], [0])):
        result = common_prefix(Rules(shared_search=search), along, left)
        assert sets_of(*result[:2]) == [common, wider] and result[2].tolist() == [True], search
    never = common_prefix(Rules(), along, (left[0], trace((90, 10), (90, 10), (30, 5))))
    assert never[2].tolist() == [False], "at 30 % c1 has not fallen"
    assert common_prefix(Rules(shared_search="own"), along, (left[0], trace((90, 10), (90, 10), (30, 5))))[2].tolist() == [True]


def test_distinct_prefixes_keep_the_other_label_and_else_only_lower_their_own():
    """c1's second step lowers it and keeps c2. c2's first step lowers both and no later one keeps c1: the second proposal."""
    along = orders([0, 2, 1], [1, 0, 2])
    left = trace((10, 50), (10, 90), (0, 0)), trace((50, 10), (10, 10), (0, 0))
    for fallback, sets in ((True, [[0, 2], [1]]), (False, [[0, 2], []])):
        result = prefix_difference(Rules(fallback=fallback), along, left)
        assert sets_of(*result[:2]) == sets and result[2].tolist() == [fallback]


def test_the_smaller_of_two_sets():
    for first, second, wanted in (([0, 1], [2], [2]), ([3], [1, 2], [3]), ([1, 2], [0, 3], [0, 3]), ([0, 2], [0, 1], [0, 1]),
                                  ([1, 4], [1, 4], [1, 4]), ([], [0], [])):  # fmt: skip
        masks = [torch.zeros(1, 5, dtype=torch.bool) for _ in range(2)]
        for mask, members in zip(masks, (first, second), strict=True):
            mask[0, members] = True
        assert sets_of(_smaller(*masks)) == sets_of(_smaller(*masks[::-1])) == [wanted]


def test_a_numbers_owner_is_a_segment_that_exists():
    """The largest gain belongs to a number that no segment has: it neither counts as the best nor is owned."""
    gains = torch.tensor([[2.0, 1.0, 50.0]]), torch.tensor([[1.0, 4.0, 0.0]])
    result = owners(Rules(), gains, torch.tensor([[False, False, True]]))
    assert sets_of(*result) == [[0], [1]]


def test_second_proposals_settle_what_the_published_ones_leave_open():
    """K = 40, z_0 = 5 [1], z_1 = 2 [5] + 3 [6], both maps begin with cell 5.

    Along 5, 1 label 0 falls to 4 % but label 1 to 77 %, short of 80, so no prefix of label 0 fits. Where it falls, {5, 1}, minus
    {5, 6} of label 1, is {1}, and {6} is left of the other: both hold (1 %, 178 % and 9 %, 173 %).
    """
    model = planted(40, {(0, 1): 5.0, (1, 5): 2.0, (1, 6): 3.0})
    gains = torch.zeros(2, 9)
    gains[0, [5, 1]] = gains[1, [5, 6]] = torch.tensor([2.0, 1.0])
    maps = lambda x, classes: gains[classes].view(-1, 3, 3).repeat_interleave(2, 1).repeat_interleave(2, 2)  # noqa: E731
    result = {flag: finder(model, Rules(fallback=flag), attribution=maps)(ones(), PAIR)[0][0] for flag in (True, False)}
    assert result[True].verdict == "distinct" and [cells_of(mask) for mask in result[True].proofs[0].masks] == [{1}, {6}]
    assert "distinct" not in result[False].verdict


def test_a_second_proposal_for_one_thing():
    """z_0 = z_1 = 6 [3][7]; label 0's map begins with cell 3, label 1's with 7: their common part is empty, {3} alone holds."""

    def model(x):
        cells = torch.nn.functional.avg_pool2d(x[:, 0], 2).flatten(1)
        return torch.cat([6 * (cells[:, 3] * cells[:, 7])[:, None].expand(-1, 2), x.new_zeros(len(x), 38)], 1)

    maps = planted(2, {(0, 3): 2.0, (1, 7): 2.0}).attribution
    result = {
        flag: PairFinder(model, Constant(0.0), CELLS, attribution=maps, rules=Rules(fallback=flag, shared_search="own"))
        for flag in (True, False)
    }
    shared = result[True](ones(), PAIR)[0][0]
    assert shared.verdict == "shared" and cells_of(shared.proofs[0].masks[0]) == {3}
    assert result[False](ones(), PAIR)[0][0].verdict == "undecided"


@dataclass
class Enough:
    """Redactions of a model whose label is gone as soon as one of some segments is removed."""

    segments: list[int]

    def retention(self, images: Tensor, removed: Tensor) -> Tensor:
        gone = removed[..., self.segments].any(-1)
        return torch.where(gone, 0.0, 100.0).double()[..., None, None].expand(*gone.shape, 1, 2)


@pytest.mark.parametrize(
    ("gains", "kept"),
    [((0.1, 0.5, 0.9), 5), ((0.9, 0.5, 0.1), 1), ((0.5, 0.9, 0.1), 3), ((0.5, 0.5, 0.5), 1), ((0.1, 0.5, 0.5), 3)],
)
def test_pruning_tries_the_least_gain_first_and_of_ties_the_higher_number(gains, kept):
    """Each of segments 1, 3, 5 is enough alone: what is tried last stays."""
    removed = torch.zeros(1, 6, dtype=torch.bool)
    removed[0, [1, 3, 5]] = True
    yes = torch.ones(1, 1, dtype=torch.bool)
    claims = RedactionClaims(Rules(), torch.tensor([0]), yes, ~yes, torch.tensor([False]), removed)
    worth = torch.full((1, 6), -7.0, dtype=torch.float64)  # of segments that are not in the set
    worth[0, [1, 3, 5]] = torch.tensor(gains, dtype=torch.float64)
    assert sets_of(pruned(claims, [Enough([1, 3, 5])], yes, worth)) == [[kept]]  # type: ignore[list-item]
    needy = [Enough([1, 3, 5]), Enough([3])]
    assert sets_of(pruned(claims, needy, yes.expand(1, 2), worth)) == [[3]]  # type: ignore[arg-type]
    lost = torch.tensor([[True, False]])  # under the second infill it did not hold before: it need not now
    assert sets_of(pruned(claims, needy, lost, worth)) == [[kept]]  # type: ignore[arg-type]
