"""One rule for means and differences: how often it errs, how often it finds, and what it says of few images."""

import json
import math

import pytest
import torch

from bench.studies.intervals import (
    APART,
    EQUAL,
    IMAGES,
    MARKS,
    PAGE,
    RESULTS,
    frequencies,
    percentile,
    rule,
    share_coverage,
    tables,
)
from saliency_ext.evaluation.results import Comparison, Results
from saliency_ext.metrics.result import OK, MetricResult
from saliency_ext.perturbation import Counters
from saliency_ext.protocols import MetricInfo
from saliency_ext.stats import intervals
from saliency_ext.stats.intervals import (
    Summary,
    fewest_images,
    interval,
    share_interval,
    simultaneous_intervals,
    summarise,
    unpaired,
)


def results(info, **maps):
    made = {}
    for name, values in maps.items():
        result = torch.tensor(values, dtype=torch.float64)
        made[name, info.name] = MetricResult(info, result, {}, [OK if value == value else "undefined" for value in values])
    return Results(made, Counters())


HIGHER = MetricInfo("mine", "higher", "", "", "")


@pytest.mark.parametrize("images", [2, 3, 5, 8, 20])
@pytest.mark.parametrize("name", [*list(EQUAL)[1:3], *list(EQUAL)[5:7]])
def test_equal_maps_are_seldom_told_apart(name, images):
    """At most 5 %, with three standard errors of 150 comparisons; the percentile bootstrap has 57 % at two images."""
    assert sum(frequencies(EQUAL[name], images, 150, 1, rule)) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)


def test_the_percentile_bootstrap_would_not_do():
    assert sum(frequencies(EQUAL["skewed difference (exponential)"], 8, 150, 1, percentile)) > 0.12


def test_what_differs_is_found():
    assert frequencies(APART["normal, mean two deviations"], 8, 40, 1, rule)[0] > 0.7
    assert frequencies(APART["normal, mean one deviation"], 20, 40, 1, rule)[0] > 0.85
    assert frequencies(APART["two maps, hits of 9 and 1 in 10"], 12, 40, 1, rule)[0] > 0.7


def test_the_committed_study_keeps_the_promise_and_is_that_of_the_page():
    content = json.loads((RESULTS / "intervals.json").read_text())
    most = 0.05 + 2 * math.sqrt(0.05 * 0.95 / content["simulations"])
    assert content["simulations"] >= 2000 and set(content["rows"]["wrong"]) == set(EQUAL)
    for name, row in content["rows"]["wrong"].items():
        assert set(row) == set(map(str, IMAGES)) and max(row.values()) <= most, name
    begin, end = MARKS
    assert f"{begin}\n{tables(content)}\n{end}" in PAGE.read_text()


def test_five_images_decide_nothing_and_six_that_agree_do():
    """2^-5 is the chance that six images agree with the first one: 3 %; with five it is 6 %."""
    assert summarise(torch.ones(5, dtype=torch.float64), 5).too_few
    six = summarise(torch.tensor([1.0, 2.0, 3.0, 1.0, 2.0, 3.0]).double(), 7)
    assert 0 < six.low < six.mean == 2.0 < six.high and (six.images, six.left_out) == (6, 1)
    mixed = summarise(torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -1.0]).double(), 7)
    assert mixed.low <= 0, "one image of seven disagrees: chance does that in 16 of 128 cases"


def test_ties_count_for_neither():
    """Five images of fifty differ, all to one side: as likely as five heads in a row."""
    values = torch.zeros(50, dtype=torch.float64)
    values[:5] = 1.0
    assert summarise(values, 50).low == 0.0
    values[:9] = 1.0
    assert summarise(values, 50).low > 0
    rounded = torch.tensor([0.1, -0.1, 0.3, -0.3] * 3, dtype=torch.float64)
    assert summarise(rounded, 12).low < 0 < summarise(rounded, 12).high


