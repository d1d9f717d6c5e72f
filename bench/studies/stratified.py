"""Eight random steps per curve against a grid of 101 points: noise, bias, coverage, and what a coarse grid does instead.

python -m bench.studies.stratified FOLDER reads the curves of bench.studies.full_curves from the folder, walks those that are
missing, and writes bench/results/stratified.json. Drawing again costs no forward: an image's estimate is a weighted sum of scores
that are known, at the very counts that `StratifiedSteps` draws.

For each method and each of MIF, LIF and Fidelity, over all scenes but those of the pilot:
    noise       standard error of the data-set mean with draws / without, from the variance within strata (no resampling)
    bias        of the data-set mean, over reseeded draws, in standard errors of that mean
    coverage    of the library's 95 % bootstrap intervals, over reseeded draws and samples of IMAGES images, for the grid's mean
    coarse      bias of the area under 11 equally spaced points, in standard errors at IMAGES images and at all
"""

from typing import Any

import torch
from torch import Tensor

from saliency_ext.perturbation import EqualFractions, StratifiedSteps, learn_strata
from saliency_ext.stats.intervals import bootstrap_means, interval
from saliency_ext.testbed.scenes import SIDE

from ..report import write_json
from .full_curves import GRID, PILOT, SCENES, Curves, requested

STRATA, COARSE, IMAGES, RESEEDS, COVERAGE_RESEEDS = 8, 10, 300, 1000, 4000
_PIXELS = SIDE * SIDE
_COLUMNS = 500  # samples whose intervals are made at once


def measured(curves: dict[str, Curves], reseeds: int = RESEEDS, coverage_reseeds: int = COVERAGE_RESEEDS) -> dict[str, Any]:
    """Rows for equal and for learned strata; the last PILOT images of the curves are the pilot."""
    stacks = {(name, side): getattr(own, side) for name, own in curves.items() for side in ("mif", "lif", "fidelity")}
    pilot = {key: values[-PILOT:] for key, values in stacks.items()}
    judged = {key: values[:-PILOT] for key, values in stacks.items()}
    learned = learn_strata([values for (_, side), values in pilot.items() if side != "fidelity"], STRATA)
    rows: list[dict[str, Any]] = []
    for kind, strata in (("equal", STRATA), ("learned", learned)):
        rows += _rows(kind, StratifiedSteps(strata, GRID), judged, reseeds, coverage_reseeds)
    return {"boundaries": list(learned), "masked_inputs": _forwards(), "rows": rows}


def _forwards() -> dict[str, int]:
    """Masked inputs of one image's MIF and LIF: both ends are shared."""
    return {"grid": 2 * (GRID - 1) + 2, "stratified": 2 * STRATA + 2}


def _rows(
    kind: str, steps: StratifiedSteps, judged: dict[Any, Tensor], reseeds: int, coverage_reseeds: int
) -> list[dict[str, Any]]:
    images = len(next(iter(judged.values())))
    grid = torch.tensor(EqualFractions(GRID).counts(_PIXELS))
    shares = grid.double() / _PIXELS
    truth = {key: torch.trapezoid(values, shares) for key, values in judged.items()}
    bias = {key: torch.zeros(()).double() for key in judged}
    inside = {key: 0 for key in judged}
    sampled: dict[Any, list[Tensor]] = {key: [] for key in judged}
    for seed in range(max(reseeds, coverage_reseeds)):
        drawn = StratifiedSteps(steps.strata, GRID, seed).drawn(_PIXELS, torch.arange(images))
        points = torch.searchsorted(grid, drawn)
        picks = torch.randperm(images, generator=torch.Generator().manual_seed(seed))[:IMAGES]
        for key, values in judged.items():
            if seed < reseeds:
                estimates = steps.area(values.gather(1, points), _PIXELS)
                bias[key] += (estimates.mean() - truth[key].mean()) / reseeds
                chosen = estimates[picks]
            else:
                chosen = steps.area(values[picks].gather(1, points[picks]), _PIXELS)
            if seed < coverage_reseeds:
                sampled[key].append(chosen)
        if (seed + 1) % _COLUMNS == 0 or seed + 1 == coverage_reseeds:
            for key, columns in sampled.items():
                if columns:
                    low, high = interval(bootstrap_means(torch.stack(columns, 1)), len(columns[0]))
                    mean = truth[key].mean()
                    inside[key] += int(((low <= mean) & (mean <= high)).sum())
                    columns.clear()
    rows = []
    for (method, side), values in judged.items():
        own = truth[method, side]
        error = float(own.std() / images**0.5)
        noise = float(steps.draw_variance(values, _PIXELS).mean())
        coarse = float((torch.trapezoid(values[:, :: GRID // COARSE], shares[:: GRID // COARSE]) - own).mean())
        rows.append(
            {
                "strata": kind,
                "method": method,
                "curve": side,
                "mean": float(own.mean()),
                "standard_error": error,
                "noise_ratio": (1 + noise / float(own.var())) ** 0.5,
                "bias_in_standard_errors": float(bias[method, side]) / error,
                "coverage": inside[method, side] / coverage_reseeds,
                "coarse_bias": coarse,
                "coarse_bias_in_standard_errors": coarse / error,
                "coarse_bias_in_standard_errors_of_a_sample": coarse / float(own.std() / IMAGES**0.5),
            }
        )
    return rows


def main() -> None:
    """Runs the study, prints the rows, writes the JSON."""
    curves, out = requested(__doc__, "stratified")
    result = measured(curves)
    chosen = {
        "scenes": SCENES,
        "methods": list(curves),
        "pilot": PILOT,
        "grid": GRID,
        "strata": STRATA,
        "images": IMAGES,
        "reseeds": RESEEDS,
    }
    for row in result["rows"]:
        print(
            f"{row['strata']:8} {row['method']:22} {row['curve']:9} noise {row['noise_ratio']:.3f} bias "
            f"{row['bias_in_standard_errors']:+.3f} coverage {row['coverage']:.3f} coarse {row['coarse_bias']:+.4f}"
        )
    write_json(out, {"parameters": chosen | {"coverage_reseeds": COVERAGE_RESEEDS, "coarse": COARSE}, **result})


if __name__ == "__main__":
    main()
