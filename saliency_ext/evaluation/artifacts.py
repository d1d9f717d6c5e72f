"""Upper bound of the share of a score drop that is a perturbation artifact, over all maps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import bad_value
from ..stats.intervals import bootstrap_means, interval
from .results import Results


@dataclass(frozen=True)
class ArtifactBound:
    """E*(t) at the fractions (S,): the bound, a 95 % interval (NaN for too few images), and the map that attains it."""

    fractions: Tensor
    bound: Tensor
    low: Tensor
    high: Tensor
    maps: list[str]


def artifact_bound(results: Results, metric: str = "fidelity") -> ArtifactBound:
    """E*(t) = min over maps of the mean over images of (clean score - LIF score at t), not below 0.

    The drop of the score when the least relevant pixels are removed is an upper bound of the artifact if they carry no evidence
    for the target; the map with the smallest drop gives the tightest bound. The minimum of noisy estimates is biased low: read it
    with its interval, a bootstrap over images that repeats the choice of the map in each resample.

    Args:
        results: of `evaluate` with a `Fidelity` metric.
        metric: the name of that metric in the results.

    Raises:
        ValueError: the metric has no LIF curve, or no image has a value under every map.

    Example:
        `artifact_bound(evaluate(model, images, target, maps, [Fidelity(infill)])).bound`
    """
    named = {name: results[name, metric] for name, other in results if other == metric}
    if not named or any("lif" not in result.curves for result in named.values()):
        bad_value("artifact_bound", "metric", "the name of a Fidelity in the results", repr(metric))
    all_results = list(named.values())
    valid = all_results[0].valid
    for result in all_results[1:]:
        valid = valid & result.valid
    if not valid.any():
        bad_value("artifact_bound", "results", "an image with a value under every map", "none")
    curves = [result.curves["lif"][valid] for result in all_results]
    drops = torch.stack([curve[:, :1] - curve for curve in curves], 1)  # (n, maps, S)
    means = bootstrap_means(drops).clamp(min=0).amin(1)
    centre = drops.mean(0)
    low, high = interval(means, len(drops))
    names = list(named)
    fractions = all_results[0].fractions
    if fractions is None:
        bad_value("artifact_bound", "metric", "a metric with fractions", repr(metric))
    return ArtifactBound(fractions, centre.clamp(min=0).amin(0), low, high, [names[i] for i in centre.argmin(0).tolist()])
