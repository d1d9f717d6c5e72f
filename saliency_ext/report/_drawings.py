"""The drawn parts of the page: bars with intervals, panels of curves, maps over images."""

from typing import Any

from ._figures import axis_strip, curve_panel, curves_of, interval_strip, shared_extent
from ._formatting import number, span
from ._pictures import colour_bar, data_uri, method_scales, overlay, peak, shrunk
from ._ranking_significance import RankingSignificance
from .data import MetricLine, ReportData


def bars_of(data: ReportData, metric: MetricLine, ranking: RankingSignificance | None) -> dict[str, Any]:
    """Means with intervals of all maps under one metric, best first."""
    names = ranking.order + ranking.left_out if ranking else [line.name for line in data.methods]
    summaries = {name: data.summary(name, metric.name) for name in names}
    ends = [value for s in summaries.values() for value in (s.low, s.high, s.mean) if value == value]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    room = 0.04 * (high - low) or 0.5
    low, high = low - room, high + room
    rows = [
        {
            "name": name,
            "control": name in data.controls,
            "strip": interval_strip(name, summary, low, high, name in data.controls),
            "text": f"{number(summary.mean)} {span(summary.low, summary.high)}".strip(),
        }
        for name, summary in summaries.items()
    ]
    return {"metric": metric.name, "direction": metric.info.direction, "rows": rows, "axis": axis_strip(low, high)}


def curves_section(data: ReportData, metric: MetricLine, order: list[str]) -> dict[str, Any] | None:
    """Panels of all maps in an order under one metric, with one y axis; None for a metric without curves."""
    measured = {name: result for name in order if (result := data.result(name, metric.name)) is not None}
    chance = [line.name for line in data.methods if line.info.chance]
    reference = next(((name, measured[name]) for name in chance if name in measured), None)
    drawn = {name: curves for name, result in measured.items() if (curves := curves_of(result, reference)) is not None}
    if not drawn:
        return None
    extent = shared_extent(drawn.values())
    x_label = metric.info.horizontal
    y_label = str(metric.parameters.get("score", "value")).replace("_", " ")
    styles = {line.style: line.label for curves in drawn.values() for line in curves.lines}
    return {
        "metric": metric.name,
        "legend": [{"style": style, "label": label} for style, label in styles.items()],
        "band": next((curves.band_label for curves in drawn.values() if curves.band is not None), ""),
        "panels": [
            {
                "name": name,
                "control": name in data.controls,
                "svg": curve_panel(f"{name} under {metric.name}", curves, extent, x_label, y_label),
            }
            for name, curves in drawn.items()
        ],
    }


def pictures_section(data: ReportData) -> dict[str, Any] | None:
    """The examples with their maps; None without examples."""
    if not data.examples:
        return None
    scales = method_scales(data.examples)
    rows = []
    for example in data.examples:
        picture, maps = shrunk(example.picture, example.maps)
        cells = [{"name": "image", "control": False, "uri": data_uri(picture), "alt": f"the image: {example.caption}"}]
        for name, saliency in maps.items():
            down, right = peak(saliency)
            alt = f"map of {name}: highest {down:.0%} from the top, {right:.0%} from the left"
            uri = data_uri(overlay(picture, saliency, scales[name]))
            cells.append({"name": name, "control": name in data.controls, "uri": uri, "alt": alt})
        rows.append({"caption": example.caption, "cells": cells})
    return {"rows": rows, "bar": data_uri(colour_bar(), reduce=False)}
