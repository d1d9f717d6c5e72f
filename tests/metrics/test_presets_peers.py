"""Presets against the libraries whose conventions they are, where these are installed; skipped with the reason elsewhere."""

import contextlib

import numpy as np
import pytest
import torch

from saliency_ext.evaluation import evaluate
from saliency_ext.infill import Constant
from saliency_ext.metrics.presets import preset
from saliency_ext.ops import linear_infill
from tests.helpers import conv_net, tensors

CLASSES = 6


def make_model(channels=3):
    return conv_net(16, CLASSES, channels=channels, padding=1, pooled=True)


class GivenMap:
    """A CAM extractor that knows its map."""

    def __init__(self, model, maps):
        self.model, self.maps = model, maps

    def __call__(self, class_idx=None, scores=None, normalized=True, **_):
        return [self.maps]

    def fuse_cams(self, cams):
        return cams[0]

    def _hooks_off(self):
        return contextlib.nullcontext()


@pytest.mark.parametrize("size", [(8, 8), (13, 17), (32, 32)])
@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize("baseline", [0.0, 0.5])
def test_torchcam(size, score, baseline):
    peer = pytest.importorskip("torchcam.metrics", reason="torch-cam is not installed")
    if not hasattr(peer, "DeletionInsertionMetric"):
        pytest.skip("this torch-cam has no DeletionInsertionMetric: 0.5 or later is needed")
    model, images, maps = make_model(), tensors(4, 3, *size), tensors(4, *size, seed=1)
    softmax = (lambda x: x.softmax(-1)) if score == "probability" else None
    metric = peer.DeletionInsertionMetric(GivenMap(model, maps), softmax, baseline=torch.tensor(baseline))
    metric.update(images)
    published = metric.summary()
    ours = evaluate(model, images, "predicted", maps, preset("torchcam", score=score, infill=Constant(baseline)))
    for name in ("deletion", "insertion"):
        assert float(ours["map", name].values.mean()) == pytest.approx(published[f"{name}_auc"], rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize("size", [(12, 12), (12, 20), (24, 24)])  # the step must divide H W there
@pytest.mark.parametrize("baseline", ["black", "white", 0.25])
@pytest.mark.parametrize(("channels", "step"), [(1, 1), (1, 4), (3, 12)])  # ties of a pixel's channels never straddle a step
def test_quantus(size, baseline, channels, step):
    peer = pytest.importorskip("quantus", reason="Quantus is not installed")
    if (channels, step) == (1, 1) and size == (24, 24):
        pytest.skip("576 points say no more than 144")
    model, images, maps = make_model(channels), tensors(3, channels, *size), tensors(3, *size, seed=1)
    target = torch.tensor([0, 3, 5])
    metric = peer.PixelFlipping(features_in_step=step, perturb_baseline=baseline, disable_warnings=True)
    curves = np.array(metric(model, images.numpy(), target.numpy(), maps[:, None].numpy(), softmax=True, device="cpu"))
    ours = evaluate(model, images, target, maps, preset("quantus", features_in_step=step, baseline=baseline))["map", "morf"]
    np.testing.assert_allclose(ours.curves["morf"].numpy(), curves, rtol=1e-5, atol=1e-6)
    areas = ((curves[:, 1:] + curves[:, :-1]) / 2).sum(1)  # its own area calls numpy.trapz, which numpy 2.4 no longer has
    np.testing.assert_allclose(ours.values.numpy(), areas, rtol=1e-5, atol=1e-6 * curves.shape[1])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_noisy_linear_imputer(share):
    name = "pytorch_grad_cam.metrics.road"
    peer = pytest.importorskip(name, reason="pytorch-grad-cam is not installed", exc_type=ImportError)
    images = tensors(2, 3, 40, 33)
    scattered = tensors(2, 40, 33, seed=1) < share
    solid = torch.arange(40 * 33).view(40, 33).expand(2, -1, -1) < share * 40 * 33
    imputer = peer.NoisyLinearImputer(noise=0.0)
    for remove in (scattered, solid):
        published = torch.stack([imputer(image, keep) for image, keep in zip(images, (~remove).float(), strict=True)])
        ours = linear_infill(images, remove[None], noise_std=0.0, tolerance=1e-5)[0]
        np.testing.assert_allclose(ours.numpy(), published.reshape(ours.shape).numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["untied", "eight values", "mostly zero"])
def test_gradcam_road(kind):
    """Its two removers and its averager, with zeros in place of its imputer."""
    name = "pytorch_grad_cam.metrics.perturbation_confidence"
    peer = pytest.importorskip(name, reason="pytorch-grad-cam is not installed", exc_type=ImportError)
    model, images, maps = make_model(), tensors(3, 3, 12, 15), tensors(3, 12, 15, seed=1)
    if kind == "eight values":
        maps = maps.mul(8).floor() / 8  # exact in binary, so that 1 - map makes no ties of its own
    elif kind == "mostly zero":
        maps = (maps - 0.6).clamp(min=0).mul(64).floor() / 64
    target = torch.tensor([0, 3, 5])
    classes = [lambda output, c=c: output[c] for c in target.tolist()]
    means = {}
    for order, remover in (("morf", peer.RemoveMostRelevantFirst), ("lerf", peer.RemoveLeastRelevantFirst)):

        def at(percentile, remover=remover):
            return peer.PerturbationConfidenceMetric(remover(percentile, lambda image, keep: image * keep))

        means[order] = peer.AveragerAcrossThresholds(at)(images, maps.numpy(), classes, model)
    ours = evaluate(model, images, target, maps, preset("gradcam_road", infill=Constant(0.0), score="logit"))
    result = ours["map", "road_combined"].values.numpy()
    np.testing.assert_allclose(result, (means["lerf"] - means["morf"]) / 2, rtol=1e-5, atol=1e-6)