def test_neither_scale_nor_sign_nor_order_matters():
    values = torch.rand(15, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.3
    result, turned, larger = summarise(values, 15), summarise(-values, 15), summarise(values * 1024, 15)
    assert (larger.low, larger.high) == pytest.approx((result.low * 1024, result.high * 1024))
    assert turned.low == pytest.approx(-result.high, rel=0.2) and turned.high == pytest.approx(-result.low, rel=0.2)
    assert summarise(values, 15) == result
    constant = summarise(torch.full((9,), 0.3, dtype=torch.float64), 9)
    assert constant.low == constant.high == constant.mean


def test_many_equal_values_that_are_not_0_tell_nothing():
    """Seven of eight are -0.5: the next may be anything, and a resample seldom knows."""
    values = torch.tensor([-0.5] * 7 + [-0.4], dtype=torch.float64)
    assert summarise(values, 8).too_few and not summarise(torch.tensor([-0.5] * 7 + [0.0]).double(), 8).too_few
    low, high = simultaneous_intervals(torch.stack([values.repeat(2), torch.rand(16).double() + 5], 1))
    assert low[0].isnan() and high[0].isnan() and 0 < low[1] < high[1]


@pytest.mark.parametrize("images", [10, 64, 100, 333])
def test_weights_of_resamples_sum_to_one_in_float64(images):
    """1 / n must not be rounded to float32: resamples of equal values would have a spread, and intervals that end nowhere."""
    assert (intervals._resample_weights(images, 200).sum(1) - 1).abs().max() <= 1e-14


@pytest.mark.parametrize("rare", [[0.0, 0.5], [0.25, 0.25], [0.0, 0.25, 0.25]])
@pytest.mark.parametrize("images", [64, 100, 200])
def test_an_interval_of_shares_is_of_shares_or_none(images, rare):
    values = torch.ones(images, dtype=torch.float64)
    values[: len(rare)] = torch.tensor(rare, dtype=torch.float64)
    summary = summarise(values, images)
    assert math.isnan(summary.low) or -0.1 <= summary.low <= summary.mean <= summary.high <= 1.1


def test_a_comparison_beside_others_is_stricter():
    values = torch.randn(12, 30, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    low, high = simultaneous_intervals(values)
    assert bool((low < high).all())
    alone = [summarise(column, 12) for column in values.unbind(1)]
    assert all(low[k] <= alone[k].low and high[k] >= alone[k].high for k in range(30))
    assert simultaneous_intervals(values[: fewest_images(30) - 1])[0].isnan().all()
    assert simultaneous_intervals(values[:0, :2])[0].isnan().all() and simultaneous_intervals(values[:, :0])[0].shape == (0,)


def test_a_share_has_the_interval_of_wilson():
    z2 = 1.959963984540054**2
    assert share_interval(0, 16) == pytest.approx((0.0, z2 / (16 + z2))) and share_interval(0, 16)[1] == pytest.approx(
        0.1936, abs=1e-4
    )
    assert share_interval(16, 16) == pytest.approx((16 / (16 + z2), 1.0)) and share_interval(0, 0) == (0.0, 1.0)
    assert share_interval(16, 16)[1] == 1.0 and share_interval(0, 16)[0] == 0.0
    assert min(share_coverage(share / 20, images) for share in range(1, 20) for images in (5, 12, 50)) > 0.91


def test_hits_are_a_share_in_a_summary_but_not_in_a_comparison():
    game = MetricInfo("pointing_game", "higher", "", "", "")
    result = results(game, none=[0.0] * 16, all=[1.0] * 16)
    assert result.summary("none", "pointing_game").high == pytest.approx(0.1936, abs=1e-4)
    assert result.compare("all", "none", "pointing_game").better == "all"
    few = results(game, none=[0.0, 0.0], all=[1.0, 1.0])
    assert few.summary("all", "pointing_game").low > 0.3, "something is known of a share"
    assert few.compare("all", "none", "pointing_game").better is None, "and nothing of a difference"
    difference = MetricInfo("pointing_game_target_minus_distractor", "higher", "", "", "", range=(-1.0, 1.0))
    assert results(difference, mine=[1.0, 0.0]).summary("mine", difference.name).too_few, "it could have been -1"


def test_too_few_images_are_said_to_be():
    result = results(HIGHER, a=[1.0, 1.0], b=[0.0, 0.25])
    assert str(result.compare("a", "b", "mine")) == "+0.8750 over 2 images: too few images for a comparison"
    assert "too few images" in str(result) and "nan" not in str(result)
    assert str(Comparison(Summary(0.5, 0.25, 0.75, 9, 0), "a")) == "+0.5000 [+0.2500, +0.7500] over 9 images: a is better"


def test_no_value_at_all_is_no_interval():
    result = summarise(torch.empty(0, dtype=torch.float64), 3)
    assert math.isnan(result.mean) and result.too_few and (result.images, result.left_out) == (0, 3)
    assert summarise(torch.empty(0, dtype=torch.float64), 3, share=True).too_few
    assert unpaired(torch.ones(5).double(), torch.rand(5).double(), 5).too_few


def test_resamples_of_another_statistic_reach_out_further_for_few_images():
    resampled = torch.linspace(-1, 1, 2000, dtype=torch.float64)
    widths = [float(interval(resampled, images)[1]) for images in (6, 20, 10_000)]
    assert widths[0] > widths[1] > widths[2] == pytest.approx(0.95, abs=0.002)
    assert math.isnan(interval(resampled, 5)[0])
