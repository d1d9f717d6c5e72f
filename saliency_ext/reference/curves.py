"""Reference of the perturbation curves: one image, one step, one forward at a time."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor


def perturbation_curve(
    forward: Callable[[Tensor], Tensor],
    image: Tensor,
    infill: Tensor,
    ranks: Tensor,
    counts: list[int],
    *,
    order: str,
    insert: bool,
    target: int,
    score: str = "probability",
) -> list[float]:
    """Scores as `counts` pixels of an image (C, H, W) are removed (or inserted), "most" or "least" relevant first."""
    place = ranks if order == "most" else ranks.numel() - 1 - ranks
    curve = []
    for count in counts:
        chosen = place < count
        shown = chosen if insert else ~chosen
        masked = image.clone()
        for y in range(image.shape[1]):
            for x in range(image.shape[2]):
                if not shown[y, x]:
                    masked[:, y, x] = infill[:, y, x]
        logits = forward(masked[None])[0].double()
        if score == "logit":
            curve.append(float(logits[target]))
        elif score == "accuracy":
            curve.append(float(logits.argmax() == target))
        else:
            log_probability = torch.log_softmax(logits, 0)[target]
            curve.append(float(log_probability if score == "log_probability" else log_probability.exp()))
    return curve


def trapezoid(values: list[float], fractions: list[float]) -> float:
    """Sum of (t[i+1] - t[i]) (v[i] + v[i+1]) / 2."""
    points = pairwise(zip(fractions, values, strict=True))
    return sum((t1 - t0) * (v0 + v1) / 2 for (t0, v0), (t1, v1) in points)
