"""What only a fidelity has: the bound on its artifact over all maps, and the interval that takes its areas as independent."""

import math

import pytest
import torch

from saliency_ext.evaluation import Results, artifact_bound, evaluate
from saliency_ext.infill import Constant
from saliency_ext.metrics import Deletion, Fidelity
from saliency_ext.metrics.result import OK, MetricResult
from saliency_ext.ops import philox_normal
from saliency_ext.perturbation import Counters, EqualFractions

FRACTIONS = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
IMAGES = 12


def noise(seed):
    return 0.01 * philox_normal((1, 1, 1), torch.arange(IMAGES), seed=seed).flatten().double()


def fidelity(drops, *, seed=0, status=None):
    """A result whose LIF curve falls from 0.9 by these drops, on average."""
    lif = 0.9 - torch.tensor(drops, dtype=torch.float64) - noise(seed)[:, None] * (FRACTIONS > 0)
    valid = torch.tensor([state == OK for state in status or [OK] * IMAGES])
    values = torch.where(valid, lif.mean(1), torch.nan)
    extras = {"auc_lif": lif.mean(1), "auc_mif": 0.1 + noise(seed + 1)}
    return MetricResult(Fidelity.info, values, {}, list(status or [OK] * IMAGES), FRACTIONS, {"lif": lif}, extras)


def results(**maps):
    return Results({(name, "fidelity"): result for name, result in maps.items()}, Counters())


def test_the_map_that_loses_least_bounds_the_artifact_at_each_fraction():
    found = results(first=fidelity([0.0, 0.1, 0.6]), second=fidelity([0.0, 0.3, 0.4], seed=5))
    bound = artifact_bound(found, "fidelity")
    assert bound.maps[1:] == ["first", "second"] and torch.equal(bound.fractions, FRACTIONS)
    expected = [0.0, 0.1 + float(noise(0).mean()), 0.4 + float(noise(5).mean())]
    assert bound.bound.tolist() == pytest.approx(expected)
    assert (bound.low[1:] < bound.bound[1:]).all() and (bound.bound[1:] < bound.high[1:]).all()


def test_a_score_that_rises_has_no_artifact():
    assert artifact_bound(results(one=fidelity([0.0, -0.2, -0.1])), "fidelity").bound.tolist() == [0.0, 0.0, 0.0]


def test_only_images_with_a_value_under_every_map_count():
    lost = ["undefined"] * 3 + [OK] * (IMAGES - 3)
    found = results(first=fidelity([0.0, 0.1, 0.6]), second=fidelity([0.0, 0.3, 0.7], seed=5, status=lost))
    assert float(artifact_bound(found, "fidelity").bound[1]) == pytest.approx(0.1 + float(noise(0)[3:].mean()))
    nothing = results(first=fidelity([0.0, 0.1, 0.6]), second=fidelity([0.0, 0.3, 0.7], status=["undefined"] * IMAGES))
    with pytest.raises(ValueError, match="expected results an image with a value under every map, got none"):
        artifact_bound(nothing, "fidelity")


def test_the_interval_of_independent_areas_is_that_of_their_variances():
    result = fidelity([0.0, 0.1, 0.6])
    summary, first, second = results(one=result).unpaired_summary("one", "fidelity"), *result.extras.values()
    half = 1.959964 * math.sqrt(float(first.var() + second.var()) / IMAGES)
    assert summary.mean == pytest.approx(float((first - second).mean()))
    assert (summary.low, summary.high) == pytest.approx((summary.mean - half, summary.mean + half))


def test_both_need_a_fidelity_and_take_one_of_evaluate():
    images = torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    metrics = [Fidelity(Constant(0.0), EqualFractions(4)), Deletion(Constant(0.0), EqualFractions(4))]
    found = evaluate(lambda x: x.flatten(1)[:, :3], images, 0, {"own": images[:, 0], "opposite": -images[:, 0]}, metrics)
    assert artifact_bound(found, "fidelity").bound.shape == (5,)
    assert found.unpaired_summary("own", "fidelity").mean == pytest.approx(found.summary("own", "fidelity").mean)
    with pytest.raises(ValueError, match="artifact_bound: expected metric the name of a Fidelity in the results, got 'deletion'"):
        artifact_bound(found, "deletion")
    with pytest.raises(ValueError, match="unpaired_summary: expected metric the name of a Fidelity, got 'deletion'"):
        found.unpaired_summary("own", "deletion")
