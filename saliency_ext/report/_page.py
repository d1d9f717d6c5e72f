"""The content of the page in its order, as text and markup for the template."""

from dataclasses import asdict
from typing import Any

from ..bibliography import full_reference
from ..protocols import MethodInfo, MetricInfo
from ._drawings import bars_of, curves_section, pictures_section
from ._formatting import number, span
from ._pairs import pairs_section
from ._ranking_significance import RankingSignificance
from ._verdict import JUDGING, Verdict, listed, sentence, verdict
from .data import STATUS_TEXTS, MethodLine, MetricLine, ReportData, SampleError

ARROWS = {"higher": "↑", "lower": "↓", "none": ""}
DIRECTIONS = {"higher": "higher is better", "lower": "lower is better", "none": "no direction is better"}
KINDS = {"equal": "No difference", "controls": "Controls", "agreement": "Agreement", "caution": "Caution"}


def page_of(data: ReportData) -> dict[str, Any]:
    """Everything the template shows."""
    summary = verdict(data)
    rankings = {ranking.metric.name: ranking for ranking in summary.significances}
    lines = _ordered(data, summary.significances)
    return {
        "title": data.title,
        "scope": _scope(data),
        "verdict": _verdict(summary),
        "stopped": _stopped(data),
        "metrics": [_metric(line, data) for line in data.metrics],
        "table": [_row(line, data, rankings) for line in lines],
        "bars": [bars_of(data, line, rankings.get(line.name)) for line in data.metrics],
        "curves": [section for line in data.metrics if (section := curves_section(data, line, [each.name for each in lines]))],
        "pictures": pictures_section(data),
        "pairs": pairs_section(data.pairs),
        "methods": [
            {"name": line.name, "control": line.control, "reference": _reference(line.info), **_about(line.info)}
            for line in data.methods
        ],
        "facts": data.facts,
        "counters": _counters(data),
        "faults": [asdict(fault) | {"where": _where(fault, data)} for fault in data.sample_errors],
        "doubts": [
            {"map": name, "metric": metric, "status": status, "count": count, "reason": STATUS_TEXTS.get(status, "")}
            for name, metric, status, count in data.doubts
        ],
        "images": data.images,
        "most_images": max(int(result.valid.sum()) for result in data.results.values()),
        "arrows": ARROWS,
        "directions": DIRECTIONS,
    }


def _scope(data: ReportData) -> str:
    controls = len(data.controls)
    population = data.stopped.population if data.stopped is not None else data.images
    counts = (
        (len(data.methods) - controls, "", "method"),
        (controls, "", "control"),
        (population, f"{data.images} of " if data.images < population else "", "image"),
        (len(data.metrics), "", "metric"),
    )
    return ", ".join(f"{part}{count} {noun}{'' if count == 1 else 's'}" for count, part, noun in counts)


def _stopped(data: ReportData) -> dict[str, Any] | None:
    """Where and why a study with a stop rule ended: sentences, and its pairwise comparisons."""
    if data.stopped is None:
        return None
    result = data.stopped
    pairs = [
        {
            "names": f"{pair.first} - {pair.second}",
            "mean": number(pair.mean),
            "interval": span(pair.low, pair.high),
            "images": pair.images,
            "verdict": pair.outcome,
        }
        for pair in result.pairs
    ]
    sentences = [text for text in (result.reason, result.share, result.guarantee) if text]
    return {"metric": result.metric, "sentences": sentences, "pairs": pairs}


def _reference(info: MetricInfo | MethodInfo) -> str:
    return info.citation or full_reference(info.reference)


def _about(info: MethodInfo) -> dict[str, str]:
    return {"family": info.family, "cost": info.cost, "signed": "signed" if info.signed else "unsigned"}


def _verdict(summary: Verdict) -> dict[str, Any]:
    return {
        "headline": summary.headline,
        "points": [{"kind": kind, "label": KINDS[kind], "text": text} for kind, text in summary.points],
        "taus": _taus(summary),
        "metrics": [
            {
                "name": each.metric.name,
                "arrow": ARROWS[each.metric.info.direction],
                "direction": DIRECTIONS[each.metric.info.direction],
                "text": sentence(each),
                "aside": each.metric.info.role not in JUDGING,
                "images": each.images,
                "pairs": _pairs(each),
            }
            for each in summary.significances
        ],
    }


