"""The stop rule of methods that draw coalitions: quiet maps stop first, and a map is that of the coalitions it used."""

import pytest
import torch

from saliency_ext.attribution import LIME, KernelSHAP
from saliency_ext.attribution._adaptive_budget import group_of, grown, jackknife_error, relative_noise
from saliency_ext.infill import UniformNoise
from tests.attribution.games import NOTHING, pixels, players, smooth_model, tensors

COUNT = 40
TERMS = torch.linspace(-1, 1, COUNT).double()


class Counted:
    """Two targets: a sum of terms, and the same lost in noise of the mask; counts the masked inputs."""

    def __init__(self):
        self.requested = 0

    def __call__(self, images):
        self.requested += len(images)
        kept = (images.flatten(1) > 0.5).double()
        chaos = 20 * (1e3 * kept @ torch.arange(1, COUNT + 1).double().sqrt()).sin()
        return torch.stack([kept @ TERMS + 0.02 * chaos, kept @ TERMS + 50 * chaos], 1)


def made(kind, model, **options):
    return kind(model, NOTHING, pixels, score="logit", max_batch=64, **({"ridge": 0.0} if kind is LIME else {}) | options)


@pytest.mark.parametrize(("kind", "lead"), [(LIME, 1), (KernelSHAP, 2)])
def test_quiet_maps_stop_first_and_are_those_of_fewer_samples(kind, lead):
    model, images, targets = Counted(), players(COUNT), torch.tensor([[0, 1]])
    result = made(kind, model, samples=2048, tolerance=0.1)(images, targets)
    whole = 2048 + (2 if kind is KernelSHAP else 0)
    assert whole <= model.requested <= whole + 64  # the noisy target needs all of them
    model.requested = 0
    alone = made(kind, model, samples=2048, tolerance=0.1)(images, 0)
    assert model.requested == 256 and torch.equal(alone, result[:, 0])
    fixed = made(kind, model, samples=256 if kind is LIME else 254)(images, 0)
    torch.testing.assert_close(alone, fixed, rtol=0, atol=1e-9)
    torch.testing.assert_close(result[:, 1], made(kind, model, samples=2048)(images, 1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", [LIME, KernelSHAP])
def test_the_noise_is_what_another_seed_changes(kind):
    """The relative noise at the stop is about the spread of maps of other seeds over that of the map."""
    images = players(COUNT)
    model = lambda x: Counted()(x) @ torch.tensor([[0.99], [0.01]]).double()  # noqa: E731
    maps = torch.stack([made(kind, model, samples=1024, seed=seed)(images, 0)[0] for seed in range(40)]).double()
    truth = float(maps.std(0).square().mean().sqrt() / maps.mean(0).std())
    method, seen = made(kind, model, samples=1024, seed=1), []
    method.tolerance = 1e-9
    kept, method._relative_noise = method._relative_noise, lambda *given: seen.append(kept(*given)) or seen[-1]
    method(images, 0)
    assert len(seen) == (1024 + method.lead - 1) // 256 - (kind is LIME)  # not asked when all are there
    at_768 = truth * (1024 / 768) ** 0.5
    assert 0.6 * at_768 < seen[2] < 1.6 * at_768 and seen[0] > seen[2]


@pytest.mark.parametrize("kind", [LIME, KernelSHAP])
def test_an_image_is_alone_in_any_batch(kind):
    images = tensors(4, 2, 4, 5)
    method = kind(smooth_model, UniformNoise(-1.0, 1.0, seed=3), pixels, samples=700, tolerance=0.4, max_batch=64)
    classes, ids = torch.tensor([[0, 1], [1, 1], [1, 0], [0, 0]]), torch.tensor([7, 3, 9, 1])
    together = method(images, classes, sample_ids=ids)
    for order in ([3], [2, 0, 1]):
        assert torch.equal(method(images[order], classes[order], sample_ids=ids[order]), together[order])
    assert torch.equal(method(images, classes[:, 1], sample_ids=ids), together[:, 1])


def test_few_coalitions_for_many_segments_do_not_stop():
    """300 segments: 256 coalitions leave the regression open, whatever the jackknife of what is left would say."""
    requested = []
    model = lambda x: requested.append(len(x)) or x.flatten(1).sum(1, keepdim=True)  # noqa: E731
    method = LIME(model, NOTHING, pixels, samples=1024, score="logit", tolerance=0.9)
    method(players(300), 0)
    assert 768 <= sum(requested) <= 1024


def test_all_coalitions_leave_nothing_to_chance():
    model = Counted()
    images = players(8)
    table = lambda x: torch.nn.functional.pad(x.flatten(1), (0, COUNT - 8))  # noqa: E731
    exact = KernelSHAP(lambda x: model(table(x)), NOTHING, pixels, score="logit", exact_up_to=8, tolerance=1e-6, max_batch=64)
    plain = KernelSHAP(lambda x: model(table(x)), NOTHING, pixels, score="logit", exact_up_to=8, max_batch=64)
    assert torch.equal(exact(images, 0), plain(images, 0))


def test_the_parts():
    without = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    torch.testing.assert_close(jackknife_error(without), torch.tensor([(2 / 3 * 2) ** 0.5, 0.0]))
    saliency, error = torch.tensor([[0.0, 2.0]]), torch.tensor([[0.5, 0.5]])
    assert float(relative_noise(saliency, error)) == 0.5 and float(relative_noise(saliency, 0 * error)) == 0.0
    groups = group_of(10, 2)
    assert groups.tolist() == [0] * 6 + [1] * 4 or groups.tolist() == [0] * 4 + [1] * 6
    calls = []

    def request(rows, part):
        calls.append((rows.tolist(), part.start, part.stop))
        return torch.ones(len(rows), 1, part.stop - part.start, dtype=torch.float64)

    blocks = [slice(0, 256), slice(256, 512), slice(512, 600)]
    scores, used = grown((2, 1), 600, 0.5, blocks, request, lambda n, seen: 0.5 if n == 0 and len(seen) == 256 else 0.6)
    assert used.tolist() == [[256], [600]] and float(scores[0].sum()) == 256
    assert calls == [([0, 1], 0, 256), ([1], 256, 512), ([1], 512, 600)]


@pytest.mark.parametrize("kind", [LIME, KernelSHAP])
@pytest.mark.parametrize("tolerance", [0, -1.0, float("nan"), float("inf")])
def test_tolerances_that_cannot_be(kind, tolerance):
    with pytest.raises(ValueError, match=f"{kind.__name__}: expected tolerance > 0 and finite"):
        made(kind, Counted(), tolerance=tolerance)
    with pytest.raises(TypeError, match="tolerance to be a number"):
        made(kind, Counted(), tolerance=True)
