"""Targets as users have them: read alike by methods, `evaluate` and whatever else takes one, or refused with the remedy."""

import numpy
import pytest
import torch

from saliency_ext import evaluate
from saliency_ext.attribution import Gradient, Occlusion, RandomControl
from saliency_ext.infill import Constant
from saliency_ext.metrics import Deletion
from saliency_ext.models import resolve_target

IMAGES = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
WEIGHTS = torch.rand(16, 3, generator=torch.Generator().manual_seed(1))

ONE_FOR_ALL = [
    1,
    numpy.int64(1),
    numpy.int32(1),
    numpy.uint8(1),
    torch.tensor(1),
    torch.tensor(1, dtype=torch.int32),
    numpy.array(1),
]
ONE_EACH = [
    [1, 1],
    (1, 1),
    [numpy.int64(1), 1],
    [torch.tensor(1), torch.tensor(1)],
    numpy.array([1, 1]),
    numpy.array([1, 1], dtype=numpy.int16),
    torch.tensor([1, 1]),
    torch.tensor([1, 1]).int(),
    torch.tensor([1, 1], dtype=torch.uint8),
]
SEVERAL = [[[0, 2], [1, 0]], numpy.array([[0, 2], [1, 0]]), torch.tensor([[0, 2], [1, 0]]).short()]


def model(inputs):
    return inputs.flatten(1) @ WEIGHTS


def uses():
    yield lambda target: Gradient(model)(IMAGES, target)
    yield lambda target: Occlusion(model, Constant(0.0), window=2, stride=2)(IMAGES, target)
    yield lambda target: RandomControl(0)(IMAGES, target)


@pytest.mark.parametrize("target", [*ONE_FOR_ALL, *ONE_EACH], ids=repr)
def test_one_class_is_read_alike(target):
    assert resolve_target(target, torch.zeros(2, 3)).tolist() == [1, 1]
    for use in uses():
        assert torch.equal(use(target), use(torch.tensor([1, 1])))
    metrics, maps = [Deletion(Constant(0.0))], torch.rand(2, 4, 4)
    result, right = (
        evaluate(model, IMAGES, each, maps, metrics)["map", "deletion"].values for each in (target, torch.tensor([1, 1]))
    )
    assert torch.equal(result, right)


@pytest.mark.parametrize("target", SEVERAL, ids=repr)
def test_several_classes_are_read_alike(target):
    assert resolve_target(target, torch.zeros(2, 3)).tolist() == [[0, 2], [1, 0]]
    for use in uses():
        assert torch.equal(use(target), use(torch.tensor([[0, 2], [1, 0]])))


def test_the_given_target_is_not_changed():
    given, array = [1, 0], numpy.array([1, 0])
    result = resolve_target(array, torch.zeros(2, 3))
    result += 1
    assert array.tolist() == given == [1, 0]


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (1.0, TypeError, "expected target class indices, .* got float; pass integers, one class per image"),
        (True, TypeError, "got bool; pass integers"),
        (None, TypeError, "got NoneType; pass integers"),
        ([0.5, 1.0], TypeError, "of dtype int64 or .*, got float64; pass integers"),
        (["cat", "dog"], TypeError, "got a list of str; pass integers"),
        ([1, [2]], TypeError, "got a list of int, list; pass integers"),
        (torch.eye(2, 3), TypeError, "got float32; pass integers, one class per image: for one-hot rows or scores, .argmax"),
        (torch.tensor([True, False]), TypeError, "got bool; pass integers"),
        ([1], ValueError, r"of shape \(N,\) = \(2,\), got \(1,\); one class for all images is an int"),
        ([1, 2, 0], ValueError, r"got \(3,\); one class for all"),
        ([[0, 1]], ValueError, r"of shape \(N, T\) = \(2, 2\), got \(1, 2\)"),
        (10**20, ValueError, "expected target class indices"),
        ("cat", ValueError, "expected target class indices, an int, 'predicted' or 'top-k' with a number for k, got 'cat'"),
        (3, ValueError, r"in \[0, 3\), got 3 at index"),
        (-1, ValueError, "got -1"),
    ],
    ids=repr,
)
def test_what_is_no_target_is_refused_with_the_remedy(target, error, message):
    with pytest.raises(error, match=message):
        resolve_target(target, torch.zeros(2, 3))
    with pytest.raises(error):
        Gradient(model)(IMAGES, target)
