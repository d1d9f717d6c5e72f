"""The tables of what fewer forwards cost of the benchmark page, from the committed JSON."""

import json
from collections.abc import Sequence
from typing import Any

from .readme import RESULTS

_NAMES = ("stratified", "adaptive", "ranking", "proxies")


def table() -> str:
    """Drawn steps, adaptive steps, rankings and proxies, as markdown."""
    contents = (json.loads((RESULTS / f"{name}.json").read_text()) for name in _NAMES)
    stratified, adaptive, ranking, proxies = contents
    return "\n".join([*_stratified(stratified), "", *_adaptive(adaptive), "", *_ranking(ranking), "", *_proxies(proxies)])


def _stratified(content: dict[str, Any]) -> list[str]:
    chosen, inputs = content["parameters"], content["masked_inputs"]
    lines = [
        f"Drawn steps: {inputs['stratified']} masked inputs per image and map instead of {inputs['grid']}, on {chosen['scenes']} "
        "testbed scenes evaluated once on the whole grid ([stratified.json](bench/results/stratified.json)). Noise: standard "
        f"error of the mean over images with draws over that without, for {chosen['strata']} strata that are equal, or learned "
        f"from {chosen['pilot']} other images. Bias: over {chosen['reseeds']} reseeds of the learned ones, in standard errors. "
        f"Coverage: of their 95 % intervals from {chosen['images']} images, over {chosen['coverage_reseeds']} reseeds. "
        f"Last column: bias of a coarse {chosen['coarse'] + 1}-point grid, and in standard errors "
        f"(n = {chosen['images']} / all images).",
        "",
        "| method | curve | noise, equal strata | noise, learned strata | bias | coverage | coarse grid off by |",
        "|---|---|---|---|---|---|---|",
    ]
    equal, learned = ([row for row in content["rows"] if row["strata"] == kind] for kind in ("equal", "learned"))
    for plain, row in zip(equal, learned, strict=True):
        errors = (row[f"coarse_bias_in_standard_errors{of}"] for of in ("_of_a_sample", ""))
        off = f"{row['coarse_bias']:+.4f} ({' and '.join(f'{abs(error):.1f}' for error in errors)})"
        cells = [f"{plain['noise_ratio']:.3f}", f"{row['noise_ratio']:.3f}", f"{row['bias_in_standard_errors']:+.3f}"]
        lines.append(f"| {row['method']} | {row['curve']} | {' | '.join(cells)} | {100 * row['coverage']:.1f} % | {off} |")
    return lines


def _adaptive(content: dict[str, Any]) -> list[str]:
    lines = [
        "Adaptive steps on the same curves ([adaptive.json](bench/results/adaptive.json)): points per curve, of "
        f"{content['parameters']['grid'] + 1}, and the share of images whose value is further from that of the whole grid than "
        "the tolerance. Of curves made monotone (running minimum) none may be; those of the net are not monotone to the last "
        "step, and hardly any is certified.",
        "",
        "| method | curve | monotone | tolerance | points | certified | off by more | largest error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in content["rows"]:
        shares = [f"{100 * row[key]:.1f} %" for key in ("certified", "violated")]
        cells = [row["method"], row["curve"], f"{100 * row['monotone']:.0f} %", f"{row['tolerance']:g}"]
        cells += [f"{row['points_per_curve']:.1f}", *shares, f"{row['largest_error']:.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _ranking(content: dict[str, Any]) -> list[str]:
    chosen = content["parameters"]
    lines = [
        f"Rankings over {chosen['orders']} random orders of the {chosen['scenes']} images, each pair by itself at error "
        f"{chosen['alpha']:g} ([ranking.json](bench/results/ranking.json)). Gap: also in standard deviations of the difference. "
        "Saved: masked inputs of all images on the whole grid over those until the verdict, median over orders.",
        "",
        "| metric | pair | gap | steps | margin | wrong | distinguishable | equivalent | images, median | saved |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in content["pairs"]:
        gap = f"{row['gap']:+.4f} ({row['gap_in_deviations']:.2f})"
        shares = [f"{100 * row[key]:.1f} %" for key in ("wrong", "distinguishable", "alike")]
        cells = [row["metric"], f"{row['first']} - {row['second']}", gap, _SCHEMES[row["scheme"]], f"{row['margin']:g}", *shares]
        cells += [f"{row['images_median']:.0f}", f"{row['times_fewer_masked_inputs']:.0f}x"]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", *_together(content["tournaments"], content["equal"], chosen["alpha"])]


_SCHEMES = {"grid": "whole grid", "drawn": "drawn"}


def _together(tournaments: Sequence[dict[str, Any]], equal: Sequence[dict[str, Any]], alpha: float) -> list[str]:
    runs = [
        f"{row['metric']}, {_SCHEMES[row['scheme']]}: {100 * row['any_wrong']:.2f} % with any wrong verdict, "
        f"{100 * row['pairs_left_open']:.0f} % of pairs left open, {row['times_fewer_masked_inputs']:.0f}x fewer masked inputs"
        for row in tournaments
    ]
    same = [f"{row['case']} ({_SCHEMES[row['scheme']]}): {100 * row['distinguishable']:.2f} %" for row in equal]
    return [
        f"All pairs together at error {alpha:g}: {'; '.join(runs)}. False-positive rate on pairs with no true difference "
        f"(nominal: at most {100 * alpha:g} %): {'; '.join(same)}."
    ]


def _proxies(content: dict[str, Any]) -> list[str]:
    chosen = content["parameters"]
    lines = [
        f"Control variates: Fidelity on the whole grid for {chosen['images']} of the {chosen['scenes']} images, a cheaper proxy "
        f"for all ([proxies.json](bench/results/proxies.json)); coverage of 95 % intervals over {chosen['reseeds']} choices. "
        "Gain: factor by which the sample would have to grow for the same variance. "
        "Cost: masked inputs of both; last, the standard error of drawn steps "
        "on as many images as the same masked inputs pay for (at most all: then only their noise is left).",
        "",
        "| method | proxy | correlation | gain | coverage | cost | standard error | drawn steps at that cost |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in content["rows"]:
        cells = [row["method"], row["proxy"], f"{row['correlation']:.3f}", f"{row['gain']:.1f}", f"{100 * row['coverage']:.1f} %"]
        cells += [f"{row['masked_inputs']:,}", f"{row['standard_error']:.5f}", f"{row['standard_error_drawn']:.5f}"]
        lines.append(f"| {' | '.join(cells)} |")
    others = [f"{row['proxy']} {row['correlation']:.3f} [{row['gain']:.1f}x]" for row in content["models"]]
    return [
        *lines,
        "",
        f"Cheaper forwards as proxies for {chosen['model_method']}, on {chosen['model_scenes']} scenes, correlation and gain: "
        f"{'; '.join(others)}.",
    ]
