"""RISE by regression: the naive regression on stored masks, the covariance of the design, fewer masks for the same map."""

import pytest
import torch

from saliency_ext.attribution._adaptive_budget import group_of
from saliency_ext.attribution._rise_estimators import RegressionEstimator
from saliency_ext.attribution._rise_masks import MaskSampler, MaskSums, upsampling
from saliency_ext.attribution.rise import RISE
from saliency_ext.infill import Constant

SIZE, GRID = (10, 13), (3, 4)


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn(count, keep=0.5, sampling="random", size=SIZE, grid=GRID, seed=0):
    return MaskSampler(grid, size, keep, seed, sampling).draw(count)


def estimator(grids, shifts, keep=0.5, size=SIZE):
    return RegressionEstimator(MaskSums(grids, shifts, size, "mirror"), grids, shifts, keep)


def stored(grids, shifts, size=SIZE):
    """Masks (n, H, W) float64, from the interpolation weights."""
    rows, columns = grids.shape[1:]
    down, across = upsampling(rows, size[0], "mirror"), upsampling(columns, size[1], "mirror")
    down, across = down.view(size[0], -1, rows), across.view(size[1], -1, columns)
    masks = [down[:, y] @ g.double() @ across[:, x].T for g, (y, x) in zip(grids, shifts.tolist(), strict=True)]
    return torch.stack(masks)


def covariance(keep, size=SIZE, grid=GRID):
    """(H, W, H, W): mean over all shifts of keep (1 - keep) times the products of the cells' weights, cell by cell."""
    down, across = upsampling(grid[0], size[0], "mirror"), upsampling(grid[1], size[1], "mirror")
    down, across = down.view(size[0], -1, grid[0]), across.view(size[1], -1, grid[1])
    total, shifts = torch.zeros(*size, *size, dtype=torch.float64), 0
    for y in range(down.shape[1]):
        for x in range(across.shape[1]):
            weights = torch.einsum("ar,bc->abrc", down[:, y], across[:, x])
            total += torch.einsum("abrc,derc->abde", weights, weights) * keep * (1 - keep)
            shifts += 1
    return total / shifts


def naive_map(scores, masks, keep):
    """Ridge regression with an intercept on every second pixel (cells are 4 pixels), then the covariance of the design."""
    places = masks[:, ::2, ::2].flatten(1)
    centred = places - places.mean(0)
    ridge = centred.square().sum() / len(places)
    design = torch.cat([torch.ones(len(places), 1, dtype=torch.float64), places], 1)
    penalty = torch.cat([torch.zeros(1, dtype=torch.float64), ridge.expand(places.shape[1])]).diag()
    slopes = torch.linalg.solve(design.T @ design + penalty, design.T @ scores)[1:]
    return (covariance(keep)[:, :, ::2, ::2].flatten(2) @ slopes) / keep


@pytest.mark.parametrize("keep", [0.5, 0.2])
def test_map_and_jackknife_are_the_naive_ones(keep):
    grids, shifts = drawn(600, keep)  # more than are made at a time
    masks, scores = stored(grids, shifts), uniform(600, seed=2) + 5.0
    ours = estimator(grids, shifts, keep)
    torch.testing.assert_close(ours.map(scores), naive_map(scores, masks, keep), rtol=0, atol=1e-9)
    torch.testing.assert_close(ours.map(scores[:31]), naive_map(scores[:31], masks[:31], keep), rtol=0, atol=1e-9)
    torch.testing.assert_close(ours.map(scores, every=3), naive_map(scores, masks, keep)[::3, ::3], rtol=0, atol=1e-9)
    group = group_of(600, 5)
    without = torch.stack([naive_map(scores[group != k], masks[group != k], keep) for k in range(5)])
    expected = ((without - without.mean(0)).square().sum(0) * 4 / 5).sqrt()
    torch.testing.assert_close(ours.standard_error(scores, 5), expected, rtol=0, atol=1e-9)
    noise = expected.square().mean().sqrt() / ours.map(scores).std(unbiased=False)
    assert ours.relative_noise(scores, 5) == pytest.approx(float(noise), rel=1e-9)


