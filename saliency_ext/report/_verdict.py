"""The verdict in words: which methods lead, which are not distinguishable, which do not beat the controls."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from ..metrics.registry import METRICS
from ._ranking_significance import RankingSignificance, kendall, significance
from .data import ReportData

JUDGING = ("truth", "order")  # roles of metrics that can rank maps on their own
_MOST_PAIRS = 6  # more are counted instead of listed


@dataclass(frozen=True)
class Verdict:
    """The summary at the top of a report.

    significances: per metric with a direction. headline: a sentence. points: (kind, sentence) with kind "equal", "controls",
    "agreement" or "caution". taus: (perturbation metric, ground-truth metric) -> Kendall's tau of their rankings.
    """

    significances: list[RankingSignificance]
    headline: str
    points: list[tuple[str, str]]
    taus: dict[tuple[str, str], float]

    def to_text(self) -> str:
        """The whole verdict as lines of text."""
        lines = [self.headline, *(text for _, text in self.points)]
        return "\n".join(lines + [f"{ranking.metric.name}: {sentence(ranking)}" for ranking in self.significances])


def verdict(data: ReportData) -> Verdict:
    """The verdict over all metrics; only those that can rank maps on their own count."""
    significances = [result for metric in data.metrics if (result := significance(data, metric)) is not None]
    judging = [result for result in significances if result.metric.info.role in JUDGING and result.methods]
    decisive = [result for result in judging if result.enough]
    taus = _agreement(judging)
    points = _equal(decisive) + _controls(decisive) + _agreed(taus) + _cautions(data)
    return Verdict(significances, _headline(judging, decisive, len(data.controls)), points, taus)


def sentence(ranking: RankingSignificance) -> str:
    """One metric in words."""
    if not ranking.methods:
        return "Only controls were compared."
    if not ranking.enough:
        images = "1 image is" if ranking.images == 1 else f"{ranking.images} images are"
        return f"{images} too few to distinguish any of the {len(ranking.order)} maps."
    best, *equal = ranking.leaders
    parts = [f"{best} leads" if not equal else f"{best} has the best mean, but is not distinguishable from {listed(equal)}"]
    if not ranking.controls:
        parts.append("No control was run")
    elif ranking.failing:
        parts += [f"{name} is {_shortfall(ranking, name)}" for name in ranking.failing]
    else:
        parts.append("Every method beats every control")
    if ranking.left_out:
        parts.append(f"Not compared, too few values: {listed(ranking.left_out)}")
    return ". ".join(parts) + "."


def listed(names: Sequence[str]) -> str:
    """Names as in a sentence: `a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part) if names else ""


def _headline(judging: Sequence[RankingSignificance], decisive: Sequence[RankingSignificance], controls: int) -> str:
    if not judging:
        return "No method can be recommended: no metric was run that can rank maps on its own."
    if not decisive:
        return "No difference can be established: there are too few images."
    everywhere = sorted(set.intersection(*(set(result.leaders) for result in decisive)))
    if not everywhere:
        return f"No method leads under every metric. Most often among the best: {'; '.join(_most_often(decisive))}."
    names, under = listed(everywhere), f"all {len(decisive)} metrics" if len(decisive) > 1 else decisive[0].metric.name
    if len(everywhere) == 1 and all(len(result.leaders) == 1 for result in decisive):
        text = f"{names} leads under {under}"
    else:
        text = f"{names} {'is' if len(everywhere) == 1 else 'are'} among the best under {under}"
    doubtful = [name for name in everywhere if any(name in result.failing for result in decisive)]
    if not any(result.controls for result in decisive):
        return f"{text}, but no control was run."
    if doubtful:
        return f"{text}, but {listed(doubtful)} {'does' if len(doubtful) == 1 else 'do'} not beat every control."
    compared = "" if all(len(result.controls) == controls for result in decisive) else " that had values"
    return f"{text}, and {'beats' if len(everywhere) == 1 else 'beat'} every control{compared}."


def _most_often(decisive: Sequence[RankingSignificance]) -> list[str]:
    """Methods that are among the best under at least half of the metrics, or else most often; with the metrics."""
    metrics = [result.metric.name for result in decisive]
    won = {name: [f.metric.name for f in decisive if name in f.leaders] for f in decisive for name in f.leaders}
    least = min(max(map(len, won.values())), len(metrics) / 2)
    often = sorted((item for item in won.items() if len(item[1]) >= least), key=lambda item: -len(item[1]))
    missed = {name: [metric for metric in metrics if metric not in under] for name, under in often}
    brief = {name: len(missed[name]) < len(under) for name, under in often}
    return [f"{name} ({f'all but {listed(missed[name])}' if brief[name] else listed(under)})" for name, under in often]


def _shortfall(ranking: RankingSignificance, name: str) -> str:
    """How a method falls short of controls."""
    worse = [control for control in ranking.failing[name] if (control, name) in ranking.decided]
    equal = [control for control in ranking.failing[name] if control not in worse]
    parts = [f"not better than {listed(equal)}"] if equal else []
    return " and ".join(parts + ([f"worse than {listed(worse)}"] if worse else []))


def _equal(decisive: Sequence[RankingSignificance]) -> list[tuple[str, str]]:
    names = [name for name in decisive[0].methods if all(name in result.order for result in decisive)] if decisive else []
    pairs = list(combinations(names, 2))
    equal = [pair for pair in pairs if not any({pair, pair[::-1]} & result.decided for result in decisive)]
    if not equal:
        return []
    if len(equal) > _MOST_PAIRS:
        return [("equal", f"{len(equal)} of {len(pairs)} pairs of methods are not distinguishable under any metric.")]
    return [("equal", f"Not distinguishable under any metric: {'; '.join(listed(pair) for pair in equal)}.")]


def _controls(decisive: Sequence[RankingSignificance]) -> list[tuple[str, str]]:
    controlled = [result for result in decisive if result.controls]
    if not controlled:
        return []
    failing = dict.fromkeys(name for result in controlled for name in result.failing)
    if not failing:
        return [("controls", "Every method beats every control under every metric that can rank maps on its own.")]
    where = {name: [result for result in controlled if name in result.failing] for name in failing}
    parts = [f"{name} under {listed([_briefly(result, name) for result in under])}" for name, under in where.items()]
    clear = [
        name for name in controlled[0].methods if all(name in each.methods and name not in each.failing for each in controlled)
    ]
    beating = f" {listed(clear)} {'beats' if len(clear) == 1 else 'beat'} them all." if clear else ""
    return [("controls", f"Not better than some control: {'; '.join(parts)}.{beating}")]


def _briefly(ranking: RankingSignificance, name: str) -> str:
    """A metric, and whether a control is even better than the method there; which controls, `sentence` says."""
    worse = any((control, name) in ranking.decided for control in ranking.failing[name])
    return f"{ranking.metric.name} (worse)" if worse else ranking.metric.name


def _agreement(judging: Sequence[RankingSignificance]) -> dict[tuple[str, str], float]:
    """Kendall's tau of the rankings of the methods by perturbation metrics and by ground-truth metrics."""
    by_order = [result for result in judging if result.metric.info.role == "order"]
    by_truth = [result for result in judging if result.metric.info.role == "truth"]
    taus = {(a.metric.name, b.metric.name): kendall(a, b) for a in by_order for b in by_truth}
    return {pair: tau for pair, tau in taus.items() if tau is not None}


def _agreed(taus: dict[tuple[str, str], float]) -> list[tuple[str, str]]:
    if not taus:
        return []
    low, high = min(taus.values()), max(taus.values())
    size = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"from {low:.2f} to {high:.2f}"
    how = "similarly" if low > 0.5 else "only partly similarly" if high > 0 else "differently"
    return [("agreement", f"Perturbation metrics and ground-truth metrics rank the methods {how}: Kendall's tau {size}.")]


def _cautions(data: ReportData) -> list[tuple[str, str]]:
    result = []
    if not any(line.info.class_specific for line in data.metrics):
        specific = listed([name for name, metric in METRICS.items() if metric.info.class_specific])
        text = (
            "No metric here tests whether a map is specific to its class: a map that marks all objects scores well. "
            f"Add {specific}, or, where the truth is known, the difference of a truth metric between target and distractor."
        )
        result.append(("caution", text))
    if not data.controls:
        result.append(("caution", "No control was run: there is no evidence that any method is better than a random map."))
    lost = len({sample for fault in data.sample_errors for sample in fault.samples})
    if lost:
        result.append(
            ("caution", f"{lost} image{' has' if lost == 1 else 's have'} no value under some map and metric: see the statuses.")
        )
    return result
