"""Control variates: right on average whatever the proxy, narrower where it goes with the metric, left out where it does not."""

import itertools
import math

import pytest
import torch

from saliency_ext import evaluate
from saliency_ext.attribution import Gradient
from saliency_ext.evaluation import Proxy, controlled_means
from saliency_ext.infill import Constant
from saliency_ext.metrics import Deletion, PointingGame
from saliency_ext.perturbation import Engine, EqualFractions
from saliency_ext.stats import control_variates, controlled_mean

POPULATION, PICKED = 400, 80


def population(noise, seed=0):
    """Metric and proxy of all images; the metric bends, so that no straight line fits."""
    generator = torch.Generator().manual_seed(seed)
    proxies = torch.rand(POPULATION, generator=generator).double()
    return proxies**2 + noise * torch.randn(POPULATION, generator=generator).double(), proxies


def picks_of(seed):
    return torch.randperm(POPULATION, generator=torch.Generator().manual_seed(seed))[:PICKED]


def test_the_mean_over_all_choices_is_the_mean_of_all_images(monkeypatch):
    """Every ordered choice of 4 of 6 images, with slopes of two images each: no bias at all."""
    monkeypatch.setattr(control_variates, "_LEAST_HALF", 2)
    monkeypatch.setattr(control_variates, "_CHANCE", 0.0)
    values = torch.tensor([0.0, 1.0, 1.5, 4.0, 9.0, 2.0]).double()
    proxies = torch.tensor([0.1, 0.0, 1.0, 1.0, 2.0, 5.0]).double()
    choices = [torch.tensor(choice) for choice in itertools.permutations(range(6), 4)]
    result = [controlled_mean(values[choice], choice, proxies, min_correlation=0.0) for choice in choices]
    assert any(each.used for each in result)
    assert sum(each.mean for each in result) / len(result) == pytest.approx(float(values.mean()), abs=1e-12)


def test_a_proxy_that_decides_the_metric_leaves_no_doubt():
    _, proxies = population(0.0)
    result = controlled_mean(2 * proxies[picks_of(0)] - 1, picks_of(0), proxies)
    assert result.mean == pytest.approx(float(2 * proxies.mean() - 1)) and result.high - result.low < 1e-9
    assert result.used and result.correlation == pytest.approx(1.0) and result.gain > 1e6


def test_the_interval_covers_and_is_narrower_by_what_the_correlation_says():
    values, proxies = population(0.1)
    truth, result = float(values.mean()), [controlled_mean(values[p], p, proxies) for p in map(picks_of, range(400))]
    share = sum(each.low <= truth <= each.high for each in result) / len(result)
    assert 0.91 < share < 0.98
    explained = float(torch.corrcoef(torch.stack([values, proxies]))[0, 1]) ** 2
    gain = sum(each.gain for each in result) / len(result)
    assert gain == pytest.approx(1 / (1 - explained), rel=0.1) and gain > 3
    errors = torch.tensor([[each.mean - truth, each.plain_mean - truth] for each in result]).std(0)
    assert float((errors[1] / errors[0]) ** 2) == pytest.approx(gain, rel=0.25)
    plainly = sum(each.plain_low <= truth <= each.plain_high for each in result) / len(result)
    assert 0.91 < plainly < 0.98


def test_a_proxy_that_says_nothing_is_left_out():
    values, proxies = population(0.1)
    shuffled, picks = proxies[torch.randperm(POPULATION, generator=torch.Generator().manual_seed(9))], picks_of(1)
    result = controlled_mean(values[picks], picks, shuffled)
    assert not result.used and result.gain == 1.0
    assert (result.mean, result.low, result.high) == (result.plain_mean, result.plain_low, result.plain_high)
    assert result.mean == pytest.approx(float(values[picks].mean())) and "proxy not used" in str(result)


def test_few_images_do_without_and_all_images_leave_no_doubt():
    values, proxies = population(0.0)
    few = controlled_mean(values[:15], torch.arange(15), proxies)  # halves of 7 and 8: only one may use it
    assert few.used and not controlled_mean(values[:14], torch.arange(14), proxies).used
    whole = controlled_mean(values, torch.arange(POPULATION), proxies)
    assert whole.low == whole.mean == whole.high == pytest.approx(float(values.mean()))


