"""Steps drawn in strata: right on average over draws, exact where strata are flat, the same in any batch."""

import itertools

import pytest
import torch

from saliency_ext import evaluate
from saliency_ext.infill import Constant
from saliency_ext.metrics import ROAD, Deletion, Fidelity, GeometryGap, Insertion, LeRF, MoRF, Soundness, SymmetricRelevanceGain
from saliency_ext.perturbation import Engine, EqualFractions, StratifiedSteps, learn_strata
from saliency_ext.perturbation.curve_integration import area_under
from saliency_ext.perturbation.stratified import equal_strata

GREY = Constant(0.0)


def scene(images=12, size=10):
    generator = torch.Generator().manual_seed(3)
    weight = torch.rand(2, size, size, generator=generator)
    inputs = torch.rand(images, 1, size, size, generator=generator)
    saliency = weight[0] * inputs[:, 0] + 0.1 * torch.rand(images, size, size, generator=generator)
    return inputs, saliency, lambda x: torch.stack([3 * (x[:, 0] * own).mean((1, 2)).tanh() for own in weight], 1)


def evaluated(metrics, images=12, ids=None, **kwargs):
    inputs, saliency, model = scene(images)
    if "engine" in kwargs:
        model = kwargs["engine"].forward
    return evaluate(model, inputs, 0, saliency, metrics, sample_ids=ids, check_model=False, **kwargs)


@pytest.mark.parametrize(("pixels", "grid"), [(100, 10), (97, 10), (50176, 100), (10, 10)])
@pytest.mark.parametrize("strata", [1, 3, 9])
def test_counts_are_of_the_grid_one_per_stratum_and_both_ends(pixels, grid, strata):
    counts = EqualFractions(grid).counts(pixels)
    edges = equal_strata(strata, grid)
    drawn = StratifiedSteps(strata, grid).drawn(pixels, torch.arange(5000))
    assert drawn.shape == (5000, strata + 2)
    assert set(drawn[:, 0].tolist()) == {0} and set(drawn[:, -1].tolist()) == {pixels}
    for column, (low, high) in enumerate(itertools.pairwise(edges), 1):
        assert set(drawn[:, column].tolist()) == set(counts[low:high])  # every one of them is drawn, and no other


@pytest.mark.parametrize("pixels", [97, 1000])
def test_the_mean_over_draws_is_the_area_of_the_grid(pixels):
    """Over 40,000 keyed draws; the standard error of their mean is known from their spread."""
    steps = StratifiedSteps((1, 3, 10, 20), grid=20, seed=5)
    counts = torch.tensor(EqualFractions(20).counts(pixels))
    curve = torch.exp(-5.0 * counts.double() / pixels) + 0.3 * torch.sin(counts.double())
    truth = area_under(curve, counts.double() / pixels)
    drawn = steps.drawn(pixels, torch.arange(40_000))
    estimates = steps.area(curve[torch.searchsorted(counts, drawn)], pixels)
    error = float(estimates.std()) / 200
    assert abs(float(estimates.mean()) - float(truth)) < 4 * error < 0.004
    assert float(steps.draw_variance(curve, pixels)) == pytest.approx(float(estimates.var()), rel=0.03)
    with pytest.raises(ValueError, match=r"draw_variance: expected curves of shape \(\.\.\., 21\), got \(20,\)"):
        steps.draw_variance(curve[1:], pixels)
    means = drawn.double().mean(0)
    assert torch.allclose(means, steps.mean_counts(pixels), atol=0.03 * pixels / 20)


@pytest.mark.parametrize("pixels", [97, 400])
def test_a_curve_that_is_flat_within_strata_is_exact(pixels):
    steps, edges = StratifiedSteps(4, grid=20), equal_strata(4, 20)
    counts = EqualFractions(20).counts(pixels)
    heights = torch.tensor(
        [5.0] + [float(7 * j % 5) for j, (a, b) in enumerate(itertools.pairwise(edges)) for _ in range(a, b)] + [2.0]
    )
    truth = area_under(heights.double(), torch.tensor(counts).double() / pixels)
    drawn = steps.drawn(pixels, torch.arange(9))
    estimates = steps.area(heights[torch.searchsorted(torch.tensor(counts), drawn)], pixels)
    assert torch.allclose(estimates, truth.expand(9), atol=1e-12)
    assert float(steps.weights(pixels).sum()) == pytest.approx(1.0, abs=1e-12)


def test_as_many_strata_as_inner_points_is_the_grid():
    everything = StratifiedSteps(9, grid=10)
    grid = EqualFractions(10)
    result = evaluated([Deletion(GREY, everything), Insertion(GREY, everything), Fidelity(GREY, everything)])
    truth = evaluated([Deletion(GREY, grid), Insertion(GREY, grid), Fidelity(GREY, grid)])
    for name in ("deletion", "insertion", "fidelity"):
        assert torch.allclose(result["map", name].values, truth["map", name].values, atol=1e-12)


@pytest.mark.parametrize("metric", [Deletion, Insertion, MoRF, LeRF, Fidelity])
def test_the_mean_over_seeds_is_the_value_on_the_grid(metric):
    truth = evaluated([metric(GREY, EqualFractions(20))])
    name = metric.info.name
    runs = torch.stack([evaluated([metric(GREY, StratifiedSteps(3, 20, seed))])["map", name].values for seed in range(60)])
    error = runs.std(0) / 60**0.5
    assert ((runs.mean(0) - truth["map", name].values).abs() < 5 * error + 1e-9).all()
    assert (runs.std(0) > 0).any()


