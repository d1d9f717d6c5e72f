"""How many points adaptive steps need, and how often the truth is further away than the tolerance they were given.

python -m bench.studies.adaptive FOLDER reads the curves of bench.studies.full_curves from the folder, walks those that are
missing, and writes bench/results/adaptive.json. `AdaptiveSteps.on` asks for the points that the engine would ask for. Beside the
curves of the net, which are never monotone to the last step, their running minima, which are: there the bound must hold.
"""

from typing import Any

import torch
from torch import Tensor

from saliency_ext.perturbation import AdaptiveSteps, EqualFractions
from saliency_ext.testbed.scenes import SIDE

from ..report import write_json
from .full_curves import GRID, PILOT, SCENES, Curves, requested

TOLERANCES = (0.01, 0.005)
_PIXELS = SIDE * SIDE
_ROUNDING = 1e-9


def measured(curves: dict[str, Curves]) -> list[dict[str, Any]]:
    """Rows for each tolerance, method and curve."""
    rows = []
    for tolerance in TOLERANCES:
        for name, own in curves.items():
            both = torch.stack([own.mif, own.lif], 1)[: len(own.mif) - PILOT]
            for curve, stack in (("mif", both[:, :1]), ("lif", both[:, 1:]), ("fidelity", both)):
                rows.append(_row(tolerance, name, curve, stack))
            rows.append(_row(tolerance, name, "mif, running minimum", both[:, :1].cummin(2).values))
    return rows


def _row(tolerance: float, method: str, curve: str, stack: Tensor) -> dict[str, Any]:
    """One value made of K curves (N, K, G + 1): the last minus those before."""
    shares = torch.tensor(EqualFractions(GRID).counts(_PIXELS)).double() / _PIXELS
    result = AdaptiveSteps(tolerance, GRID).simulate(stack, shares)
    truth = torch.trapezoid(stack, shares)
    signs = torch.tensor([-1.0, 1.0][-stack.shape[1] :], dtype=torch.float64)
    error = ((result.areas - truth) * signs).sum(1).abs()
    monotone = _monotone(stack)
    over = error > tolerance + _ROUNDING
    return {
        "tolerance": tolerance,
        "method": method,
        "curve": curve,
        "points_per_curve": float(result.evaluated.double().mean() / stack.shape[1]),
        "times_fewer": float((GRID + 1) * stack.shape[1] / result.evaluated.double().mean()),
        "monotone": _share(monotone),
        "certified": _share(result.certified),
        "violated": _share(over),
        "violated_monotone": _share(over[monotone]),
        "violated_not_monotone": _share(over[~monotone]),
        "violated_certified": _share(over[result.certified]),
        "largest_error": float(error.max()),
        "bias_of_the_mean": float(((result.areas - truth) * signs).sum(1).mean()),
    }


def _monotone(stack: Tensor) -> Tensor:
    """(N,) bool, whether each of an image's curves rises or falls throughout."""
    rise = stack.diff()
    return ((rise >= 0).all(2) | (rise <= 0).all(2)).all(1)


def _share(flags: Tensor) -> float | None:
    return float(flags.double().mean()) if len(flags) else None


def main() -> None:
    """Runs the study, prints the rows, writes the JSON."""
    curves, out = requested(__doc__, "adaptive")
    rows = measured(curves)
    for row in rows:
        print(row)
    write_json(out, {"parameters": {"scenes": SCENES, "grid": GRID, "methods": list(curves)}, "rows": rows})


if __name__ == "__main__":
    main()
