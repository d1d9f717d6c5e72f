"""Published conventions of perturbation curves, naively: numpy, one masked image at a time, one method per preset."""

from itertools import pairwise

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from saliency_ext.segmentation import slic


def removed(forward, image, infill, order, counts):
    """Logits (S, K) with the first `count` of an order of flat places replaced; image and infill (C, H, W)."""
    flat_image, rows = image.reshape(len(image), -1), []
    for count in counts:
        shown = flat_image.copy()
        shown[:, order[:count]] = infill.reshape(len(image), -1)[:, order[:count]]
        rows.append(forward(torch.from_numpy(shown.reshape(1, *image.shape)))[0].detach().numpy())
    return np.stack(rows)


def softmax(logits):
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


class Published:
    """One image, its map and its model, under the published conventions."""

    def __init__(self, forward, image, saliency, target):
        self.forward, self.image, self.map, self.target = forward, image[0].numpy(), saliency[0].numpy(), target
        self.first = np.argsort(-self.map.ravel(), kind="stable")  # no ties: every sort agrees
        self.last = self.first[::-1]
        self.n = self.map.size
        self.zero = np.zeros_like(self.image)

    def logits(self, order, counts, infill=None, insert=False):
        clean, gone = self.image, self.zero if infill is None else infill
        start, compute = (gone, clean) if insert else (clean, gone)
        return removed(self.forward, start, compute, order, counts)

    def rise(self):
        step, areas = 9, []
        dot = np.zeros((11, 11))
        dot[5, 5] = 1
        kernel = torch.from_numpy(gaussian_filter(dot, 5)).expand(len(self.image), 1, 11, 11)  # reflects at the borders
        pale = torch.nn.functional.conv2d(torch.from_numpy(self.image)[None], kernel, padding=5, groups=len(self.image))
        blur = pale[0].numpy()
        counts = [min(i * step, self.n) for i in range((self.n + step - 1) // step + 1)]
        for options in ({}, {"infill": blur, "insert": True}):
            v = softmax(self.logits(self.first, counts, **options))[:, self.target]
            areas.append((v.sum() - v[0] / 2 - v[-1] / 2) / (len(v) - 1))
        return areas

    def torchcam(self):
        step = (self.n + 19) // 20
        counts = [*range(0, self.n, step), self.n]
        curves = [self.logits(self.first, counts, insert=insert)[:, self.target] for insert in (False, True)]
        return [np.sum(np.diff(counts) * (v[1:] + v[:-1]) / 2) / self.n for v in curves]

    def xplique(self):
        counts = np.linspace(0, np.floor(self.n * 0.7), 11).astype(np.int32)
        curves = [self.logits(self.first, counts, insert=insert)[:, self.target] for insert in (False, True)]
        return [np.mean(v[:-1] + v[1:]) * 0.5 for v in curves]

    def quantus(self):
        """The current image is filled with its own minimum, again and again."""
        c, step, flat, points = len(self.image), 48, self.image.ravel().copy(), []
        order = np.argsort(-np.broadcast_to(self.map, self.image.shape).ravel(), kind="stable")
        for i in range(-(-c * self.n // step)):
            flat[order[i * step : (i + 1) * step]] = flat.min()
            points.append(softmax(removed(self.forward, flat.reshape(self.image.shape), self.zero, order, [0])[0])[self.target])
        return [sum((a + b) / 2 for a, b in pairwise(points))]

    def quantus_srg(self):
        counts = [min(i * -(-self.n // 28), self.n) for i in range(29)]
        counts = [count for i, count in enumerate(counts) if i == 0 or count > counts[i - 1]]
        mif, lif = (softmax(self.logits(order, counts))[:, self.target] for order in (self.first, self.last))
        return [np.mean((lif - mif)[1:])]

    def fpa(self):
        counts = np.arange(0, self.n, int(0.05 * self.n))
        mif, lif = (self.logits(order, counts)[:, self.target] for order in (self.first, self.last))
        x, gap = np.linspace(0, 100, len(counts)), lif / lif[0] - mif / mif[0]
        return [np.sum(np.diff(x) * (gap[1:] + gap[:-1]) / 2)]

    def road(self):
        means = []
        for morf in (True, False):
            hits = []
            for p in (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9):
                gone = self.first[: int(self.n * p)] if morf else self.first[int(self.n * p) :]
                hits.append(self.logits(gone, [len(gone)])[0].argmax() == self.target)
            means.append(np.mean(hits))
        return means

    def gradcam_road(self):
        mean = np.broadcast_to(self.image.mean((1, 2), keepdims=True), self.image.shape)
        gaps = []
        for p in range(10, 91, 10):
            score = []
            for cam in (1 - self.map, self.map):
                keep = cam < np.percentile(cam, p)
                score.append(softmax(self.logits(np.flatnonzero(~keep), [self.n], mean)[0])[self.target])
            gaps.append((score[0] - score[1]) / 2)
        return [np.mean(gaps)]

    def agf(self):
        black = np.broadcast_to(np.array([-1.0, -0.5, -0.25])[:, None, None], self.image.shape)
        counts = [int(t * self.n) for t in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)]
        hits = [self.logits(order, counts, black).argmax(1) == self.target for order in (self.first, self.last)]
        return [np.sum(0.1 * (h[1:].astype(float) + h[:-1]) / 2) for h in hits]

    def srg(self):
        labels = slic(torch.from_numpy(self.image)[None], segments=25, compactness=1.0)[0].numpy()
        k = labels.max() + 1
        assert k > 5
        means = np.array([self.map[labels == i].mean() for i in range(k)])
        order = np.argsort(-means)
        counts = sorted({round((1 + k) ** (i / 14) - 1) for i in range(15)})
        areas = []
        for sequence in (order, order[::-1]):
            scores = []
            for count in counts:
                gone = np.flatnonzero(np.isin(labels, sequence[:count]))
                scores.append(softmax(self.logits(gone, [self.n])[0])[self.target])
            areas.append(sum((b - a) / k * (v + w) / 2 for (a, v), (b, w) in pairwise(zip(counts, scores, strict=True))))
        return [areas[1] - areas[0]]
