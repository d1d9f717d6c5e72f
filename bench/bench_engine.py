"""What judging costs beyond the model: whole evaluations against the bare forwards of as many inputs, and without a model."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saliency_ext import evaluate, ops
from saliency_ext.infill import Constant
from saliency_ext.metrics import Deletion, Insertion
from saliency_ext.perturbation import Engine, EqualFractions
from saliency_ext.reference.curves import perturbation_curve

from .common import PIXELS, Baseline, Case, Setup, Task, host_only
from .nets import corner, residual_net

_STEPS = 64  # 65 points a curve
_BATCH = 32


def cases(setup: Setup) -> list[Case]:
    """Deletion and insertion of a few photographs, with a real model and with none."""
    few, many = setup.size(1, 64, 1), setup.size(16, 256, 2)
    return [
        Case(
            "engine",
            f"deletion + insertion, 65 points each, {few} image(s) 224 x 224, 18-layer residual net",
            "whole evaluation; the baseline forwards as many inputs in the same batch shape",
            _with_model(setup, few),
        ),
        Case(
            "engine",
            f"deletion + insertion, 65 points each, {many} images 224 x 224, a model that costs nothing",
            "whole evaluation, time per masked image",
            _without_model(setup, many),
            main=True,
        ),
    ]


def _metrics() -> list[Any]:
    return [metric(Constant(0.0), EqualFractions(_STEPS)) for metric in (Deletion, Insertion)]


def _judged(model: Callable[[Tensor], Tensor], images: Tensor, saliency: Tensor) -> Callable[[], Tensor]:
    """Both curves (2, N, 65) of an evaluation."""

    def run() -> Tensor:
        results = evaluate(model, images, 0, saliency, _metrics(), engine=Engine(model, max_batch=_BATCH), check_model=False)
        return torch.stack([results["map", name].curves[name] for name in ("deletion", "insertion")])

    return run


def _masked(images: int) -> int:
    """Unique masked inputs: two curves that share the clean image and the pure infill."""
    return images * 2 * _STEPS


def _check(model: Callable[[Tensor], Tensor], images: Tensor, saliency: Tensor) -> Callable[[Tensor], float]:
    """The curves of the first image at a few points, against the naive loop."""

    def check(curves: Tensor) -> float:
        counts = EqualFractions(_STEPS).counts(PIXELS)
        picks = [0, 1, 32, 64]
        ranks = ops.rank(saliency[:1], ties="random", sample_ids=torch.arange(1, device=saliency.device))[0]
        error = 0.0
        with torch.no_grad():
            for curve, insert in zip(curves, (False, True), strict=True):
                infill = torch.zeros_like(images[0])
                at = [counts[pick] for pick in picks]
                naive = perturbation_curve(model, images[0], infill, ranks, at, order="most", insert=insert, target=0)
                error = max(error, float((curve[0, picks] - torch.tensor(naive)).abs().max()))
        return error

    return check


def _with_model(setup: Setup, images: int) -> Callable[[], Task]:
    def prepare() -> Task:
        model, inputs, saliency = (
            residual_net().to(setup.device),
            setup.normal(images, 3, 224, 224),
            setup.distinct(images, 224, 224),
        )
        buffer = setup.normal(_BATCH, 3, 224, 224)
        forwards = -(-_masked(images) // _BATCH)

        def bare() -> None:
            with torch.no_grad():
                for _ in range(forwards):
                    model(buffer)

        return Task(
            ours=_judged(model, inputs, saliency),
            baselines=[Baseline("bare forwards", bare, target=1 / 1.02, tolerance=None, note="no masking, nothing read out")],
            traffic=_masked(images) * 3 * PIXELS * 4,
            formula="masked inputs * 3 * 224 * 224 * 4 written",
            check=_check(model, inputs, saliency),
            tolerance=1e-5,  # other batch shapes, other algorithms in the library
            ceiling="write",
        )

    return prepare


def _without_model(setup: Setup, images: int) -> Callable[[], Task]:
    def prepare() -> Task:
        inputs, saliency = setup.normal(images, 3, 224, 224), setup.distinct(images, 224, 224)
        counts = EqualFractions(_STEPS).counts(PIXELS)

        def in_place() -> None:
            """As published evaluation code does it: an argsort per image, pixels overwritten step by step, a batch at a time."""
            for image, own in zip(inputs.cpu().numpy(), saliency.cpu().numpy(), strict=True):
                order = np.flip(np.argsort(own.reshape(-1)))
                flat = image.reshape(3, -1)
                for start, end in ((flat.copy(), np.zeros_like(flat)), (np.zeros_like(flat), flat)):
                    batch = np.empty((_BATCH, *flat.shape), np.float32)
                    for step, (low, high) in enumerate(pairwise(counts)):
                        batch[step % _BATCH] = start
                        start[:, order[low:high]] = end[:, order[low:high]]
                    corner(torch.from_numpy(batch).view(_BATCH, 3, 224, 224)).softmax(1)

        def loops() -> None:
            """As attribution libraries do it: a mask, a product and a forward per step."""
            with torch.no_grad():
                for image, own in zip(inputs, saliency, strict=True):
                    order = own.flatten().argsort(descending=True)
                    for insert in (False, True):
                        for count in counts:
                            mask = torch.zeros(PIXELS, device=image.device)
                            mask[order[:count]] = 1.0
                            keep = mask if insert else 1 - mask
                            corner((image * keep.view(224, 224))[None]).softmax(1)

        return Task(
            ours=_judged(corner, inputs, saliency),
            baselines=[
                host_only(
                    "numpy, in place, an image at a time",
                    in_place,
                    setup,
                    target=1.0,
                    tolerance=None,
                    note="one thread; no values kept",
                ),
                Baseline("torch, a mask and a forward per step", loops, tolerance=None, note="no values kept"),
                Baseline(
                    "an aim: 0.1 ms of one thread for a masked image",
                    None,
                    target=1.0,
                    cpu_budget=1e-4 * _masked(images),
                    note="processor time, one thread",
                ),
            ],
            traffic=3 * PIXELS * 4,
            formula="3 * 224 * 224 * 4 written",
            check=_check(corner, inputs, saliency),
            tolerance=1e-6,
            ceiling="write",
            calls=_masked(images),
        )

    return prepare