def test_imputation_takes_drawn_counts():
    options = {"score": "probability", "area": "trapezoid"}
    truth = evaluated([ROAD(schedule=EqualFractions(10), **options)])["map", "road"].values
    runs = [evaluated([ROAD(schedule=StratifiedSteps(3, 10, seed), **options)])["map", "road"].values for seed in range(40)]
    error = torch.stack(runs).std(0) / 40**0.5
    assert ((torch.stack(runs).mean(0) - truth).abs() < 5 * error + 1e-9).all() and (error > 0).any()
    everything = evaluated([ROAD(schedule=StratifiedSteps(9, 10), **options)])["map", "road"].values
    assert torch.allclose(everything, truth, atol=1e-12)


def test_masked_probability_takes_drawn_counts():
    truth = evaluated([Soundness(GREY, EqualFractions(20), labels=(0, 1), floor_clean=0.0, floor_masked=0.0)])
    drawn = evaluated([Soundness(GREY, StratifiedSteps(19, 20), labels=(0, 1), floor_clean=0.0, floor_masked=0.0)])
    assert torch.allclose(truth["map", "soundness"].values, drawn["map", "soundness"].values, atol=1e-12)


def test_maps_and_orders_share_the_counts_and_the_masked_inputs():
    engine = Engine(scene()[2], max_batch=16)  # one chunk
    steps = StratifiedSteps(4, 20)
    evaluated([Deletion(GREY, steps), MoRF(GREY, steps), Fidelity(GREY, steps)], engine=engine)
    assert engine.counters.unique == 2 + 4 + 4  # ends, most relevant first, least relevant first


def test_an_image_has_its_counts_in_any_company():
    whole = evaluated([Fidelity(GREY, StratifiedSteps(4, 20))], chunk=5)["map", "fidelity"].values
    inputs, saliency, model = scene()
    for index in (0, 7):
        part = slice(index, index + 1)
        alone = evaluate(
            model, inputs[part], 0, saliency[part], [Fidelity(GREY, StratifiedSteps(4, 20))], sample_ids=torch.tensor([index])
        )
        assert alone["map", "fidelity"].values[0] == whole[index]


def test_learned_strata_are_the_best_of_all_partitions():
    generator = torch.Generator().manual_seed(0)
    curves = torch.rand(6, 12, generator=generator).cumsum(1)

    def cost(edges):
        return sum(
            (b - a) ** 2 * float(curves[:, a:b].double().var(1, correction=0).mean()) for a, b in itertools.pairwise(edges)
        )

    for strata in (1, 2, 4, 10):
        options = [(1, *inner, 11) for inner in itertools.combinations(range(2, 11), strata - 1)]
        assert cost(learn_strata(curves, strata)) == pytest.approx(min(map(cost, options)), abs=1e-9)


def test_learned_strata_are_fine_where_the_curve_moves():
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    edges = learn_strata(torch.exp(-20 * t)[None], 8)
    sizes = [b - a for a, b in itertools.pairwise(edges)]
    assert edges[0] == 1 and edges[-1] == 100 and len(edges) == 9
    assert sizes[0] < sizes[-1] and edges[5] < 30
    steps = {"equal": StratifiedSteps(8), "learned": StratifiedSteps(edges)}
    spread = {
        name: float(own.area(torch.exp(-20.0 * own.drawn(100, torch.arange(2000)).double() / 100), 100).std())
        for name, own in steps.items()
    }
    assert spread["learned"] < 0.5 * spread["equal"]


def test_several_curves_count_together_and_rows_with_nan_are_left_out():
    a = torch.tensor([[0.0, 1.0, 1.0, 1.0, 1.0, 1.0]])
    b = torch.tensor([[0.0, 1.0, 1.0, 1.0, 0.0, 0.0], [torch.nan] * 6])
    assert learn_strata([a, b], 2) == learn_strata(b, 2) == (1, 4, 5)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: StratifiedSteps(0), r"StratifiedSteps: expected strata in \[1, 99\], got 0"),
        (lambda: StratifiedSteps(100), r"expected strata in \[1, 99\], got 100"),
        (lambda: StratifiedSteps((1, 5, 5, 100)), "boundaries that rise from 1 to 100"),
        (lambda: StratifiedSteps((2, 100)), "boundaries that rise from 1 to 100"),
        (
            lambda: StratifiedSteps(8).drawn(5, torch.arange(1)),
            "expected pixels enough for the grid: at least 9, got 5",
        ),
        (lambda: StratifiedSteps((1, 50, 100)).weights(60), "use a coarser grid"),
        (lambda: learn_strata(torch.rand(2, 10), 9), r"learn_strata: expected strata in \[1, 8\], got 9"),
        (lambda: learn_strata(torch.full((1, 10), torch.nan), 2), "at least one without NaN"),
        (lambda: learn_strata([], 2), "at least one tensor"),
        (lambda: MoRF(GREY, StratifiedSteps(), summary="aopc"), "'auc' where steps are drawn"),
        (lambda: Deletion(GREY, StratifiedSteps(), area="mean"), "'trapezoid' where steps are drawn"),
        (lambda: Soundness(GREY, StratifiedSteps(), levels="mass"), "'count' where steps are drawn"),
        (lambda: GeometryGap(GREY, StratifiedSteps(), area="steps"), "'trapezoid' where steps are drawn"),
    ],
)
def test_what_cannot_be_is_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_superpixels_have_no_strata():
    with pytest.raises(TypeError, match="SymmetricRelevanceGain: expected schedule to give the same counts to all images"):
        SymmetricRelevanceGain(GREY, segmenter=lambda x: x[:, 0].long(), schedule=StratifiedSteps())
