"""A class derived from an infill, or one of the same name, is not taken for it where masked inputs are compared."""

import pickle

import pytest
import torch

from saliency_ext.evaluation import evaluate
from saliency_ext.infill import Blur, Constant, DatasetMean
from saliency_ext.infill.base import BaseInfill
from saliency_ext.metrics import Deletion


class Brighter(Constant):
    def _fill(self, inputs, sample_ids, draw):
        return super()._fill(inputs, sample_ids, draw) + 1


class BrighterBlur(Blur):
    def _fill(self, inputs, sample_ids, draw):
        return super()._fill(inputs, sample_ids, draw) + 1


class BrighterMean(DatasetMean):
    def fill(self, inputs, sample_ids, draw=0):
        return super().fill(inputs, sample_ids, draw) + 1


class SameName(BaseInfill):
    name = "dataset_mean"

    def _fill(self, inputs, sample_ids, draw):
        return inputs.new_ones(1, 1, 1, 1)


class StillBrighter(BrighterBlur):
    def _fill(self, inputs, sample_ids, draw):
        return super()._fill(inputs, sample_ids, draw) + 1


PAIRS = [
    (Constant(0.5), Brighter(0.5)),
    (Blur(1.0), BrighterBlur(1.0)),
    (BrighterBlur(1.0), StillBrighter(1.0)),
    (DatasetMean(), BrighterMean()),
    (DatasetMean(), SameName()),
]


@pytest.mark.parametrize(("parent", "derived"), PAIRS, ids=lambda infill: type(infill).__name__)
def test_it_gets_pixels_of_its_own(parent, derived):
    images, maps = torch.rand(2, 1, 5, 5), torch.rand(2, 5, 5)
    metrics = [Deletion(parent, score="logit"), Deletion(derived, score="logit")]

    def values(metrics):
        results = evaluate(lambda x: x.flatten(1)[:, :2], images, 0, maps, metrics)
        return [results[pair].values for pair in results]

    together = values(metrics)
    assert torch.equal(together[0], values(metrics[:1])[0]) and torch.equal(together[1], values(metrics[1:])[0])
    assert not torch.equal(*together)
    assert derived.key == type(derived)(**vars(derived)).key == pickle.loads(pickle.dumps(derived)).key != parent.key
