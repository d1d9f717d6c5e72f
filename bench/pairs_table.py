"""The table of pair verdicts of the benchmark page, from the committed JSON."""

from collections.abc import Sequence
from typing import Any

PUBLISHED = {"pairs2024_diff": "prefix difference", "pairs2024_own": "ownership"}
OURS, THEIRS = "grad_cam", "integrated_gradients"


def table(content: dict[str, Any]) -> str:
    """A line per slice: ours with two attributions, and the published rules; then where ours is not better, and the proofs."""
    names = ", ".join(PUBLISHED.values())
    columns = ["slice", "pairs", "ours, Grad-CAM", "of these at 80 %", "ours, their attribution"]
    lines = [
        "Share of true verdicts on the testbed, with 95 % intervals; a label that the net gives less than 1 % counts as wrong "
        "unless it is truly absent. Measured by `python -m bench.studies.pairs`, segments: "
        f"{content['segments']}, infill: the mean, no limit on what a set may redact. Published rules ({names}) with their own "
        "settings and attribution, integrated "
        "gradients, at a threshold of 80 %; ours try 65 % where 80 % leaves a pair undecided.",
        "",
        f"| {' | '.join([*columns, *(f'published: {name}' for name in PUBLISHED.values())])} |",
        "|---|---|---|---|---|---|---|",
    ]
    slices = list(dict.fromkeys(row["slice"] for row in content["rows"]))
    for name in slices:
        own = row_of(content, name, "default", OURS)
        cells = [_share(own), f"{own['accuracy_at_80']:.2f}", _share(row_of(content, name, "default", THEIRS))]
        cells += [_share(row_of(content, name, rules, THEIRS)) for rules in PUBLISHED]
        lines.append(f"| {name} | {own['pairs']} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_said(content, slices)])


def not_better(content: dict[str, Any], slices: Sequence[str], method: str, key: str = "accuracy") -> list[str]:
    """Slices where ours, with a method under the mean, is not above the better of the published rules."""
    return [
        name
        for name in slices
        if row_of(content, name, "default", method)[key]
        <= max(row_of(content, name, rules, THEIRS)["accuracy"] for rules in PUBLISHED)
    ]


def row_of(content: dict[str, Any], name: str, rules: str, method: str, infill: str = "mean") -> dict[str, Any]:
    """The row of a slice and setting."""
    wanted = (name, rules, method, infill)
    return next(row for row in content["rows"] if (row["slice"], row["rules"], row["method"], row["infill"]) == wanted)


def _said(content: dict[str, Any], slices: Sequence[str]) -> list[str]:
    rows = content["rows"]
    proofs, valid, robust = (sum(row[key] for row in rows) for key in ("proofs", "proofs_valid", "proofs_robust"))
    cost = {rules: [row["masked_inputs_per_pair"] for row in rows if row["rules"] == rules] for rules in ("default", *PUBLISHED)}
    means = {rules: sum(values) / len(values) for rules, values in cost.items()}
    ratios = content["sharing"]["ratio_to_one_pair"]
    lost = {
        "Grad-CAM": not_better(content, slices, OURS),
        "Grad-CAM at 80 % alone": not_better(content, slices, OURS, "accuracy_at_80"),
        "their attribution": not_better(content, slices, THEIRS),
    }
    worse = "; ".join(f"with {what} on {', '.join(names) or 'no slice'}" for what, names in lost.items())
    shown = ", ".join(f"{means[rules]:.0f}" for rules in PUBLISHED)
    return [
        f"Not better than the better published rule: {worse}. Proofs valid when read back and checked: {valid} of {proofs}; "
        f"under a second infill too: {robust}. Masked inputs per pair: {means['default']:.0f} (published: {shown}); all "
        f"ten pairs of a top-5 cost at most {max(ratios):.1f} times those of one. All rows, also under blur and noise: "
        "[bench/results/pairs.json](bench/results/pairs.json)."
    ]


def _share(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return f"{row['accuracy']:.2f} [{low:.2f}, {high:.2f}]"