def _taus(summary: Verdict) -> dict[str, Any]:
    columns = list(dict.fromkeys(column for _, column in summary.taus))
    rows = dict.fromkeys(row for row, _ in summary.taus)
    cells = {row: [f"{summary.taus[row, c]:+.2f}" if (row, c) in summary.taus else "n/a" for c in columns] for row in rows}
    return {"columns": columns, "rows": [{"name": name, "cells": values} for name, values in cells.items()]}


def _pairs(ranking: RankingSignificance) -> list[dict[str, Any]]:
    """For each map, best mean first: what it is better than, and what it is not distinguishable from."""
    return [
        {
            "name": name,
            "control": name in ranking.controls,
            "better": listed([other for other in ranking.order if (name, other) in ranking.decided]) or "none",
            "equal": listed([other for other in ranking.order if other != name and _equal(ranking, name, other)]) or "none",
        }
        for name in ranking.order
    ]


def _equal(ranking: RankingSignificance, name: str, other: str) -> bool:
    return not {(name, other), (other, name)} & ranking.decided


def _metric(line: MetricLine, data: ReportData) -> dict[str, Any]:
    return {
        "name": line.name,
        "arrow": ARROWS[line.info.direction],
        "direction": DIRECTIONS[line.info.direction],
        "unit": line.info.unit,
        "measures": line.info.measures,
        "meaning": line.info.meaning,
        "reference": _reference(line.info),
        "parameters": line.parameters,
    }


def _ordered(data: ReportData, significances: list[RankingSignificance]) -> list[MethodLine]:
    """Methods by their mean under the first metric that has a direction, then controls."""
    order = {name: place for place, name in enumerate(significances[0].order)} if significances else {}
    return sorted(data.methods, key=lambda line: (line.control, order.get(line.name, len(order))))


def _row(line: MethodLine, data: ReportData, significances: dict[str, RankingSignificance]) -> dict[str, Any]:
    cells = [_cell(data, line.name, metric, significances.get(metric.name)) for metric in data.metrics]
    return {"name": line.name, "control": line.control, "cells": cells}


def _cell(data: ReportData, method: str, metric: MetricLine, ranking: RankingSignificance | None) -> dict[str, Any]:
    summary = data.summary(method, metric.name)
    decisive = ranking is not None and ranking.enough
    return {
        "mean": number(summary.mean),
        "interval": span(summary.low, summary.high),
        "images": summary.images,
        "best": ranking is not None and decisive and method in ranking.leaders,
        "failing": listed(ranking.failing.get(method, [])) if ranking is not None and decisive else "",
    }


def _counters(data: ReportData) -> list[dict[str, str]]:
    c, seconds = data.counters, data.counters.seconds
    saved = data.requested - data.run
    rows = [
        (f"{data.counted}, requested", f"{data.requested:,}", "by all maps and metrics"),
        ("distinct, forwarded", f"{data.run:,}", "equal ones are forwarded once"),
        ("saved", f"{saved:,} ({saved / data.requested if data.requested else 0:.0%})", "without any effect on the results"),
        ("forwards of the model", f"{c.forwards:,}", f"{c.images_forwarded:,} images, of which {c.images_padded:,} were padding"),
        ("batches halved: out of memory", str(c.out_of_memory), f"{c.images_failed} images did not fit even alone"),
        ("seconds in the model", f"{seconds['forward']:.1f}", "on masked inputs; without the gradients of methods"),
        ("seconds rendering masked inputs", f"{seconds['render']:.1f}", ""),
        ("seconds elsewhere", f"{seconds['rest']:.1f}", "maps, ranks of pixels, metrics"),
    ]
    return [{"what": what, "value": value, "note": note} for what, value, note in rows]


def _where(fault: SampleError, data: ReportData) -> str:
    """Which maps and metrics, in few words where it is all of them."""
    maps = "every map" if len(fault.maps) == len(data.methods) else ", ".join(fault.maps)
    metrics = "every metric" if len(fault.metrics) == len(data.metrics) else ", ".join(fault.metrics)
    return f"{maps} under {metrics}"
