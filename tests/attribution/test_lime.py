"""LIME: the regression is the one written down, its terms are found, an image does not depend on its batch."""

import math
from functools import partial

import pytest
import torch

from saliency_ext.attribution._least_squares import ridge_solution
from saliency_ext.attribution.lime import LIME, cosine_weights, weighted_ridge
from saliency_ext.attribution.segment_mean import SegmentMean
from saliency_ext.infill import UniformNoise
from saliency_ext.segmentation import given, grid
from tests.attribution.games import (
    MIXED,
    NOTHING,
    game_model,
    images_with_labels,
    painted_labels,
    pixels,
    players,
    smooth_model,
    tensors,
)


def additive(terms):
    """Logits (B, T): a constant plus the terms (K, T) of the kept pixels."""
    return lambda images: 3.0 + (images.flatten(1) > 0.5).to(terms.dtype) @ terms


def coefficients(terms, **options):
    method = LIME(additive(terms), NOTHING, pixels, score="logit", **options)
    return method(players(len(terms)), torch.arange(terms.shape[1])[None])[0, :, 0].T


def random_coalitions(rows, columns, seed=0):
    coalitions = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) < 0.5
    coalitions[0] = True
    return coalitions


def test_cosine_kernel_by_hand():
    coalitions = torch.tensor([[1, 1, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]]) > 0
    expected = [1.0, math.exp(-(0.5**2) / (2 * 0.25**2)), math.exp(-1 / (2 * 0.25**2))]  # distances 0, 1 - 1/2, 1
    torch.testing.assert_close(cosine_weights(coalitions, 0.25), torch.tensor(expected, dtype=torch.float64))
    published = math.sqrt(math.exp(-(0.5**2) / 0.25**2))
    assert abs(cosine_weights(coalitions, 0.25)[1] - published) < 1e-15


@pytest.mark.parametrize(("rows", "columns"), [(30, 6), (6, 30), (7, 7), (2, 1)])
@pytest.mark.parametrize("ridge", [1.0, 0.01])
def test_regression_solves_the_normal_equations_with_a_free_intercept(rows, columns, ridge):
    coalitions, scores = random_coalitions(rows, columns), tensors(rows, 2, seed=1)
    weights = tensors(rows, seed=2) + 0.5
    result = weighted_ridge(coalitions, scores, weights, ridge)
    design = torch.cat([torch.ones(rows, 1), coalitions.double()], 1).double()
    penalty = torch.diag(torch.tensor([0.0] + [ridge] * columns, dtype=torch.float64))
    expected = torch.linalg.solve(design.T @ (weights[:, None] * design) + penalty, design.T @ (weights[:, None] * scores))
    torch.testing.assert_close(result, expected[1:], rtol=1e-9, atol=1e-11)


def test_regression_is_scikit_learns():
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    coalitions, scores, weights = random_coalitions(40, 9), tensors(40, 2, seed=1), tensors(40, seed=2) + 0.5
    peer = linear_model.Ridge(alpha=1.0).fit(coalitions.numpy(), scores.numpy(), sample_weight=weights.numpy())
    torch.testing.assert_close(weighted_ridge(coalitions, scores, weights, 1.0), torch.from_numpy(peer.coef_).T)


