"""The study of hyper-parameters: how far one choice at a time moves a map, beside what another seed does."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..attribution.base import Method
from ..checks import bad_value
from ..metrics.fidelity import Fidelity
from ..models.targets import Target
from ..perturbation import EqualFractions
from ..protocols import Forward, Infill
from ..stats.agreement import rank_agreement
from ..stats.intervals import Summary, summarise
from ._fault_tolerant_infill import fault_tolerant
from ._study_inputs import StudyInputs, score_rows, similarity_rows
from .findings import TOO_FEW, Finding, Findings, correlation_matrix, format_value, verdict_text
from .similarity import Similarities, pairwise_similarity

_SHOWN = ("spearman", "pearson", "iou_10")


def hyperparameter_study(
    model: Forward,
    inputs: Tensor,
    target: Target,
    families: Mapping[str, Mapping[str, Method]],
    *,
    infill: Infill,
    again: Mapping[str, Method] | None = None,
    others: Mapping[str, Method] | None = None,
    steps: tuple[int, ...] = (5, 10, 20, 64),
    score: str = "probability",
    seed: int = 0,
    max_batch: int = 64,
    out: str | Path | None = None,
    facts: Mapping[str, str] | None = None,
) -> Findings:
    """Do hyper-parameters matter, for the maps and for the verdicts?

    Args:
        model, inputs, target, score, seed, max_batch, out, facts: as for `infill_study`.
        families: name -> variants of one method: name -> method, the first being the usual one; a variant's name begins with the
            choice that it changes, before " = ". At least two each.
        infill: of the metrics.
        again: family -> its usual method with another seed, where it has one: the noise floor.
        others: name -> method that is scored besides.
        steps: numbers of steps of the curves, at least two; the rankings under any two are compared.

    Returns:
        `Findings` with tables "similarity" and "scores".

    Raises:
        TypeError, ValueError: a family without variants, fewer than two numbers of steps; otherwise as `evaluate`.
    """
    for name, variants in families.items():
        if len(variants) < 2:
            bad_value("hyperparameter_study", f"families[{name!r}]", "at least two variants to compare", len(variants))
    steps = tuple(dict.fromkeys(steps))
    if not families or len(steps) < 2:
        bad_value("hyperparameter_study", "families and steps", "at least one family, and two numbers of steps", f"{steps}")
    study_inputs = StudyInputs.of(model, inputs, target, None, max_batch)
    maps: dict[str, Tensor] = {}
    findings: list[Finding] = []
    rows: list[dict[str, Any]] = []
    for name, variants in families.items():
        own = {label: study_inputs.maps(f"{name}, {label}", method) for label, method in variants.items()}
        usual = next(iter(variants))
        repeated = {usual: study_inputs.maps(f"{name}, another seed", (again or {})[name])} if name in (again or {}) else None
        result = pairwise_similarity(own, again=repeated, measures=_SHOWN)
        findings += [_choice(name, usual, choice, labels, result) for choice, labels in _choices(variants).items()]
        findings[-1] = _with_matrix(findings[-1], name, result)
        rows += similarity_rows(name, result)
        maps |= {f"{name}, {label}": saliency for label, saliency in own.items()}
    maps |= {name: study_inputs.maps(name, method) for name, method in (others or {}).items()}
    guard = fault_tolerant(infill)
    settings = [f"{count} steps" for count in steps]
    metrics = {
        label: Fidelity(guard, EqualFractions(count), score=score, seed=seed)
        for label, count in zip(settings, steps, strict=True)
    }
    scores = study_inputs.scores(maps, metrics, out)
    findings.append(_steps(scores, settings, list(maps)))
    tables = {"similarity": rows, "scores": score_rows(scores, settings, list(maps))}
    return Findings("Do hyper-parameters matter?", findings, tables, dict(facts or {}), study_inputs.missing())


def _choices(variants: Mapping[str, Method]) -> dict[str, list[str]]:
    """Choice -> the variants that change it."""
    result: dict[str, list[str]] = {}
    for label in list(variants)[1:]:
        result.setdefault(label.partition(" = ")[0], []).append(label)
    return result


def _choice(name: str, usual: str, choice: str, labels: list[str], similarities: Similarities) -> Finding:
    """One choice: each variant against the usual map."""
    near = {label: similarities.summary("spearman", [(usual, label)]) for label in labels}
    floor, chance = similarities.reference("spearman", "noise_floor"), similarities.reference("spearman", "chance", [usual])
    listed = "; ".join(f"{format_value(value)} at {label}" for label, value in near.items())
    verdict = f"Rank correlation with the usual map ({usual}): {listed}."
    if math.isfinite(floor.mean):
        verdict += (
            f" Another seed: {format_value(floor)}; an unrelated image: {format_value(chance)}. "
            f"{_beyond_noise(similarities, usual, labels)}"
        )
    else:
        verdict += f" An unrelated image: {format_value(chance)}; no noise floor was measured."
    numbers: dict[str, float | Summary] = {**near, "another seed": floor, "an unrelated image": chance}
    return Finding(f"Does the choice of {choice} matter for {name}?", verdict, numbers)


def _beyond_noise(similarities: Similarities, usual: str, labels: list[str]) -> str:
    """Which variants are further from the usual map than another seed is, image by image."""
    here = similarities.names.index(usual)
    beyond, not_beyond = "beyond the noise of the seed", "not beyond it"
    to_text: dict[str, list[str]] = {beyond: [], not_beyond: [], TOO_FEW: []}
    for label in labels:
        gap = similarities.noise_floor["spearman"][here] - similarities.values["spearman"][here, similarities.names.index(label)]
        apart = summarise(gap[gap.isfinite()], len(gap))
        to_text[verdict_text(apart, above=beyond, below=not_beyond, neither=not_beyond)].append(label)
    if to_text[not_beyond] == labels:
        return f"None is {beyond}."
    return " ".join(f"{words.capitalize()}: {', '.join(of)}." for words, of in to_text.items() if of)


def _with_matrix(finding: Finding, name: str, similarities: Similarities) -> Finding:
    matrices = [
        correlation_matrix(f"{name}: {measure} of the maps of two variants", similarities.names, similarities.matrix(measure))
        for measure in ("spearman", "iou_10")
    ]
    return Finding(finding.question, finding.verdict, finding.numbers, matrices)


def _steps(scores: Mapping[str, Tensor], settings: list[str], maps: list[str]) -> Finding:
    result = {area: rank_agreement(table, settings, maps) for area, table in scores.items()}
    fidelity = result["fidelity"]
    verdict = (
        f"Rankings under two step sizes have a Kendall's tau of {format_value(fidelity.mean_tau)} (Fidelity) and "
        f"{format_value(result['mif'].mean_tau)} (MIF); {format_value(fidelity.flips)} "
        f"of the pairs of maps change their order under Fidelity, "
        f"where other images would change {format_value(fidelity.flips_other_images)}."
    )
    numbers: dict[str, float | Summary] = {}
    for area, each in result.items():
        numbers |= {f"{area}, tau": each.mean_tau, f"{area}, flips": each.flips, f"{area}, decided flips": each.decided_flips}
    names = tuple(settings)
    matrices = [
        correlation_matrix(f"Kendall's tau of the rankings under two step sizes: {area}", names, each.tau)
        for area, each in result.items()
    ]
    return Finding("Does the step size of the metric matter?", verdict, numbers, matrices)
