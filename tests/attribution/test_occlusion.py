"""Occlusion against naive loops and closed forms."""

import math
from functools import partial

import pytest
import torch

from saliency_ext.attribution.occlusion import Occlusion
from saliency_ext.infill import Constant, UniformNoise
from tests.helpers import conv_net
from tests.helpers import tensors as random_tensor

tensors = partial(random_tensor, low=-0.4)


def make_model(channels=3, classes=5):
    return conv_net(16, classes, channels=channels, batch_norm=True, pooled=True)


def naive(score, image, infill, window, stride):
    """Mean over covering windows of score(image) - score(covered), by loops; image (C, H, W), score of (1, C, H, W)."""
    height, width = image.shape[1:]
    total, count = torch.zeros(height, width, dtype=torch.float64), torch.zeros(height, width, dtype=torch.float64)
    for i in range(math.ceil((height - window[0]) / stride[0]) + 1):
        for j in range(math.ceil((width - window[1]) / stride[1]) + 1):
            area = slice(i * stride[0], i * stride[0] + window[0]), slice(j * stride[1], j * stride[1] + window[1])
            covered = image.clone()
            covered[(slice(None), *area)] = infill[(slice(None), *area)]
            total[area] += float(score(image[None]) - score(covered[None]))
            count[area] += 1
    assert count.min() >= 1
    return total / count


@pytest.mark.parametrize(
    ("size", "window", "stride"),
    [((9, 12), (3, 4), (2, 3)), ((8, 8), (8, 8), (1, 1)), ((5, 7), (1, 1), (1, 1)), ((10, 11), (4, 3), (3, 3))],
)
@pytest.mark.parametrize("score", ["probability", "logit", "log_probability"])
def test_is_the_naive_loop(size, window, stride, score):
    model, images = make_model(), tensors(2, 3, *size)
    rules = {"probability": lambda z: z.softmax(1), "logit": lambda z: z, "log_probability": lambda z: z.log_softmax(1)}
    method = Occlusion(model, Constant((0.1, 0.0, -0.3)), window=window, stride=stride, score=score, max_batch=16)
    saliency = method(images, torch.tensor([4, 1]))
    infill = torch.tensor([0.1, 0.0, -0.3]).view(3, 1, 1).expand(3, *size)
    for n, target in enumerate((4, 1)):
        with torch.no_grad():
            expected = naive(lambda x, t=target: rules[score](model(x))[0, t], images[n], infill, window, stride)
        torch.testing.assert_close(saliency[n].double(), expected, rtol=1e-4, atol=2e-6)


def test_linear_model_is_the_mean_of_window_sums():
    images, weights = tensors(2, 3, 10, 13, dtype=torch.float64), tensors(4, 3, 10, 13, seed=1, dtype=torch.float64)
    model = lambda x: torch.einsum("nchw,kchw->nk", x, weights)  # noqa: E731
    saliency = Occlusion(model, Constant(0.25), window=4, stride=3, score="logit")(images, 2)
    terms = (weights[2] * (images - 0.25)).sum(1)  # w (x - b): covering a window takes away its terms
    for n in range(2):
        total, count = torch.zeros(10, 13, dtype=torch.float64), torch.zeros(10, 13, dtype=torch.float64)
        for top in (0, 3, 6):
            for left in (0, 3, 6, 9):
                total[top : top + 4, left : left + 4] += terms[n, top : top + 4, left : left + 4].sum()
                count[top : top + 4, left : left + 4] += 1
        torch.testing.assert_close(saliency[n], total / count, rtol=0, atol=1e-12)


def test_example_by_hand_and_polarity():
    # Values 1 5 0 0 2, windows of 2 at stride 2: [0, 2), [2, 4), [4, 5) (clipped). Falls of their sum: 6, 0, 2.
    image = torch.tensor([[[[1.0, 5.0, 0.0, 0.0, 2.0]]]])
    total = lambda x: torch.stack([x.sum((1, 2, 3)), -x.sum((1, 2, 3))], 1)  # noqa: E731
    method = Occlusion(total, Constant(0.0), window=(1, 2), stride=(1, 2), score="logit")
    assert torch.equal(method(image, 0), torch.tensor([[[6.0, 6.0, 0.0, 0.0, 2.0]]]))
    assert torch.equal(method(image, 1), -method(image, 0))


