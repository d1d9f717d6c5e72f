"""Results made of plain numbers: what a report is tested on, without any model."""

import torch

from saliency_ext.attribution import RandomControl
from saliency_ext.evaluation import Results
from saliency_ext.metrics import Deletion, Fidelity, GeometryGap, PointingGame, Sparseness
from saliency_ext.metrics.result import OK, MetricResult
from saliency_ext.ops import philox_normal
from saliency_ext.perturbation import Counters
from saliency_ext.report.data import gather

FIDELITY, DELETION, POINTING, GAP, SPARSENESS = (
    kind.info for kind in (Fidelity, Deletion, PointingGame, GeometryGap, Sparseness)
)
RANDOM = RandomControl.info


def noise(count, seed):
    """(count,) float64, standard normal, keyed."""
    return philox_normal((1, 1, 1), torch.arange(count), seed=seed).flatten().double()


def values(mean, count=40, seed=0, spread=0.1):
    return mean + spread * noise(count, seed)


def result(info, numbers, **options):
    return MetricResult(info, torch.as_tensor(numbers, dtype=torch.float64), {"score": "probability", "steps": 4}, **options)


def curved(info, mean, count=40, seed=0):
    """A fidelity with curves: LIF stays up, MIF falls."""
    fractions = torch.linspace(0, 1, 5, dtype=torch.float64)
    start = 0.8 + 0.02 * noise(count, seed)[:, None]
    mif = start * (1 - fractions)
    lif = start * (1 - fractions**4)
    curves = {"mif": mif, "lif": lif, "artifact": (lif[:, :1] - lif).clamp(min=0)}
    return result(info, values(mean, count, seed), fractions=fractions, curves=curves)


def results_of(table):
    """Results from {(map, metric): MetricResult}."""
    return Results(table, Counters(requested=100, unique=40, forwards=3, images_forwarded=48, images_padded=2))


def simple(means, info=FIDELITY, count=40, spread=0.1):
    """Results of maps with these means under one metric; every map has noise of its own."""
    return results_of({
        (name, info.name): result(info, values(mean, count, seed, spread)) for seed, (name, mean) in enumerate(means.items())
    })  # fmt: skip


def data_of(results, controls=("random",), **options):
    present = {name for name, _ in results}
    known = {"random": RANDOM} if "random" in present and "random" in controls else {}
    return gather(results, methods=known, controls=[name for name in controls if name in present], **options)


def with_status(info, numbers, places, status):
    """A result whose values at some places are missing for a reason."""
    found = torch.as_tensor(numbers, dtype=torch.float64).clone()
    found[list(places)] = torch.nan
    statuses = [status if index in places else OK for index in range(len(found))]
    return result(info, found, status=statuses)
