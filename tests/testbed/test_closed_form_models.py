"""Planted models: their closed forms against brute force, and the axioms that single them out."""

from itertools import permutations

import pytest
import torch

from saliency_ext.attribution import Gradient, InputXGradient
from saliency_ext.testbed.closed_form_models import AdditiveModel, LinearModel, RectangleModel

N, K, SIZE = 3, 4, (2, 5, 6)


def tensors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def boxes():
    return torch.tensor([[0, 0, 2, 3], [1, 2, 5, 6], [4, 5, 5, 6], [0, 0, 5, 6]])


MODELS = {
    "linear": LinearModel(tensors(K, *SIZE), tensors(K, seed=1)),
    "squared": LinearModel(tensors(K, *SIZE), tensors(K, seed=1), squared=True),
    "additive": AdditiveModel(tensors(K, *SIZE), tensors(K, seed=1)),
    "rectangle": RectangleModel(boxes(), SIZE, gain=3.0).double(),
    "squared_rectangle": RectangleModel(boxes(), SIZE, gain=3.0, squared=True).double(),
    "pattern": RectangleModel(boxes(), SIZE, gain=5.0, pattern=tensors(K, *SIZE, seed=7)),
}
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def case():
    return tensors(N, *SIZE, seed=2), tensors(N, *SIZE, seed=3), torch.tensor([3, 0, 1])


def scored(model, images, target):
    return model(images).gather(1, target[:, None])[:, 0]


@every_model
def test_integrated_gradients_is_the_integral_of_the_gradient(model):
    inputs, infill, target = case()
    total = torch.zeros_like(inputs)
    steps = 400
    for step in range(steps):  # midpoint rule: exact where the gradient is linear along the path
        point = (infill + (step + 0.5) / steps * (inputs - infill)).requires_grad_()
        total += torch.autograd.grad(scored(model, point, target).sum(), point)[0]
    truth = model.integrated_gradients(inputs, infill, target)
    torch.testing.assert_close(truth, ((inputs - infill) * total / steps).sum(1), atol=1e-4, rtol=1e-4)
    change = scored(model, inputs, target) - scored(model, infill, target)
    torch.testing.assert_close(truth.sum((1, 2)), change)  # completeness


@every_model
def test_shapley_values_are_the_mean_over_all_orders(model):
    inputs, infill, target = case()
    segments = torch.stack([torch.randint(0, 4, SIZE[1:], generator=torch.Generator().manual_seed(n)) for n in range(N)])
    truth = model.shapley(inputs, infill, target, segments)
    expected, orders = torch.zeros(N, 4, dtype=torch.float64), list(permutations(range(4)))
    for order in orders:
        present = torch.zeros(N, 1, *SIZE[1:], dtype=torch.bool)
        before = scored(model, infill, target)
        for player in order:
            present = present | (segments == player)[:, None]
            after = scored(model, torch.where(present, inputs, infill), target)
            expected[:, player] += (after - before) / len(orders)
            before = after
    torch.testing.assert_close(truth, expected)


@every_model
def test_occlusion_is_the_drop_of_the_masked_forward(model):
    inputs, infill, target = case()
    remove = torch.rand(N, 5, *SIZE[1:], generator=torch.Generator().manual_seed(4)) < 0.4
    truth = model.occlusion(inputs, infill, target, remove)
    for m in range(5):
        masked = torch.where(remove[:, m, None], infill, inputs)
        torch.testing.assert_close(truth[:, m], scored(model, inputs, target) - scored(model, masked, target))


def test_by_hand():
    linear = LinearModel(torch.tensor([[[[1.0, 2.0]]], [[[3.0, -1.0]]]]), torch.tensor([0.5, 0.0]))
    ones, zeros = torch.ones(1, 1, 1, 2), torch.zeros(1, 1, 1, 2)
    assert linear(ones).tolist() == [[3.5, 2.0]]
    assert linear.integrated_gradients(ones, zeros, torch.tensor([1])).flatten().tolist() == [3, -1]
    squared = LinearModel(
        linear.weight, squared=True
    )  # (1 + 2)^2 = 9: shares 3 and 6; without the second pixel 1, so it drops by 8
    both = torch.tensor([[[[True, False]], [[False, True]]]])
    assert squared.occlusion(ones, zeros, torch.tensor([0]), both).tolist() == [[5, 8]]
    assert squared.shapley(ones, zeros, torch.tensor([0]), torch.tensor([[[0, 1]]])).tolist() == [[3, 6]]


