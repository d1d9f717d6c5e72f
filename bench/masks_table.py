"""The tables of mask optimisation of the benchmark page, from the committed JSON."""

import json

from .readme import RESULTS, number


def table() -> str:
    """Mask optimisation in processor time, and the study of what makes learned masks sound, as markdown."""
    names = ("mask_optimisation", "soundness_tv", "mask_pointing")
    bench, study, pointing = (json.loads((RESULTS / f"{name}.json").read_text()) for name in names)
    lines = [
        "Mask optimisation in processor time of one thread ([mask_optimisation.json](bench/results/mask_optimisation.json)):",
        "",
        "| what | against | times faster |",
        "|---|---|---|",
    ]
    for row in bench["rows"]:
        interval = f"{number(row['ratio'])} [{number(row['ratio_low'])}, {number(row['ratio_high'])}]"
        name = f"{row['op']} {row['case']}"
        lines.append(f"| {name} | {row['baseline']} | {interval} |")
    for row in bench["whole"]:
        spent = row["cpu_seconds_per_image"]
        lines.append(f"| {row['method']} | trivial model | {number(spent)} s per image |")
    requested = study["parameters"]
    lines += [
        "",
        "Are learned masks sound, and are maps about the class? Testbed net, "
        f"{requested['images']} images for each of {requested['seeds']} seeds, {requested['steps']} steps "
        "([soundness_tv.json](bench/results/soundness_tv.json), intervals of 95 % over images). The last column: maps that are "
        "at least as good in completeness and soundness both, and better in one.",
        "",
        "| map | completeness, worst class | soundness, worst class | own minus other pointing | dominated by |",
        "|---|---|---|---|---|",
    ]
    for name, row in study["rows"].items():
        cells = [_interval(row[key]) for key in ("completeness", "soundness", "target_minus_distractor")]
        others = [other for other in study["dominated_by"][name] if not other.startswith("intrinsic")]
        own = len(study["dominated_by"][name]) - len(others)
        listed = ", ".join([*others, *([f"{own} intrinsic"] if own else [])]) or "none"
        lines.append(f"| {name} | {' | '.join(cells)} | {listed} |")
    chosen = pointing["parameters"]
    lines += [
        "",
        f"Where intrinsic masks point, own minus other, one choice changed at a time: {chosen['images']} scenes with two "
        f"objects, {chosen['steps']} steps ([mask_pointing.json](bench/results/mask_pointing.json)): "
        + "; ".join(f"{name.removeprefix('intrinsic, ')} {_interval(row)}" for name, row in pointing["rows"].items())
        + ".",
    ]
    return "\n".join(lines)


def _interval(row: dict[str, float]) -> str:
    return f"{row['mean']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