@pytest.mark.parametrize(("rows", "columns"), [(5, 9), (9, 5)])
@pytest.mark.parametrize("seed", range(6))
def test_without_ridge_the_least_norm_is_taken(rows, columns, seed):
    design = tensors(rows, columns, seed=seed)
    design[:, 1] = design[:, 0]
    design[3] = design[1] - 2 * design[2]
    outputs = tensors(rows, 2, seed=1)
    torch.testing.assert_close(ridge_solution(design, outputs, 0.0), torch.linalg.pinv(design) @ outputs)
    nearly = ridge_solution(design, outputs, 1e-9)
    torch.testing.assert_close(nearly, ridge_solution(design, outputs, 0.0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", ["cosine", "none"])
def test_terms_of_an_additive_score_are_found(kernel):
    terms = tensors(8, 3)
    exact = coefficients(terms, ridge=0.0, samples=60, kernel=kernel)
    torch.testing.assert_close(exact, terms, rtol=0, atol=1e-11)
    errors = [(coefficients(terms, samples=samples, kernel=kernel) - terms).norm() for samples in (50, 500, 5000)]
    assert errors[1] < errors[0] / 3 and errors[2] < errors[1] / 3  # the ridge counts less and less
    shrunk = [coefficients(terms, samples=50, ridge=ridge, kernel=kernel).norm() for ridge in (0.1, 1.0, 10.0, 1e6)]
    assert shrunk == sorted(shrunk, reverse=True) and shrunk[-1] < 1e-3


def test_kernel_decides_what_is_near():
    """On a product, near the full image each part seems to count fully; over all coalitions, by its mean effect."""
    table = torch.zeros(2**4, 1, dtype=torch.float64)
    table[-1] = 1.0
    maps = {
        width: LIME(game_model(table), NOTHING, pixels, score="logit", ridge=0.0, width=width, samples=4000)(players(4), 0)
        for width in (0.05, 100.0)
    }
    assert (maps[0.05] > 0.6).all() and ((maps[100.0] - 0.125).abs() < 0.03).all()
    unweighted = LIME(game_model(table), NOTHING, pixels, score="logit", ridge=0.0, kernel="none", samples=4000)(players(4), 0)
    torch.testing.assert_close(maps[100.0], unweighted, rtol=0, atol=1e-3)


def test_first_coalition_is_full_and_the_others_keep_half():
    seen = []

    def model(images):
        seen.append(images.flatten(1).clone())
        return images.flatten(1)

    LIME(model, NOTHING, pixels, samples=640, max_batch=64)(players(20), 0)
    kept = torch.cat(seen)
    assert kept[0].all() and set(kept.unique().tolist()) == {0.0, 1.0}
    assert abs(kept[1:640].mean() - 0.5) < 0.02
    assert (kept[1:640].mean(0) - 0.5).abs().max() < 0.08


def test_segment_mean_is_the_colour_of_the_segment():
    images = images_with_labels(MIXED)
    filled = SegmentMean(painted_labels).fill(images, torch.arange(5))
    for n, labels in enumerate(MIXED):
        for label in labels.unique().tolist():
            where = labels == label
            colours = images[n][:, where]
            expected = colours if label == -1 else colours.mean(1, keepdim=True).expand_as(colours)
            torch.testing.assert_close(filled[n][:, where], expected)
    for n in range(5):
        assert torch.equal(SegmentMean(painted_labels).fill(images[n : n + 1], torch.tensor([n]))[0], filled[n])
    infill = SegmentMean(painted_labels)
    assert infill.parameters == {"segmenter": "painted_labels"} and infill.key != SegmentMean(pixels).key
    assert infill.fill(images[:0], torch.arange(0)).shape == (0, 2, 2, 3)
    blank = torch.full((1, 2, 3), -1)
    assert torch.equal(SegmentMean(lambda x: blank).fill(images[:1], torch.arange(1)), images[:1])


def test_flat_segments_have_no_value_under_their_own_mean():
    images = torch.nn.functional.interpolate(tensors(2, 2, 2, 2), scale_factor=3)
    quarters = partial(grid, cells=2)

    def model(x):
        return x.flatten(1).square().cumsum(1)[:, :20]

    assert LIME(model, SegmentMean(quarters), quarters, samples=20)(images, 7).abs().max() < 1e-12
    assert LIME(model, NOTHING, quarters, samples=20)(images, 7).abs().max() > 1e-3


@pytest.mark.parametrize("max_batch", [1, 5, 64])
def test_a_batch_of_different_segmentations_is_the_single_images(max_batch):
    images, ids, targets = images_with_labels(MIXED), torch.tensor([5, 2, 9, 4, 7]), torch.tensor([0, 1, 2, 0, 1])
    for infill in (UniformNoise(-1.0, 1.0, seed=0, draws=2), SegmentMean(painted_labels)):
        method = LIME(smooth_model, infill, painted_labels, samples=30, max_batch=max_batch)
        together = method(images, targets, sample_ids=ids)
        for n in range(5):
            assert torch.equal(method(images[n : n + 1], targets[n : n + 1], sample_ids=ids[n : n + 1])[0], together[n]), n
        assert together[2].abs().max() == 0 and together[3][0, 2] == 0  # no segment
        assert together[0][0, 0] == together[0][0, 1] != together[0][0, 2]


def test_targets_share_the_forwards():
    table, targets = tensors(2**5, 4), torch.tensor([[3, 0, 1]])
    model = game_model(table)
    method = LIME(model, NOTHING, pixels, samples=16, max_batch=8)
    several, calls = method(players(5), targets), model.calls
    for t in range(3):
        torch.testing.assert_close(method(players(5), targets[:, t]), several[:, t])
    assert calls <= 2
    named = LIME(model, NOTHING, pixels, samples=16)(players(5), "top-2")
    assert torch.equal(named, LIME(model, NOTHING, pixels, samples=16)(players(5), table[-1].topk(2).indices[None]))


def test_per_pixel_divides_by_the_area_and_seeds_matter():
    images = images_with_labels(MIXED[[0, 3]])
    whole = LIME(smooth_model, NOTHING, painted_labels, samples=40)(images, 1)
    shared = LIME(smooth_model, NOTHING, painted_labels, samples=40, per_pixel=True)(images, 1)
    torch.testing.assert_close(shared * torch.tensor([[[2, 2, 2], [2, 2, 2]], [[1, 3, 1], [1, 3, 3]]]), whole)
    assert torch.equal(LIME(smooth_model, NOTHING, painted_labels, samples=40)(images, 1), whole)
    assert not torch.equal(LIME(smooth_model, NOTHING, painted_labels, samples=40, seed=1)(images, 1), whole)


def test_samples_are_a_prefix_of_more_samples():
    """So that adding samples refines an estimate instead of drawing another; also across blocks of draws."""
    seen = []

    def model(images):
        seen.append(images.flatten(1).clone())
        return images.flatten(1)

    for samples in (300, 600):
        LIME(model, NOTHING, pixels, samples=samples, max_batch=1000)(players(12), 0)
    rows = [list(dict.fromkeys(map(tuple, part.tolist()))) for part in seen]  # duplicates are asked once
    assert rows[1][: len(rows[0]) - 1] == rows[0][:-1]


def test_empty_batches_and_constant_models():
    images = images_with_labels(MIXED)
    assert LIME(smooth_model, NOTHING, painted_labels)(images[:0], 0).shape == (0, 2, 3)
    flat = LIME(lambda x: torch.ones(len(x), 2, dtype=x.dtype), NOTHING, painted_labels, samples=10)(images, 0)
    assert flat.abs().max() < 1e-15
    uncovered = LIME(smooth_model, NOTHING, lambda x: given(torch.full((5, 2, 3), -1)), samples=10)(images, "predicted")
    assert uncovered.abs().max() == 0


def test_a_hundred_thousand_segments():
    images = torch.ones(1, 1, 320, 320, dtype=torch.float64)
    method = LIME(lambda x: x.sum((1, 2, 3))[:, None], NOTHING, pixels, samples=9, score="logit", max_batch=8)
    assert method(images, 0).isfinite().all()


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="LIME: expected width > 0 and finite, got 0"):
        LIME(smooth_model, NOTHING, pixels, width=0)
    with pytest.raises(ValueError, match="LIME: expected ridge >= 0 and finite, got -1"):
        LIME(smooth_model, NOTHING, pixels, ridge=-1)
    with pytest.raises(ValueError, match="LIME: expected kernel to be one of 'cosine', 'none', got 'l2'"):
        LIME(smooth_model, NOTHING, pixels, kernel="l2")
    with pytest.raises(ValueError, match=r"LIME: expected samples in \[2, 2147483647\], got 1"):
        LIME(smooth_model, NOTHING, pixels, samples=1)
    with pytest.raises(ValueError, match="LIME: expected seed in"):
        LIME(smooth_model, NOTHING, pixels, seed=-1)