def test_gradient_methods_agree_where_they_must_and_only_there():
    inputs, _, target = case()
    zeros = torch.zeros_like(inputs)
    for name in ("linear", "rectangle", "pattern"):
        model = MODELS[name]
        truth = model.integrated_gradients(inputs, zeros, target)
        torch.testing.assert_close(InputXGradient(model)(inputs, target), truth)
    for name in ("additive", "squared"):
        model = MODELS[name]
        truth = model.integrated_gradients(inputs, zeros, target)
        assert (InputXGradient(model)(inputs, target) - truth).abs().max() > 0.1


@pytest.mark.parametrize("name", ["rectangle", "squared_rectangle", "pattern"])
def test_nothing_outside_the_rectangle_counts(name):
    model = MODELS[name]
    inputs, infill, target = case()
    outside = ~model.regions[target]
    assert torch.equal(model.regions.flatten(1).sum(1), torch.tensor([6, 16, 1, 30]))
    assert bool((model.regions[1, 1:5, 2:6]).all())
    changed = torch.where(outside[:, None], infill, inputs)
    torch.testing.assert_close(scored(model, changed, target), scored(model, inputs, target))
    assert not bool(model.integrated_gradients(inputs, infill, target)[outside].any())
    assert not bool(model.occlusion(inputs, infill, target, outside[:, None]).any())
    assert not bool(Gradient(model)(inputs, target)[outside].any())


def test_rectangle_reads_the_mean_and_the_pattern_reads_itself():
    inputs, _, _ = case()
    means = [inputs[:, :, t:b, left:r].mean((1, 2, 3)) for t, left, b, r in boxes().tolist()]
    torch.testing.assert_close(MODELS["rectangle"](inputs), 3 * torch.stack(means, 1))
    own = MODELS["pattern"](tensors(K, *SIZE, seed=7)).diagonal()
    torch.testing.assert_close(own, torch.full((K,), 5.0, dtype=torch.float64))


def test_empty_batch_and_a_shared_infill():
    inputs, _, target = case()
    for model in MODELS.values():
        empty = inputs[:0]
        assert model(empty).shape == (0, K) and model.integrated_gradients(empty, empty, target[:0]).shape == (0, 5, 6)
        assert model.shapley(empty, empty, target[:0], torch.zeros(0, 5, 6, dtype=torch.int64)).shape == (0, 0)
        constant = tensors(1, 2, 1, 1, seed=5)
        whole = model.integrated_gradients(inputs, constant.expand_as(inputs), target)
        assert torch.equal(model.integrated_gradients(inputs, constant, target), whole)


def test_bad_arguments_are_refused():
    inputs, infill, target = case()
    model = MODELS["linear"]
    for call, text in (
        (lambda: LinearModel(torch.zeros(2, 3)), r"LinearModel: expected weight of shape \(K, C, H, W\), got \(2, 3\)"),
        (lambda: LinearModel(torch.zeros(2, 1, 1, 1), torch.zeros(3)), r"LinearModel: expected bias of shape \(K,\) = \(2,\)"),
        (lambda: model.integrated_gradients(inputs[:, :1], infill, target), "LinearModel: expected inputs of shape"),
        (lambda: model.integrated_gradients(inputs, infill, target + 1), r"LinearModel: expected target in \[0, 3\], got 4"),
        (lambda: model.shapley(inputs, infill, target, torch.zeros(N, 5, 5, dtype=torch.int64)), "shapley: expected segments of"),
        (lambda: model.shapley(inputs, infill, target, torch.full((N, 5, 6), -1)), r"segments in \[0, 29\], got -1"),
        (lambda: model.occlusion(inputs, infill, target, torch.ones(N, 5, 6).bool()), r"remove of shape \(N, M, H, W\)"),
        (
            lambda: RectangleModel(torch.tensor([[0, 0, 2, 2], [0, 0, 6, 2]]), SIZE),
            r"boxes not empty and inside 5 x 6, got \[0, 0, 6, 2\] at index 1",
        ),
        (lambda: RectangleModel(torch.tensor([[2, 0, 2, 2]]), SIZE), "RectangleModel: expected boxes not empty"),
        (lambda: RectangleModel(boxes(), SIZE, pattern=torch.zeros(1)), "RectangleModel: expected pattern of shape"),
    ):
        with pytest.raises(ValueError, match=text):
            call()
    with pytest.raises(TypeError, match="occlusion: expected remove of dtype bool, got float32"):
        model.occlusion(inputs, infill, target, torch.ones(N, 1, 5, 6))
