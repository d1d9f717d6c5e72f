"""Completeness and soundness: naive loops, bounds that always hold, evidence in known places."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saliency_ext.infill import UniformNoise
from saliency_ext.metrics._masked_scores import completeness, label_summaries, soundness
from saliency_ext.ops import rank
from saliency_ext.perturbation import GridFractions
from saliency_ext.reference.masked_probability import completeness_of, masked_probability, mass_counts, soundness_of
from tests.metrics.label_maps import CLASSES, GRID, SIZE, make_model, per_class, scored, tensors

# ---- The scores of one label


@pytest.mark.parametrize(
    ("p", "g", "floor", "alpha", "beta"),
    [
        (0.8, 0.4, 0.1, 0.5, 1.0),  # half of it is lost
        (0.2, 0.8, 0.1, 1.0, 0.25),  # four times too much
        (0.3, 0.3, 0.1, 1.0, 1.0),
        (0.5, 0.05, 0.1, 0.2, 1.0),  # g counts as its floor
        (1e-6, 1e-3, 0.1, 1.0, 1.0),  # both below their floors: harmless
        (1e-6, 0.5, 0.1, 1.0, 0.2),  # p counts as its floor
        (1e-6, 1e-3, 0.0, 1.0, 1e-3),  # the same without floors
        (0.0, 0.5, 0.0, 1.0, 0.0),  # nothing believed, much shown
        (0.5, 0.0, 0.0, 0.0, 1.0),
        (0.0, 0.0, 0.0, 1.0, 1.0),
    ],
)
def test_table_of_scores(p, g, floor, alpha, beta):
    clean, masked = torch.tensor([p], dtype=torch.float64), torch.tensor([g], dtype=torch.float64)
    assert float(completeness(masked, clean, floor)) == pytest.approx(alpha, abs=1e-15)
    assert float(soundness(masked, clean, floor)) == pytest.approx(beta, abs=1e-15)


def test_cap_and_nan():
    p, g = torch.tensor([0.9]), torch.tensor([0.45])
    assert float(completeness(g, p, 0.1, cap=0.6)) == pytest.approx(0.75)
    for scores in (
        completeness(g * torch.nan, p, 0.1),
        soundness(g * torch.nan, p, 0.1),
        completeness(g * torch.nan, p * 0, 0.0),
    ):
        assert scores.isnan().all()


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1))
def test_bounds_of_scores(p, g, floor, cap):
    clean, masked = torch.tensor([p], dtype=torch.float64), torch.tensor([g], dtype=torch.float64)
    alpha, beta = float(completeness(masked, clean, floor, cap)), float(soundness(masked, clean, floor))
    assert alpha == pytest.approx(completeness_of(p, g, floor, cap)) and beta == pytest.approx(soundness_of(p, g, floor))
    assert 0 <= alpha <= 1 and 0 <= beta <= 1 and (floor == 0 or (alpha > 0 and beta > 0))
    assert beta == 1 or g > p
    assert alpha == 1 or g < p


# ---- Against naive loops


def naive(model, images, infill, saliency, labels, counts, **options):
    """p (N, L), curves (N, L, S) for maps (N, L, H, W), label lists and counts [image][label]."""
    clean, curves = [], []
    with torch.no_grad():
        for i in range(len(images)):
            ranks = rank(saliency[i])
            p, curve = masked_probability(model, images[i], infill, ranks, labels[i], counts[i], **options)
            clean.append(p)
            curves.append(curve)
    return torch.tensor(clean).double(), torch.tensor(curves).double()


@pytest.mark.parametrize("levels", ["count", "mass"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("labels", [None, (3, 1, 4), "top-2"])
@pytest.mark.parametrize("blind", [False, True])
def test_equals_the_naive_loop(levels, reverse, labels, blind):
    model, images = make_model(), tensors(2, 3, *SIZE)
    maps = tensors(2, SIZE[0], SIZE[1], seed=1) if blind else tensors(2, CLASSES, *SIZE, seed=1)
    given_maps = maps if blind else per_class(maps)
    choices = {"labels": labels, "levels": levels, "reverse": reverse, "floor_masked": 0.02, "floor_clean": 0.05, "cap": 0.7}
    alpha, beta = scored(model, images, given_maps, **choices)
    best = model(images).argsort(1, descending=True)
    requested = [best[i, :2].tolist() if labels == "top-2" else list(labels or range(CLASSES)) for i in range(2)]
    own = torch.stack([maps[i].expand(len(requested[i]), -1, -1) if blind else maps[i, requested[i]] for i in range(2)])
    shares = [i / 7 for i in range(1, 8)]
    flat = GRID.counts(28)
    counts = [[flat if levels == "count" else mass_counts(single, shares) for single in image] for image in own]
    p, curves = naive(model, images, torch.full_like(images[0], 0.5), own, requested, counts, reverse=reverse)
    g = curves.mean(2)
    each = [[completeness_of(float(a), float(b), 0.02, 0.7) for a, b in zip(*row, strict=True)] for row in zip(p, g, strict=True)]
    other = [[soundness_of(float(a), float(b), 0.05) for a, b in zip(*row, strict=True)] for row in zip(p, g, strict=True)]
    each, other = torch.tensor(each).double(), torch.tensor(other).double()
    near = {"rtol": 1e-6, "atol": 1e-7}
    torch.testing.assert_close(alpha.values, each.amin(1), **near)
    torch.testing.assert_close(beta.values, other.amin(1), **near)
    own_label = p.argmax(1, keepdim=True)
    torch.testing.assert_close(alpha.extras["g_predicted"], g.gather(1, own_label)[:, 0], **near)
    torch.testing.assert_close(alpha.extras["alpha_predicted"], each.gather(1, own_label)[:, 0], **near)
    wrong = torch.ones_like(p, dtype=torch.bool).scatter(1, own_label, False)
    torch.testing.assert_close(alpha.extras["alpha_wrong_min"], each[wrong].view(2, -1).amin(1), **near)
    torch.testing.assert_close(beta.extras["beta_wrong_mean"], other[wrong].view(2, -1).mean(1), **near)
    torch.testing.assert_close(beta.extras["beta_wrong_min"], other[wrong].view(2, -1).amin(1), **near)
    torch.testing.assert_close(beta.extras["g_wrong_mean"], g[wrong].view(2, -1).mean(1), **near)
    second = p.argsort(1, descending=True)[:, 1:2]
    torch.testing.assert_close(beta.extras["beta_second"], other.gather(1, second)[:, 0], **near)
    assert torch.equal(beta.extras["masked_argmax_agrees"], (g.argmax(1) == p.argmax(1)).double())
    at = other.argmin(1)[:, None, None].expand(-1, 1, 7)
    torch.testing.assert_close(beta.curves["masked_worst"], curves.gather(1, at)[:, 0], **near)
    assert alpha.parameters["class_blind"] is blind and alpha.parameters["labels"] == labels


def test_draws_of_an_infill_are_averaged_as_probabilities():
    model, images, maps = make_model(), tensors(2, 3, *SIZE), tensors(2, CLASSES, *SIZE, seed=1)
    noise = UniformNoise(0.0, 1.0, seed=3, draws=3)
    alpha, _ = scored(model, images, per_class(maps), infill=noise, floor_masked=0.0)
    total = torch.zeros(2, CLASSES).double()
    for draw in range(3):
        filled = noise.fill(images, torch.arange(2), draw)
        for i in range(2):
            counts = [[GRID.counts(28)] * CLASSES]
            _, curves = naive(model, images[i : i + 1], filled[i], maps[i : i + 1], [list(range(CLASSES))], counts)
            total[i] += curves[0].mean(1) / 3
    g = total.gather(1, model(images).argmax(1, keepdim=True))[:, 0]
    torch.testing.assert_close(alpha.extras["g_predicted"], g, rtol=1e-6, atol=1e-7)


# ---- What always holds


def test_constant_model_has_both():
    images, maps = tensors(2, 3, *SIZE), tensors(2, CLASSES, *SIZE, seed=1)
    alpha, beta = scored(lambda x: torch.zeros(len(x), CLASSES, dtype=x.dtype), images, per_class(maps))
    assert alpha.values.tolist() == pytest.approx([1.0, 1.0]) and beta.values.tolist() == pytest.approx([1.0, 1.0])


def test_only_the_order_of_pixels_is_read_and_not_the_channels():
    model, maps = make_model(), tensors(2, CLASSES, *SIZE, seed=1)
    grey = tensors(2, 1, *SIZE)
    own = scored(model, grey.expand(-1, 3, -1, -1), per_class(maps))
    same = scored(model, grey.expand(-1, 3, -1, -1), per_class((5 * maps).exp() - 3))
    one = scored(lambda x: model(x.expand(-1, 3, -1, -1)), grey, per_class(maps))
    for a, b, c in zip(own, same, one, strict=True):
        assert torch.equal(a.values, b.values) and all(torch.equal(a.extras[name], b.extras[name]) for name in a.extras)
        torch.testing.assert_close(a.values, c.values, rtol=1e-12, atol=1e-12)


def test_completeness_has_a_floor_where_the_grid_ends_with_the_image():
    model, images = make_model(), tensors(20, 3, *SIZE)
    alpha, _ = scored(model, images, per_class(tensors(20, CLASSES, *SIZE, seed=1) - 0.5), floor_masked=0.0)
    assert (alpha.values >= 1 / 7).all() and alpha.values.min() < 0.6  # g_a >= p_a / S


def test_plain_mean_is_the_trapezoid_and_half_the_ends():
    model, images, maps = make_model(), tensors(4, 3, *SIZE), per_class(tensors(4, CLASSES, *SIZE, seed=1))
    whole, mean = (
        scored(model, images, maps, schedule=s, area=a)[0] for s, a in ((GridFractions(7), "trapezoid"), (GRID, "mean"))
    )
    ends = whole.curves["masked_predicted"]
    expected = whole.extras["g_predicted"] + (ends[:, -1] - ends[:, 0]) / 14
    torch.testing.assert_close(mean.extras["g_predicted"], expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(mean.curves["masked_predicted"], ends[:, 1:])


def test_worst_is_no_better_than_the_mean_and_more_labels_make_it_worse():
    clean, masked = tensors(50, 6).softmax(1), tensors(50, 6, seed=1).softmax(1)
    for scores in (completeness(masked, clean, 0.0), soundness(masked, clean, 0.0)):
        summary = label_summaries(scores, clean)
        assert (summary.wrong_min <= summary.wrong_mean).all() and (scores.amin(1) <= scores.mean(1)).all()
        assert torch.equal(torch.minimum(summary.wrong_min, summary.predicted), scores.amin(1))
        for count in range(2, 7):
            assert (scores[:, :count].amin(1) <= scores[:, : count - 1].amin(1)).all()


def test_reverse_is_the_negated_map():
    model, images, maps = make_model(), tensors(3, 3, *SIZE), tensors(3, CLASSES, *SIZE, seed=1)
    schedule = GridFractions(7, last=6)
    reverse = scored(model, images, per_class(maps), schedule=schedule, reverse=True)
    negated = scored(model, images, per_class(-maps), schedule=schedule)
    for a, b in zip(reverse, negated, strict=True):
        torch.testing.assert_close(a.values, b.values, rtol=1e-12, atol=1e-12)
    assert reverse[0].parameters["reverse"] is True


# ---- Evidence in a known patch

PATCH = torch.zeros(SIZE, dtype=torch.bool)
PATCH[1:3, 2:4] = True  # 4 of 28 pixels, one step of the grid


def patched(x):
    """Label 0 speaks of the patch alone: a half where it is gone, sure where it is there."""
    share = (x[:, 0] == 1).to(x.dtype)[:, PATCH].mean(1)
    return torch.stack([4 * share, torch.zeros_like(share)], 1)


def test_the_patch_itself_is_best_and_its_inverse_worst():
    images = torch.ones(1, 1, *SIZE, dtype=torch.float64)
    exact = PATCH[None].double()
    maps = torch.cat([exact, -exact, tensors(100, *SIZE, seed=1) - 0.5])
    alpha, _ = scored(patched, images.expand(len(maps), -1, -1, -1), maps, target=0, floor_masked=0.0)
    g = alpha.extras["g_predicted"]
    full, empty = 1 / (1 + math.exp(-4)), 0.5
    assert float(g[0]) == pytest.approx(full) and float(g.max()) == pytest.approx(full)
    assert float(g[1]) == pytest.approx((6 * empty + full) / 7) and (g[1] <= g + 1e-12).all()
    assert g[2:].max() < full


def test_a_class_blind_map_is_incomplete_for_the_other_labels():
    """Two halves of evidence, one for each label: the map of the first says nothing of the second."""

    def halves(x):
        share = (x[:, 0] == 1).to(x.dtype).mean(1)
        return torch.stack([share[:, :3].sum(1) * 2 + 1, share[:, 4:].sum(1) * 2, torch.zeros_like(share[:, 0])], 1)

    images = torch.ones(1, 1, *SIZE, dtype=torch.float64)
    left = torch.arange(7.0, 0, -1).expand(1, *SIZE)
    options = {"floor_masked": 0.0, "floor_clean": 0.0}
    blind = scored(halves, images, left, **options)
    own = scored(halves, images, per_class(torch.stack([left, -left, tensors(1, *SIZE)], 1)), **options)
    assert blind[0].parameters["class_blind"] and not own[0].parameters["class_blind"]
    assert blind[0].extras["alpha_wrong_min"] < 0.5 < own[0].extras["alpha_predicted"]
    assert blind[0].extras["alpha_predicted"] == own[0].extras["alpha_predicted"]
    assert own[1].extras["g_wrong_mean"] > blind[1].extras["g_wrong_mean"]  # its own map proves too much of the second label
    assert own[1].values < blind[1].values