def test_a_pixel_that_decides_is_found_and_nothing_else():
    model = lambda x: torch.stack([x[:, 0, 5, 8], -x[:, 0, 5, 8]], 1)  # noqa: E731
    saliency = Occlusion(model, Constant(0.0), window=3, stride=1)(torch.ones(1, 1, 9, 12), 0)[0]
    assert saliency.flatten().argmax() == 5 * 12 + 8
    seen = torch.zeros(9, 12, dtype=torch.bool)
    seen[3:8, 6:11] = True  # pixels that share a window with it
    assert (saliency[seen] > 0).all() and (saliency[~seen] == 0).all()


def test_is_exactly_zero_where_nothing_can_change():
    constant = lambda x: torch.tensor([[0.3, 0.1]]).expand(len(x), 2)  # noqa: E731
    assert (Occlusion(constant, Constant(0.0), window=3)(tensors(2, 3, 8, 8), 0) == 0).all()
    assert (Occlusion(make_model(), Constant(0.5), window=3)(torch.full((1, 3, 8, 8), 0.5), 0) == 0).all()


def covered_by(size, **options):
    """Removed areas that a model sees: (probes, H, W) bool, the clean image first."""
    seen = []
    Occlusion(lambda x: seen.append(x[:, 0] == 0) or x.flatten(1)[:, :2], Constant(0.0), max_batch=1, **options)(
        torch.ones(1, 1, *size), 0
    )
    return torch.cat(seen)


def test_default_windows_are_a_seventh_at_half_steps():
    removed = covered_by((28, 56))
    assert removed.flatten(1).sum(1).tolist() == [0] + [4 * 8] * (13 * 13)
    assert removed[1, :4, :8].all() and removed[2, :4, 4:12].all() and removed[14, 2:6, :8].all()
    assert removed[1:].sum(0)[2:-2, 4:-4].eq(4).all()


def test_the_last_window_is_clipped_and_starts_on_the_grid():
    removed = covered_by((1, 10), window=(1, 4), stride=(1, 3))
    spans = [(row.nonzero()[0].item(), row.nonzero()[-1].item() + 1) for row in removed[1:, 0]]
    assert spans == [(0, 4), (3, 7), (6, 10)]
    removed = covered_by((1, 11), window=(1, 4), stride=(1, 3))
    spans = [(row.nonzero()[0].item(), row.nonzero()[-1].item() + 1) for row in removed[1:, 0]]
    assert spans == [(0, 4), (3, 7), (6, 10), (9, 11)]


def test_targets_share_the_forwards_and_are_the_single_ones():
    calls = []
    model = make_model()
    method = Occlusion(lambda x: calls.append(len(x)) or model(x), Constant(0.0), window=4, stride=4, max_batch=17)
    images, classes = tensors(1, 3, 16, 16), torch.tensor([[0, 3, 3, 2]])
    several = method(images, classes)
    assert several.shape == (1, 4, 16, 16) and calls == [17]
    for t in range(4):
        assert torch.equal(several[:, t], method(images, classes[:, t]))


def test_an_image_has_the_same_map_in_any_batch():
    model, images, ids = make_model(), tensors(5, 3, 9, 8), torch.tensor([7, 3, 9, 1, 4])
    infill = UniformNoise(-1.0, 1.0, seed=3, draws=2)
    together = Occlusion(model, infill, window=3, stride=2, max_batch=16)(images, 1, sample_ids=ids)
    for order in ([3], [4, 0], [2, 1, 0]):
        part = Occlusion(model, infill, window=3, stride=2, max_batch=16)(images[order], 1, sample_ids=ids[order])
        assert torch.equal(part, together[order])
    other = Occlusion(model, infill, window=3, stride=2, max_batch=7)(images, 1, sample_ids=ids)
    torch.testing.assert_close(other, together, rtol=1e-4, atol=1e-6)
    channels_last = images.to(memory_format=torch.channels_last)
    sliced = torch.cat([images, images], 3)[..., :8]
    for same in (channels_last, sliced):
        assert torch.equal(Occlusion(model, infill, window=3, stride=2, max_batch=16)(same, 1, sample_ids=ids), together)


