"""How often the rule of `stats.intervals` calls equal maps unequal, how often it finds a difference, by number of images.

python -m bench.studies.intervals          # simulates, writes bench/results/intervals.json and the tables of the docs
python -m bench.studies.intervals --table  # the tables alone, from the committed JSON
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from saliency_ext.stats.intervals import bootstrap_means, share_interval, summarise

from ..readme import RESULTS, ROOT, between
from ..report import write_json

PAGE = ROOT / "docs/how-to/few-images.md"
MARKS = ("<!-- intervals:begin -->", "<!-- intervals:end -->")
IMAGES = (2, 3, 5, 6, 8, 12, 20, 50)
Draw = Callable[[int, torch.Generator], Tensor]
Ends = Callable[[Tensor], tuple[float, float]]


def _uniform(count: int, made: torch.Generator) -> Tensor:
    return torch.rand(count, generator=made, dtype=torch.float64)


def _normal(count: int, made: torch.Generator) -> Tensor:
    return torch.randn(count, generator=made, dtype=torch.float64)


def _hits(share: float) -> Draw:
    return lambda count, made: (_uniform(count, made) < share).double()


def _exponential(count: int, made: torch.Generator) -> Tensor:
    return -torch.log1p(-_uniform(count, made))


def _less(draw: Draw) -> Draw:
    """The difference of two maps whose values are drawn alike."""
    return lambda count, made: draw(count, made) - draw(count, made)


# Differences whose mean is 0: nothing is better. First of two maps that are exchangeable, then with a skewed difference.
EQUAL: dict[str, Draw] = {
    "normal": _normal,
    "two maps, skewed values": _less(lambda count, made: _normal(count, made).exp()),
    "two maps, hits of 1 in 2": _less(_hits(0.5)),
    "two maps, hits of 1 in 10": _less(_hits(0.1)),
    "one better or worse by a fixed step": lambda count, made: _hits(0.5)(count, made) * 2 - 1,
    "tied: 0 in 7 of 10, else rounded": lambda count, made: _hits(0.3)(count, made) * _normal(count, made).mul(10).round() / 10,
    "skewed difference (exponential)": lambda count, made: _exponential(count, made) - 1,
    "skewed and tied (half equal)": lambda count, made: _hits(0.5)(count, made) * _exponential(count, made) - 0.5,
    "very skewed difference (lognormal)": lambda count, made: _normal(count, made).exp() - math.exp(0.5),
}
# Differences with a positive mean, which should be found.
APART: dict[str, Draw] = {
    "normal, mean half a deviation": lambda count, made: _normal(count, made) + 0.5,
    "normal, mean one deviation": lambda count, made: _normal(count, made) + 1,
    "normal, mean two deviations": lambda count, made: _normal(count, made) + 2,
    "two maps, hits of 7 and 4 in 10": lambda count, made: _hits(0.7)(count, made) - _hits(0.4)(count, made),
    "two maps, hits of 9 and 1 in 10": lambda count, made: _hits(0.9)(count, made) - _hits(0.1)(count, made),
}
SHARES = (0.05, 0.1, 0.3, 0.5)


def rule(values: Tensor) -> tuple[float, float]:
    """What the library says of differences."""
    result = summarise(values, len(values))
    return result.low, result.high


def percentile(values: Tensor) -> tuple[float, float]:
    """What it said before: the percentile bootstrap."""
    low, high = torch.quantile(bootstrap_means(values), torch.tensor([0.025, 0.975], dtype=values.dtype), 0)
    return float(low), float(high)


def frequencies(
    draw: Draw, images: int, simulations: int, seed: int, ends: Callable[[Tensor], tuple[float, float]]
) -> list[float]:
    """How often an interval lies above 0, and below it."""
    made = torch.Generator().manual_seed(seed)
    result = torch.tensor([ends(draw(images, made)) for _ in range(simulations)])
    return [float((result[:, 0] > 0).double().mean()), float((result[:, 1] < 0).double().mean())]


def measured(simulations: int, seed: int) -> dict[str, Any]:
    """All rows; of each kind of difference, by the number of images."""
    rows: dict[str, Any] = {"wrong": {}, "wrong_percentile": {}, "found": {}, "share_coverage": {}}
    for name, draw in EQUAL.items():
        for key, ends in (("wrong", rule), ("wrong_percentile", percentile)):
            rows[key][name] = {str(n): round(sum(frequencies(draw, n, simulations, seed, ends)), 5) for n in IMAGES}
        print(name, rows["wrong"][name], flush=True)
    for name, draw in APART.items():
        rows["found"][name] = {str(n): round(frequencies(draw, n, simulations, seed, rule)[0], 5) for n in IMAGES}
        print(name, rows["found"][name], flush=True)
    for share in SHARES:
        rows["share_coverage"][str(share)] = {str(n): round(share_coverage(share, n), 5) for n in IMAGES}
    return rows


def share_coverage(share: float, images: int) -> float:
    """Exactly: how often Wilson's interval holds a share."""
    total = 0.0
    for hits in range(images + 1):
        low, high = share_interval(hits, images)
        total += math.comb(images, hits) * share**hits * (1 - share) ** (images - hits) * (low <= share <= high)
    return total


def tables(content: dict[str, Any]) -> str:
    """Markdown: false verdicts, now and before; found differences; coverage of shares. In percent."""
    rows, simulations = content["rows"], content["simulations"]
    error = 200 * math.sqrt(0.05 * 0.95 / simulations)
    parts = [
        f"Equal on average, and yet called better or worse, in percent of {simulations} simulated comparisons (5 promised; two "
        f"standard errors are {error:.1f}). 100 less this is the coverage of the interval, where there is one.",
        _table("differences", rows["wrong"]),
        "The same by the percentile bootstrap, which the library does not use:",
        _table("differences", rows["wrong_percentile"]),
        "Truly better, and found to be, in percent:",
        _table("differences", rows["found"]),
        "How often Wilson's interval of a share holds the true one, in percent, exactly:",
        _table("true share", rows["share_coverage"]),
    ]
    return "\n\n".join(parts)


def _table(title: str, rows: dict[str, dict[str, float]]) -> str:
    lines = [f"| {title} | {' | '.join(f'{n} images' for n in IMAGES)} |", "|---" * (len(IMAGES) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(f'{100 * row[str(n)]:.1f}' for n in IMAGES)} |" for name, row in rows.items()]
    return "\n".join(lines)


def main(words: list[str] | None = None) -> int:
    """Simulates unless told not to, and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="only the tables, from the committed JSON")
    options = parser.parse_args(words)
    path = RESULTS / "intervals.json"
    if not options.table:
        content = {"command": "python -m bench.studies.intervals", "simulations": options.simulations, "seed": options.seed}
        write_json(path, {**content, "rows": measured(options.simulations, options.seed)})
    PAGE.write_text(between(PAGE.read_text(), tables(json.loads(path.read_text())), MARKS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
