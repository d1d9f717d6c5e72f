"""Rankings whose steps are drawn: looks with replacement, fresh steps at every look, and no certainty that is none."""

import torch

from saliency_ext import evaluate
from saliency_ext.evaluation._subsampling import random_draws, repetitions
from saliency_ext.infill import Constant
from saliency_ext.metrics import Deletion
from saliency_ext.perturbation import Engine, EqualFractions, StratifiedSteps
from saliency_ext.ranking import rank_methods

SIDE = 8
RAMP = torch.arange(1.0, SIDE * SIDE + 1).view(SIDE, SIDE)


def twins(pairs=20):
    """Images and their mirror images: what one map is worth on an image, the other is on its twin, so both means are equal."""
    images = torch.rand(pairs, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    inputs = torch.cat([images, images.flip(3)])
    return inputs, {"left first": RAMP.expand(2 * pairs, -1, -1), "right first": RAMP.flip(1).expand(2 * pairs, -1, -1)}


def model(x):
    """What it sees does not change when the image is mirrored."""
    middle = x[:, 0].sum(1)
    return torch.stack([(middle * middle.flip(1)).sum(1) / 20, torch.zeros(len(x))], 1)


def deletion(schedule):
    return Deletion(Constant(0.0), schedule)


def test_equal_means_are_not_told_apart_by_the_noise_of_the_steps():
    """Looked at once each, images with drawn steps would show a difference at the end, and it would be taken for the truth."""
    inputs, maps = twins()
    means = {}
    for name, schedule in (("grid", EqualFractions(16)), ("drawn", StratifiedSteps(2, 16))):
        results = evaluate(model, inputs, 0, maps, [deletion(schedule)])
        values = [results[each, "deletion"].values for each in maps]
        means[name] = float((values[0] - values[1]).mean())
        result = rank_methods(model, inputs, 0, maps, deletion(schedule))
        (pair,) = result.pairs
        assert not pair.decided and result.stopped == "all images" and result.images == 40
        assert pair.low < 0 < pair.high or name == "grid"
    assert abs(means["grid"]) < 1e-6 < 1e-3 < abs(means["drawn"])


def test_every_look_draws_steps_of_its_own():
    """The schedules that are asked for an image that comes again differ in their seed, and in nothing else."""
    inputs, maps = twins(2)
    requested = []

    class Watched(StratifiedSteps):
        def drawn(self, pixels, sample_ids):
            requested.append((self.seed, sample_ids.tolist()))
            return super().drawn(pixels, sample_ids)

    result = rank_methods(model, inputs, 0, maps, deletion(Watched(2, 16, seed=5)), seed=3, round_size=4, alpha=1e-6)
    order = random_draws(torch.arange(4), 3)
    wanted = sorted(zip((5 + repetitions(order)).tolist(), order.tolist(), strict=True))
    observations = {(seed, tuple(ids)) for seed, ids in requested}
    assert sorted((seed, each) for seed, ids in observations for each in ids) == wanted
    assert len(set(order.tolist())) < 4 == result.images


def test_the_mean_of_many_looks_is_that_of_the_whole_grid():
    generator = torch.Generator().manual_seed(4)
    inputs = torch.rand(600, 1, SIDE, SIDE, generator=generator)
    maps = {"best": inputs[:, 0], "noise": torch.rand(600, SIDE, SIDE, generator=generator)}
    engine = Engine(model, max_batch=32)
    result = rank_methods(model, inputs, 0, maps, deletion(StratifiedSteps(2, 16)), margin=1e-9, alpha=0.2, engine=engine)
    (pair,) = result.pairs
    full = evaluate(model, inputs, 0, maps, [deletion(EqualFractions(16))])
    mean = float((full["best", "deletion"].values - full["noise", "deletion"].values).mean())
    assert pair.low <= mean <= pair.high and pair.better == "best"


def test_draws():
    draws = random_draws(torch.arange(5000), 7)
    assert draws.shape == (5000,) and int(draws.min()) >= 0 and int(draws.max()) <= 4999
    seen = torch.bincount(draws, minlength=5000)
    assert 0.35 < float((seen == 0).double().mean()) < 0.39  # 1 / e
    assert not torch.equal(draws, random_draws(torch.arange(5000), 8)) and random_draws(torch.arange(0), 1).shape == (0,)
    assert random_draws(torch.arange(1), 0).tolist() == [0]
