"""The pass that many metric objects share, without the library whose metrics use it."""

import pytest
import torch

from saliency_ext.evaluation import evaluate
from saliency_ext.integrations._batched_evaluation import Evaluator
from saliency_ext.metrics import Deletion, Insertion, MoRF
from tests.integrations.torchmetrics_cases import GREY, IMAGES, Net, batch


@pytest.fixture
def requested():
    images, target, maps, _ = batch()
    return {"inputs": images, "target": target, "maps": maps, "truth": None, "sample_ids": torch.arange(IMAGES)}


def alone(metric, requested):
    results = evaluate(Net(), requested["inputs"], requested["target"], requested["maps"], [metric])
    return results["map", metric.info.name].values


def test_every_metric_gets_its_own_result_from_one_pass(requested):
    evaluator, metrics = Evaluator(Net()), [Deletion(GREY), Insertion(GREY)]
    for metric in metrics:
        evaluator.add(metric)
    for metric in reversed(metrics):
        assert torch.equal(evaluator.result(metric, **requested).values, alone(metric, requested))
    assert evaluator.passes == 1


def test_what_is_added_anew_finds_no_result_waiting(requested):
    """A new metric may get the id of a dead one, and must not get its result; adding one again is the same case, without luck."""
    evaluator, metrics = Evaluator(Net()), [Deletion(GREY), Insertion(GREY)]
    for metric in metrics:
        evaluator.add(metric)
    evaluator.result(metrics[0], **requested)
    evaluator.add(metrics[1])
    assert torch.equal(evaluator.result(metrics[1], **requested).values, alone(metrics[1], requested))
    assert evaluator.passes == 2


def test_a_new_metric_never_gets_the_result_of_a_dead_one(requested):
    evaluator = Evaluator(Net())
    first, dead = Deletion(GREY), MoRF(GREY)
    evaluator.add(first)
    evaluator.add(dead)
    evaluator.result(first, **requested)  # the other one's result waits
    place = id(dead)
    del dead
    others = [Insertion(GREY)]
    while len(others) < 1000 and id(others[-1]) != place:  # mostly the first already lies there
        others.append(Insertion(GREY))
    evaluator.add(others[-1])
    assert torch.equal(evaluator.result(others[-1], **requested).values, alone(others[-1], requested))