@pytest.mark.parametrize("keep", [0.5, 0.2])
def test_covariance_of_the_design_is_that_of_many_masks(keep):
    masks = stored(*drawn(20000, keep)).flatten(1)
    result = torch.cov(masks.T, correction=0)
    exact = covariance(keep).view_as(result)
    assert (result - exact).abs().max() < 5 * float(exact.max()) * (2 / 20000) ** 0.5


def linear_in_the_mask(masks):
    """Scores that are a weighted sum of the mask's pixels, and what RISE tends to: their covariance with each pixel."""
    weights = uniform(*SIZE, seed=3) - 0.3
    return torch.einsum("nyx,yx->n", masks, weights), torch.einsum("abde,de->ab", covariance(0.5), weights) / 0.5


def test_tends_to_the_covariance_with_each_pixel():
    grids, shifts = drawn(4000)
    scores, truth = linear_in_the_mask(stored(grids, shifts))
    result = estimator(grids, shifts).map(scores)
    assert (result - truth).abs().max() < 0.01 * truth.abs().max()


@pytest.mark.parametrize("sampling", ["random", "antithetic", "sobol"])
def test_is_closer_than_the_centred_average_with_eight_times_the_masks(sampling):
    def error(weighting, masks, seed):
        model = lambda x: torch.einsum("nchw,hw->n", x, uniform(*SIZE, seed=3) - 0.3)[:, None]  # noqa: E731
        options = {"grid": GRID, "score": "logit", "weighting": weighting, "seed": seed, "max_batch": 512}
        result = RISE(model, Constant(0.0), masks=masks, sampling=sampling if weighting == "regressed" else "random", **options)
        return (result(torch.ones(1, 1, *SIZE, dtype=torch.float64), 0)[0] - truth).square().mean()

    _, truth = linear_in_the_mask(torch.zeros(1, *SIZE, dtype=torch.float64))
    few = sum(error("regressed", 128, seed) for seed in range(6))
    assert few < sum(error("centred", 1024, seed) for seed in range(6))


def test_masks_that_do_not_vary_and_scores_that_do_not_give_zero():
    grids, shifts = drawn(50)
    constant = torch.full((50,), 0.1, dtype=torch.float64)
    assert (estimator(grids, shifts).map(constant) == 0).all()
    assert estimator(grids, shifts).relative_noise(constant, 5) == 0.0
    full, shifts = drawn(50, keep=1.0)
    assert (estimator(full, shifts, keep=1.0).map(uniform(50)) == 0).all()
    assert (estimator(full[:1], shifts[:1]).map(uniform(1)) == 0).all()


def test_a_row_of_a_batch_is_the_row_alone_and_a_noisy_map_stops_late():
    options = {"masks": 1024, "grid": 3, "weighting": "regressed", "score": "logit", "max_batch": 100}
    model = lambda x: torch.stack([x[:, 0].mean((1, 2)), x[:, 0, 2, 2] * x[:, 0, 7, 7]], 1)  # noqa: E731
    images = uniform(3, 1, 9, 9)
    method = RISE(model, Constant(0.0), **options)
    both = method(images, torch.tensor([[0, 1]] * 3))
    assert torch.equal(both[1, 1], method(images[1:2], 1)[0]) and torch.equal(both[2, 0], method(images[2:], 0)[0])
    stopped = RISE(model, Constant(0.0), tolerance=0.1, **options).noise_floor(images, torch.tensor([[0, 1]] * 3))
    assert (stopped.masks[:, 0] < stopped.masks[:, 1]).all()  # the mean is linear in the mask, the product is not
    assert (stopped.relative[:, 0] <= 0.05).all()
