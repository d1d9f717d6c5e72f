"""A model's two best labels of one picture: two things, or two names of one? With a proof that anyone can check."""

from functools import partial

import torch

from saliency_ext.disambiguation import PairFinder, verify
from saliency_ext.infill import DatasetMean, ImageMean
from saliency_ext.segmentation import grid
from saliency_ext.testbed.load import load_net
from saliency_ext.testbed.scene_config import SceneConfig
from saliency_ext.testbed.scenes import CLASSES, make_scenes

net = load_net("residual")
scenes = make_scenes("test", torch.tensor([1]), scene_config=SceneConfig(objects=2))  # two digits on a background
finder = PairFinder(net, DatasetMean(), partial(grid, cells=(8, 8)), others=[ImageMean()])
(pair,) = finder(scenes.inputs, "top-2")[0]
seen = [f"{CLASSES[label]} ({share:.0%})" for label, share in zip(pair.labels, pair.clean, strict=True)]
print(f"the model sees {' and '.join(seen)}: {pair.verdict}")
print(pair.reason)
for proof in pair.proofs:
    found = verify(net, scenes.inputs[0], proof)
    holds = "holds" if found.valid else f"does not hold: {found.reasons}"
    print(f"its proof {holds}, checked in {found.forwards} forward(s); under another infill too: {proof.robust}")
    for label, mask in zip(proof.labels, proof.masks, strict=False):
        rows, columns = mask.nonzero().unbind(1)
        print(f"  what {CLASSES[label]} rests on: rows {rows.min()}-{rows.max()}, columns {columns.min()}-{columns.max()}")
