"""Own minus other: a map of the class scores, a map of any object does not."""

import pytest
import torch

from saliency_ext.evaluation import evaluate
from saliency_ext.metrics import PointingGame, RelevanceMass, RelevanceRank, Sparseness
from saliency_ext.metrics.target_minus_distractor import TargetMinusDistractor

OWN = torch.zeros(3, 4, 4, dtype=torch.bool)
OWN[:, :2] = True
OTHER = ~OWN


def test_by_hand():
    saliency = torch.zeros(3, 4, 4)
    saliency[0, 0, 0], saliency[1, 3, 3] = 1.0, 1.0  # on the own, on the other
    saliency[2, 0, 0], saliency[2, 3, 3] = 3.0, 1.0
    assert TargetMinusDistractor(RelevanceMass(), OTHER).score(saliency, OWN).tolist() == [1.0, -1.0, 0.5]
    assert TargetMinusDistractor(PointingGame(), OTHER).score(saliency, OWN).tolist() == [1.0, -1.0, 1.0]


def test_the_mask_goes_by_sample_id():
    saliency = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(0))
    others = torch.zeros(9, 4, 4, dtype=torch.bool)
    others[7], others[2] = OTHER[0], OTHER[0]
    metric = TargetMinusDistractor(RelevanceMass(), others)
    got = metric.score(saliency, OWN[:2], sample_ids=torch.tensor([7, 2]))
    assert torch.equal(got, TargetMinusDistractor(RelevanceMass(), OTHER).score(saliency, OWN[:2]))
    assert metric.score(saliency, OWN[:2], sample_ids=torch.tensor([0, 1])).isnan().all(), "an empty mask has no score"
    with pytest.raises(ValueError, match=r"expected sample_ids in \[0, 9\), one mask each, got 2 \.\. 9"):
        metric.score(saliency, OWN[:2], sample_ids=torch.tensor([9, 2]))


def test_ties_are_drawn_alike_on_both():
    constant = torch.zeros(3, 4, 4)
    ids = torch.tensor([0, 1, 2])
    got = TargetMinusDistractor(RelevanceRank(seed=4), OTHER).score(constant, OWN, sample_ids=ids)
    own, other = (RelevanceRank(seed=4).score(constant, mask, sample_ids=ids) for mask in (OWN, OTHER))
    assert torch.equal(got.nan_to_num(9), (own - other).nan_to_num(9))


def test_in_an_evaluation():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2)).eval()
    maps = {"own": OWN.float(), "objects": torch.ones(3, 4, 4) + 0.1 * torch.rand(3, 4, 4)}
    metric = TargetMinusDistractor(RelevanceMass(), OTHER)
    results = evaluate(model, torch.rand(3, 1, 4, 4), 0, maps, [metric, RelevanceMass()], truth=OWN, chunk=2)
    result = results["own", "relevance_mass_target_minus_distractor"]
    assert result.values.tolist() == [1.0] * 3 and result.parameters == {"metric": RelevanceMass()}, "the masks are no parameter"
    assert results["objects", "relevance_mass_target_minus_distractor"].values.abs().max() < 0.1
    assert results["objects", "relevance_mass"].values.min() > 0.4, "alone it would look good"


def test_what_is_refused():
    with pytest.raises(TypeError, match="expected metrics to hold metrics, got int, which has no 'info'"):
        TargetMinusDistractor(3, OTHER)
    with pytest.raises(TypeError, match="expected others of dtype bool"):
        TargetMinusDistractor(RelevanceMass(), OTHER.float())
    with pytest.raises(ValueError, match=r"expected others of shape \(M, H, W\)"):
        TargetMinusDistractor(RelevanceMass(), OTHER[0])
    assert TargetMinusDistractor(Sparseness(), OTHER).info.direction == "higher"
