"""RISE against a loop over stored masks, closed forms, error laws; its presets, stop and noise floor."""

from functools import partial

import pytest
import torch

from saliency_ext.attribution._rise_masks import MaskSampler, upsampling
from saliency_ext.attribution.rise import PRESETS, RISE
from saliency_ext.infill import Constant, UniformNoise
from saliency_ext.reference import grid_weights
from tests.helpers import conv_net
from tests.helpers import tensors as random_tensor

tensors = partial(random_tensor, low=-0.4)


def make_model(channels=3, classes=5):
    return conv_net(16, classes, channels=channels, batch_norm=True, pooled=True)


def linear(weights, bias=0.0):
    return lambda x: torch.einsum("nchw,kchw->nk", x, weights.to(x)) + bias


def rendered(masks, grid, size, keep=0.5, seed=0, sampling="random", border="mirror"):
    sampler = MaskSampler(grid, size, keep, seed, sampling)
    return grid_weights(*sampler.draw(masks), *size, border == "mirror")


OPTIONS = [
    {},
    {"weighting": "mean", "score": "sigmoid", "border": "clamp"},
    {"weighting": "coverage", "score": "logit", "sampling": "sobol"},
    {"weighting": "centred", "score": "log_probability", "sampling": "antithetic", "keep": 0.3},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_is_the_loop_over_stored_masks(options):
    model, images, target = make_model(), tensors(2, 3, 9, 14), torch.tensor([4, 1])
    saliency = RISE(model, Constant(0.2), masks=60, grid=(3, 4), seed=5, max_batch=16, **options)(images, target)
    drawing = {key: options[key] for key in ("keep", "sampling", "border") if key in options}
    masks = rendered(60, (3, 4), (9, 14), seed=5, **drawing)
    rules = {"sigmoid": torch.sigmoid, "logit": lambda z: z, "log_probability": lambda z: z.log_softmax(1)}
    rule = rules.get(options.get("score"), lambda z: z.softmax(1))
    for n, image in enumerate(images):
        total, cover, scores = torch.zeros(9, 14).double(), torch.zeros(9, 14).double(), []
        for mask in masks:
            with torch.no_grad():
                scores.append(rule(model((mask * image + (1 - mask) * 0.2)[None]))[0, target[n]].double())
        mean = sum(scores) / len(scores) if options.get("weighting") == "centred" else 0.0
        for mask, score in zip(masks.double(), scores, strict=True):
            total += (score - mean) * mask
            cover += mask
        divisor = {None: 60 * 0.5, "mean": 60.0}.get(options.get("weighting"), cover)
        torch.testing.assert_close(saliency[n].double(), total / divisor, rtol=1e-4, atol=2e-6)


def test_linear_model_in_expectation():
    """E f M(u) = f(b) p + sum_v d(v) E M(u) M(v); E M(u) M(v) = p^2 + p (1 - p) K(u, v), K from the mean over the shifts."""
    size, grid, keep = (8, 12), (2, 3), 0.3
    images, weights = tensors(1, 2, *size, dtype=torch.float64), tensors(1, 2, *size, seed=1, dtype=torch.float64)
    weights[..., 6:] += 1  # two sides that differ: more signal than noise
    terms = (weights[0] * (images[0] - 0.25)).sum(0)
    kernels = []
    for cells, length in zip(grid, size, strict=True):
        weight = upsampling(cells, length, "mirror").view(length, -1, cells)
        kernels.append(torch.einsum("udc,vdc->uv", weight, weight) / weight.shape[1])
    bias = 0.1 - float((weights[0] * 0.25).sum() + keep * terms.sum())  # a small mean score: the noise of "plain" goes with it
    expected = 0.1 + (1 - keep) * kernels[0] @ terms @ kernels[1].T
    for weighting, sampling in (("plain", "random"), ("plain", "antithetic"), ("coverage", "random")):
        method = RISE(
            linear(weights, bias), Constant(0.25), masks=20000, grid=grid, keep=keep, weighting=weighting, sampling=sampling,
            score="logit", max_batch=2000,
        )  # fmt: skip
        floor = method.noise_floor(images, 0, groups=40)
        off = (floor.saliency[0] - expected) / floor.standard_error[0]
        assert off.square().mean().sqrt() < 1.6 and off.abs().max() < 4.5
        assert floor.standard_error.max() < 0.2 * expected.std()


def test_pixel_that_decides_and_polarity():
    model = lambda x: torch.stack([x[:, 0, 5, 17], -x[:, 0, 5, 17]], 1)  # noqa: E731
    method = RISE(model, Constant(0.0), masks=2000, grid=(4, 5), weighting="centred", score="logit", max_batch=500)
    saliency = method(torch.ones(1, 1, 16, 20), torch.tensor([[0, 1]]))[0]
    y, x = divmod(int(saliency[0].argmax()), 20)
    assert abs(y - 5) <= 2 and abs(x - 17) <= 2  # within its cell of 4 x 4
    torch.testing.assert_close(saliency[0], -saliency[1])
    far = saliency[0, 12:, :8].abs().max()
    assert saliency[0, 5, 17] > 0.2 and far < 0.05


def test_constant_model_is_exactly_flat():
    model = lambda x: torch.tensor([[0.1, 0.7]]).expand(len(x), 2)  # noqa: E731
    images, options = tensors(2, 3, 12, 12), {"masks": 100, "grid": 3, "score": "logit"}
    flat = RISE(model, Constant(0.0), weighting="coverage", **options)(images, 1)
    assert (flat == torch.tensor(0.7)).all()
    assert (RISE(model, Constant(0.0), weighting="centred", **options)(images, 1) == 0).all()
    plain = RISE(model, Constant(0.0), **options)(images, 1)
    assert plain.std() > 0.01 and torch.equal(plain[0], plain[1])  # the same masks for all images


def test_error_law_and_noise_floor():
    """Scores that do not depend on the mask: the variances of the docstring, seen over seeds, and estimated within one run."""
    masks, keep, seeds = 400, 0.3, 60
    scores = 0.5 + 0.05 * torch.randn(seeds * masks, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    maps = {"plain": [], "coverage": [], "centred": []}
    errors = {name: [] for name in maps}
    for name in maps:
        feed = iter(scores.split(masks))
        model = lambda x, feed=feed: next(feed)[:, None]  # noqa: E731
        for seed in range(seeds):
            method = RISE(
                model, Constant(0.0), masks=masks, grid=4, keep=keep, seed=seed, weighting=name, score="logit", max_batch=masks
            )
            floor = method.noise_floor(torch.zeros(1, 1, 12, 12, dtype=torch.float64), 0)
            maps[name].append(floor.saliency[0])
            errors[name].append(floor.standard_error[0])
    drawn = rendered(20000, (4, 4), (12, 12), keep).double()
    second, mean, spread = drawn.square().mean(0) / keep**2, scores.square().mean(), scores.var()
    law = {
        "plain": (mean * second - scores.mean() ** 2) / masks,
        "coverage": spread * second / masks,
        "centred": spread * (second - 1) / masks,
    }
    for name, variance in law.items():
        seen = torch.stack(maps[name]).var(0)
        assert float((seen / variance).mean().sqrt()) == pytest.approx(1, abs=0.08), name
        estimated = torch.stack(errors[name]).square().mean(0)
        assert float((estimated / variance).mean().sqrt()) == pytest.approx(1, abs=0.06), name
    ratio = (law["plain"] / law["centred"]).sqrt().mean()
    assert float(ratio) == pytest.approx(float(mean.sqrt() / spread.sqrt()), rel=0.02)  # what centring saves: rms f over sd f


def test_spread_sampling_lowers_the_error():
    images, weights = torch.ones(1, 1, 16, 16), tensors(1, 1, 4, 4, seed=4).repeat_interleave(4, 2).repeat_interleave(4, 3)

    def smooth(x):
        return linear(weights)(x).sigmoid() * 2

    def error(masks, sampling, weighting, seeds):
        options = {"grid": 4, "weighting": weighting, "score": "logit", "max_batch": 1024}
        truth = RISE(smooth, Constant(0.0), masks=16384, sampling="sobol", seed=99, **options)(images, 0)
        maps = [RISE(smooth, Constant(0.0), masks=masks, sampling=sampling, seed=s, **options)(images, 0) for s in range(seeds)]
        return float((torch.cat(maps) - truth).square().mean().sqrt())

    plain = error(256, "random", "plain", 8)
    assert error(256, "antithetic", "plain", 8) < 0.7 * plain
    assert error(256, "sobol", "plain", 8) < 0.5 * plain
    assert error(256, "sobol", "centred", 8) < 0.7 * error(256, "random", "centred", 8)


def test_a_map_does_not_depend_on_batch_targets_layout_or_surroundings():
    model, images, ids = make_model(), tensors(4, 3, 9, 8), torch.tensor([7, 3, 9, 1])
    classes, state = torch.tensor([[0, 3], [1, 1], [2, 4], [4, 0]]), torch.get_rng_state()
    for tolerance in (None, 0.5):
        method = RISE(
            model,
            UniformNoise(-1.0, 1.0, seed=3, draws=2),
            masks=700,
            grid=3,
            weighting="centred",
            max_batch=64,
            tolerance=tolerance,
        )
        together = method(images, classes, sample_ids=ids)
        for order in ([3], [2, 0, 1]):
            assert torch.equal(method(images[order], classes[order], sample_ids=ids[order]), together[order])
        assert torch.equal(method(images, classes[:, 1], sample_ids=ids), together[:, 1])
        sliced = torch.cat([images, images], 3)[..., :8]
        assert torch.equal(method(sliced.to(memory_format=torch.channels_last), classes, sample_ids=ids), together)
        with torch.inference_mode():
            assert torch.equal(method(images.clone(), classes, sample_ids=ids), together)
        assert torch.equal(method.noise_floor(images, classes, sample_ids=ids).saliency, together)
    other = RISE(model, UniformNoise(-1.0, 1.0, seed=3, draws=2), masks=700, grid=3, weighting="centred", max_batch=7)
    expected = RISE(model, UniformNoise(-1.0, 1.0, seed=3, draws=2), masks=700, grid=3, weighting="centred")(images, 2)
    torch.testing.assert_close(other(images, 2), expected, rtol=1e-3, atol=1e-6)
    assert torch.equal(torch.get_rng_state(), state)


def test_targets_share_the_forwards():
    calls, model = [], make_model()
    method = RISE(lambda x: calls.append(len(x)) or model(x), Constant(0.0), masks=96, grid=3, max_batch=32)
    assert method(tensors(2, 3, 8, 8), torch.tensor([[0, 1, 2], [2, 3, 4]])).shape == (2, 3, 8, 8)
    assert calls == [32] * 6


def test_tolerance_stops_quiet_maps_first():
    weights = torch.zeros(1, 1, 12, 12)
    weights[0, 0, 4:8, 4:8] = 1.0  # an object, and a score that is lost in noise
    images, calls = torch.ones(1, 1, 12, 12), []

    def model(x):
        calls.append(len(x))
        return torch.cat([linear(weights)(x), (1e4 * x.sum((1, 2, 3)))[:, None].sin()], 1)

    options = {"masks": 2048, "grid": 3, "weighting": "centred", "score": "logit", "max_batch": 128}
    floor = RISE(model, Constant(0.0), tolerance=0.1, **options).noise_floor(images, torch.tensor([[0, 1]]))
    quick, slow = floor.masks[0].tolist()
    assert quick % 256 == 0 and 256 <= quick < 2048 and slow == sum(calls) == 2048
    assert floor.relative[0, 0] < 0.15 and floor.relative[0, 1] > 0.3
    for target, masks in enumerate((quick, slow)):  # a map is that of the masks it used
        fixed = RISE(model, Constant(0.0), **(options | {"masks": masks}))(images, target)
        assert torch.equal(floor.saliency[:, target], fixed)
    calls.clear()
    RISE(model, Constant(0.0), tolerance=0.1, **options)(images, 0)
    assert sum(calls) == quick


def test_presets():
    model = make_model()
    published = {
        "rise": (4000, 7, 0.5),
        "rise_notebook": (6000, 8, 0.1),
        "rise_evaluation": (5000, 10, 0.1),
        "torchray": (8000, 7, 0.5),
    }
    assert set(published) == set(PRESETS)
    for name, (masks, grid, keep) in published.items():
        method = RISE.preset(name, model)
        assert (method.masks, method.grid, method.keep) == (masks, (grid, grid), keep)
        assert method.infill.key == Constant(0.0).key and method.border == "mirror" and method.sampling == "random"
        kind = ("mean", "sigmoid") if name == "torchray" else ("plain", "probability")
        assert (method.weighting, method.score) == kind
    changed = RISE.preset("rise", model, Constant(1.0), masks=10, weighting="centred")
    assert changed.masks == 10 and changed.weighting == "centred" and changed.infill.key == Constant(1.0).key
    with pytest.raises(ValueError, match=r"RISE.preset: expected name to be one of 'rise', .*got 'lime'"):
        RISE.preset("lime", model)


def test_the_model_is_left_as_it_was_also_after_an_error():
    model, images = make_model().train(), tensors(2, 3, 8, 8)
    before, kept = {name: value.clone() for name, value in model.state_dict().items()}, images.clone()
    with pytest.warns(RuntimeWarning, match="training mode"):
        RISE(model, Constant(0.0), masks=10)(images, 1)
    with pytest.warns(RuntimeWarning), pytest.raises(ValueError, match=r"classes in \[0, 5\), got 5"):
        RISE(model, Constant(0.0), masks=10)(images, 5)
    assert model.training and torch.equal(images, kept)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


BAD = [
    ({"masks": 0}, ValueError, r"RISE: expected masks in \[1, 2147483647\], got 0"),
    ({"grid": (3, 0)}, ValueError, r"RISE: expected grid in \[1, 32768\], got 0"),
    ({"grid": [3, 3]}, TypeError, r"RISE: expected grid to be an int, or a tuple of two, got \[3, 3\]"),
    ({"keep": 0.0}, ValueError, r"RISE: expected keep in \(0, 1\], got 0.0"),
    ({"keep": "half"}, TypeError, "RISE: expected keep to be a number, got str"),
    ({"seed": -1}, ValueError, "RISE: expected seed in"),
    (
        {"weighting": "none"},
        ValueError,
        "RISE: expected weighting to be one of 'plain', 'mean', 'coverage', 'centred', 'regressed', got 'none'",
    ),
    ({"sampling": "halton"}, ValueError, "RISE: expected sampling to be one of 'random', 'antithetic', 'sobol', got 'halton'"),
    ({"border": "wrap"}, ValueError, "RISE: expected border to be one of 'mirror', 'clamp', got 'wrap'"),
    ({"score": "odds"}, ValueError, "RISE: expected score to be one of .*'sigmoid', .*, got 'odds'"),
    ({"tolerance": 0}, ValueError, "RISE: expected tolerance > 0 and finite, got 0"),
    ({"infill": 0.0}, TypeError, "RISE: expected infill to be an Infill, got float"),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD)
def test_bad_arguments(options, error, text):
    with pytest.raises(error, match=text):
        RISE(make_model(), **({"infill": Constant(0.0)} | options))


def test_bad_groups_and_empty_batches():
    method = RISE(make_model(), Constant(0.0), masks=10, grid=3)
    with pytest.raises(ValueError, match=r"RISE.noise_floor: expected groups in \[2, 5\], got 6"):
        method.noise_floor(torch.zeros(1, 3, 8, 8), 0, groups=6)
    with pytest.raises(ValueError, match="RISE.noise_floor: expected masks at least 4, got 3"):
        RISE(make_model(), Constant(0.0), masks=3).noise_floor(torch.zeros(1, 3, 8, 8), 0)
    assert method(torch.zeros(0, 3, 8, 6), 0).shape == (0, 8, 6)
    floor = method.noise_floor(torch.zeros(0, 3, 8, 6), torch.zeros(0, 2, dtype=torch.int64), groups=3)
    assert floor.standard_error.shape == (0, 2, 8, 6) and floor.masks.shape == floor.relative.shape == (0, 2)