def test_images_without_a_value_are_none_of_the_population():
    values, proxies = population(0.05)
    picks = picks_of(2)
    holed, lost = values[picks].clone(), proxies.clone()
    holed[3], lost[picks[5]] = math.nan, math.nan
    unseen = next(i for i in range(POPULATION) if i not in set(picks.tolist()))
    lost[unseen] = math.nan
    result = controlled_mean(holed, picks, lost)
    left = torch.ones(POPULATION, dtype=torch.bool)
    left[[int(picks[3]), int(picks[5]), unseen]] = False
    names = left.cumsum(0) - 1
    kept = [int(pick) for pick in picks if left[pick]]
    assert result == controlled_mean(values[kept], names[kept], proxies[left])
    assert (result.images, result.population) == (PICKED - 2, POPULATION - 3)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"min_correlation": 1.5}, "min_correlation in"),
        ({"min_correlation": math.nan}, "min_correlation"),
        ({"picks": torch.tensor([0, 0, 1])}, "picks distinct int64"),
        ({"picks": torch.tensor([0, 1, 4])}, r"picks distinct int64 in \[0, 4\)"),
        ({"picks": torch.tensor([0.0, 1, 2])}, "picks distinct int64"),
        ({"values": torch.zeros(2)}, "values of shape"),
        ({"values": torch.tensor([1.0, math.nan, math.nan])}, "values at least two"),
        ({"proxies": torch.zeros(2, 2)}, "proxies"),
    ],
)
def test_what_cannot_be_is_refused(change, text):
    given = {"values": torch.zeros(3), "picks": torch.arange(3), "proxies": torch.zeros(4)} | change
    with pytest.raises((TypeError, ValueError), match=text):
        controlled_mean(given.pop("values"), given.pop("picks"), given.pop("proxies"), **given)


def scene(images=60, size=8):
    generator = torch.Generator().manual_seed(3)
    weight = torch.rand(2, 1, generator=generator)
    inputs = torch.rand(images, 1, size, size, generator=generator)
    return inputs, lambda x: torch.stack([3 * (x.mean((1, 2, 3)) * own).tanh() for own in weight], 1)


def test_the_proxy_runs_on_every_image_and_the_metric_on_a_few():
    inputs, model = scene()
    fine, coarse = (Deletion(Constant(0.0), EqualFractions(steps)) for steps in (16, 4))
    engine = Engine(model, max_batch=8)
    result = controlled_means(model, inputs, 0, {"itself": inputs[:, 0]}, fine, Proxy(coarse), images=20, engine=engine)["itself"]
    assert result.used and result.gain > 5 and (result.images, result.population) == (20, 60)
    # Clean image and infill are probes of both; 15 and 3 further steps. The second call has answers of its own.
    assert engine.counters.unique - 2 == 17 * 3 + 5 * 8 - 2  # chunks of 8 images: 3 and 8 of them
    full = evaluate(model, inputs, 0, {"itself": inputs[:, 0]}, [fine])["itself", "deletion"].values
    assert abs(result.mean - float(full.mean())) < 4 * (result.high - result.low)


@pytest.mark.parametrize(
    "proxy",
    [Proxy(shrink=2), Proxy(model=lambda x: scene()[1](x.float()), dtype=torch.bfloat16), Proxy(PointingGame())],
    ids=["lower resolution", "half precision", "another metric"],
)
def test_stand_ins(proxy):
    inputs, model = scene()
    truth = torch.zeros(60, 8, 8, dtype=torch.bool)
    truth[:, :4] = True
    options = {"truth": truth} if isinstance(proxy.metric, PointingGame) else {}
    metric = Deletion(Constant(0.0))
    result = controlled_means(model, inputs, 0, {"itself": inputs[:, 0]}, metric, proxy, images=24, seed=4, **options)["itself"]
    full = evaluate(model, inputs, 0, inputs[:, 0], [metric]).summary("map", "deletion")
    assert result.used == (not options) and result.plain_low <= full.mean <= result.plain_high


def test_proxies_that_cannot_be_are_refused():
    inputs, model = scene()
    metric, maps = Deletion(Constant(0.0)), {"itself": inputs[:, 0]}
    with pytest.raises(ValueError, match="Proxy: expected metric something less expensive"):
        Proxy()
    with pytest.raises(ValueError, match="shrink"):
        Proxy(shrink=0)
    with pytest.raises(ValueError, match="shrink at most 8"):
        controlled_means(model, inputs, 0, maps, metric, Proxy(shrink=9), images=20)
    with pytest.raises(TypeError, match="to be a tensor where the proxy shrinks"):
        controlled_means(model, inputs, 0, {"m": Gradient(model)}, metric, Proxy(shrink=2), images=20)
    with pytest.raises(ValueError, match="images in"):
        controlled_means(model, inputs, 0, maps, metric, Proxy(shrink=2), images=61)
    with pytest.raises(TypeError, match="to be a Proxy"):
        controlled_means(model, inputs, 0, maps, metric, metric, images=20)
    with pytest.raises(ValueError, match="at least two images"):
        controlled_means(model, inputs[:1], 0, {"itself": inputs[:1, 0]}, metric, Proxy(shrink=2), images=2)
