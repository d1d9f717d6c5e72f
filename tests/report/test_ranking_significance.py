"""Who is told apart from whom: simultaneous intervals, standings, Kendall's tau."""

import math

import pytest
import torch

from saliency_ext.ops import philox_normal
from saliency_ext.report._ranking_significance import kendall, significance
from saliency_ext.stats.intervals import fewest_images, simultaneous_intervals
from tests.report.samples import DELETION, FIDELITY, GAP, POINTING, data_of, result, results_of, simple, values, with_status


def of(means, **options):
    data = data_of(simple(means, **options))
    return significance(data, data.metrics[0])


def test_one_comparison_is_near_the_interval_of_student():
    differences = values(0.3, 30, seed=5, spread=1.0)[:, None]
    low, high = simultaneous_intervals(differences)
    half = 2.045 * float(differences.std()) / math.sqrt(30)  # t with 29 degrees of freedom
    assert half < float(high - low) / 2 < 1.25 * half, "a little wider, for values that are not normal"
    assert float(low + high) / 2 == pytest.approx(float(differences.mean()), abs=0.1 * half)


def test_more_comparisons_widen_every_interval():
    differences = philox_normal((1, 1, 10), torch.arange(30), seed=3)[:, 0, 0].double()
    alone, together = simultaneous_intervals(differences[:, :1]), simultaneous_intervals(differences)
    assert float(together[1][0] - together[0][0]) > 1.2 * float(alone[1][0] - alone[0][0])


def test_wrong_claims_are_rare_where_nothing_differs():
    wrong = 0
    for seed in range(100):
        draws = philox_normal((1, 1, 6), torch.arange(15), seed=seed)[:, 0, 0].double()
        low, high = simultaneous_intervals(draws)
        wrong += bool(((low > 0) | (high < 0)).any())
    assert wrong <= 12, "a family of six comparisons may be wrong in 5 % of the cases"


def test_too_few_images_decide_nothing_even_if_unanimous():
    assert [fewest_images(count) for count in (0, 1, 10, 45)] == [6, 6, 9, 11]
    same = torch.ones(5, 1, dtype=torch.float64)
    assert simultaneous_intervals(same)[0].isnan().all()
    low, high = simultaneous_intervals(torch.ones(6, 1, dtype=torch.float64))
    assert float(low) == float(high) == 1.0, "a constant difference has no width"


def test_order_leaders_and_controls_of_a_clear_case():
    result = of({"good": 0.6, "twin": 0.6, "weak": 0.3, "random": 0.0})
    assert result.order[-2:] == ["weak", "random"] and set(result.leaders) == {"good", "twin"}
    assert result.methods == [name for name in result.order if name != "random"]
    assert result.failing == {} and result.enough and result.images == 40
    assert ("weak", "random") in result.decided and ("random", "weak") not in result.decided


def test_lower_is_better_turns_the_order():
    result = of({"good": 0.1, "weak": 0.5, "random": 0.9}, info=DELETION)
    assert result.order == ["good", "weak", "random"] and result.leaders == ["good"]
    assert result.means["good"] > result.means["random"]


def test_a_method_at_chance_level_fails_the_control():
    result = of({"good": 0.6, "empty": 0.0, "random": 0.0, "grey": 0.5}, spread=0.1)
    assert result.failing == {"empty": ["random"]}
    data = data_of(simple({"good": 0.6, "empty": 0.0, "random": 0.0, "grey": 0.5}), controls=("random", "grey"))
    assert significance(data, data.metrics[0]).failing == {"empty": ["grey", "random"]}


def test_paired_differences_are_seen_where_means_overlap():
    """Images differ much, methods little but always: only a paired comparison can tell."""
    base = values(0.0, 40, seed=1, spread=1.0)
    table = {("a", "fidelity"): result(FIDELITY, base + 0.05), ("b", "fidelity"): result(FIDELITY, base + values(0, 40, 2, 0.02))}
    data = data_of(results_of(table))
    assert significance(data, data.metrics[0]).decided == {("a", "b")}


def test_a_map_with_few_values_is_left_out_and_does_not_take_the_images_of_others():
    table = {("a", "fidelity"): result(FIDELITY, values(0.5, 40)), ("b", "fidelity"): result(FIDELITY, values(0.2, 40, 1))}
    table["broken", "fidelity"] = with_status(FIDELITY, values(0.9, 40), range(25), "method_failed")
    table["odd", "fidelity"] = with_status(FIDELITY, values(0.1, 40), [3], "nonfinite_map")
    data = data_of(results_of(table))
    found = significance(data, data.metrics[0])
    assert found.left_out == ["broken"] and found.images == 39 and found.order == ["a", "b", "odd"]


def test_no_direction_or_no_values_no_standing():
    data = data_of(simple({"a": 0.1}, info=GAP))
    assert significance(data, data.metrics[0]) is None
    nothing = data_of(results_of({("a", "fidelity"): with_status(FIDELITY, [0.0, 0.0], [0, 1], "method_failed")}))
    assert significance(nothing, nothing.metrics[0]) is None


def test_kendall_by_hand():
    table = {}
    for name, fidelity, pointing in (("a", 3, 2), ("b", 2, 3), ("c", 1, 1), ("random", 9, 9)):
        table[name, "fidelity"] = result(FIDELITY, [fidelity] * 8)
        table[name, "pointing_game"] = result(POINTING, [pointing] * 8)
    data = data_of(results_of(table))
    first, second = (significance(data, metric) for metric in data.metrics)
    assert kendall(first, second) == pytest.approx(1 / 3)  # of three pairs two agree; the control does not count
    assert kendall(first, first) == 1.0
    two = of({"a": 0.2, "b": 0.1, "random": 0.0})
    assert kendall(two, two) is None