def test_draws_of_the_infill_are_averaged():
    model, images, ids = make_model(), tensors(1, 3, 8, 8), torch.tensor([5])
    noise = [UniformNoise(-1.0, 1.0, seed=3, draws=3).fill(images, ids, draw)[0] for draw in range(3)]
    with torch.no_grad():
        expected = [naive(lambda x: model(x).softmax(1)[0, 2], images[0], fill, (4, 4), (2, 2)) for fill in noise]
    method = Occlusion(model, UniformNoise(-1.0, 1.0, seed=3, draws=3), window=4, stride=2)
    saliency = method(images, 2, sample_ids=ids)[0]
    torch.testing.assert_close(saliency.double(), torch.stack(expected).mean(0), rtol=1e-4, atol=1e-6)


def test_more_windows_than_one_block():
    images = tensors(1, 1, 30, 30, dtype=torch.float64)
    saliency = Occlusion(lambda x: x.flatten(1), Constant(0.0), window=1, stride=1, score="logit", max_batch=50)(images, 31)
    expected = torch.zeros(30, 30, dtype=torch.float64)
    expected[1, 1] = images[0, 0, 1, 1]
    assert torch.equal(saliency[0], expected)


def test_the_model_and_the_surroundings_are_left_as_they_were():
    model, images, state = make_model().train(), tensors(2, 3, 8, 8), torch.get_rng_state()
    before, kept = {name: value.clone() for name, value in model.state_dict().items()}, images.clone()
    with pytest.warns(RuntimeWarning, match="training mode"):
        expected = Occlusion(model, Constant(0.0))(images, 1)
    with pytest.warns(RuntimeWarning), pytest.raises(ValueError, match=r"classes in \[0, 5\), got 5"):
        Occlusion(model, Constant(0.0))(images, 5)
    assert model.training and torch.equal(images, kept) and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()
    with torch.inference_mode():
        assert torch.equal(Occlusion(model, Constant(0.0))(images.clone(), 1), expected)
    assert torch.equal(Occlusion(model, Constant(0.0))(images.clone().requires_grad_(), 1), expected)
    assert not expected.requires_grad


def test_empty_batch_and_bad_arguments():
    model, infill = make_model(), Constant(0.0)
    assert Occlusion(model, infill)(torch.zeros(0, 3, 8, 6), 1).shape == (0, 8, 6)
    assert Occlusion(model, infill)(tensors(1, 3, 8, 6, dtype=torch.float64).float(), "top-2").shape == (1, 2, 8, 6)
    with pytest.raises(TypeError, match="Occlusion: expected infill to be an Infill, got float, .*infill.Constant"):
        Occlusion(model, 0.0)
    with pytest.raises(ValueError, match="Occlusion: expected score to be one of 'probability'.*got 'odds'"):
        Occlusion(model, infill, score="odds")
    with pytest.raises(TypeError, match=r"Occlusion: expected window to be an int, or a tuple of two, got \[3, 3\]"):
        Occlusion(model, infill, window=[3, 3])
    with pytest.raises(ValueError, match=r"Occlusion: expected stride in \[1, 2147483647\], got 0"):
        Occlusion(model, infill, stride=(1, 0))
    with pytest.raises(ValueError, match="Occlusion: expected window at most 6, the width of the inputs, got 7"):
        Occlusion(model, infill, window=7)(torch.zeros(1, 3, 8, 6), 1)
    with pytest.raises(ValueError, match="Occlusion: expected stride at most 2, the window, got 3; pixels between windows"):
        Occlusion(model, infill, window=2, stride=3)(torch.zeros(1, 3, 8, 6), 1)
