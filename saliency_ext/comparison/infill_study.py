"""The study of infills: their neutrality, their effect on maps, and the stability of rankings across infills."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..attribution.base import Method
from ..checks import bad_value, require_integer
from ..metrics.fidelity import Fidelity
from ..models.targets import Target
from ..perturbation import Engine, EqualFractions
from ..protocols import Forward, Infill
from ..stats.agreement import disagreement, more_stable, rank_agreement, self_advantage
from ..stats.intervals import Summary, bootstrap_means, fewest_images, interval, summarise
from ._fault_tolerant_infill import fault_tolerant
from ._hog import BLOCK, CELL
from ._ssim import usual_window
from ._study_inputs import AREAS, StudyInputs, score_rows, similarity_rows
from .findings import TOO_FEW, CurveTrace, Finding, Findings, Matrix, correlation_matrix, format_value, verdict_text
from .neutrality import NEUTRALITY, Neutrality, neutrality
from .similarity import Similarities, pairwise_similarity

_SHOWN = "spearman"
_SAME = 0.999  # a rank correlation from which maps are as good as equal

# Makes the method of a name with an infill and a seed.
Generator = Callable[[Infill, int], Method]


def infill_study(
    model: Forward,
    inputs: Tensor,
    target: Target,
    infills: Mapping[str, Infill],
    generators: Mapping[str, Generator],
    *,
    others: Mapping[str, Method] | None = None,
    seeded: tuple[str, ...] = ("rise",),
    truth: Tensor | None = None,
    steps: int = 10,
    score: str = "probability",
    seed: int = 0,
    max_batch: int = 64,
    out: str | Path | None = None,
    facts: Mapping[str, str] | None = None,
) -> Findings:
    """Do infills matter, for the maps and for the verdicts?

    Every generator makes a map with every infill, seeded ones twice; every map, and those of `others`, is scored by MIF, LIF and
    Fidelity with every infill.

    Args:
        model: callable (B, C, H, W) -> logits (B, K).
        inputs: (N, C, H, W); an image with NaN has no values.
        target: (N,) classes, one class, or "predicted".
        infills: name -> infill, at least two. One that fails for a sample leaves it without values, with a status.
        generators: name -> function (infill, seed) -> method.
        others: name -> method that has no infill, or a control.
        seeded: generators whose seed matters: their noise floor is measured.
        truth: (N, H, W) bool, the object, for N6 and N8.
        steps, score: of the curves.
        max_batch: images per forward.
        out: a folder in which scores are kept as a `Study`, so that a run that was stopped does not score again. None: nowhere.
        facts: what a report shall say besides.

    Returns:
        `Findings` with tables "neutrality", "similarity" and "scores".

    Raises:
        TypeError, ValueError: fewer than two infills, no generator; otherwise as `neutrality` and `evaluate`.

    Note:
        Deterministic as far as the model is. Cost: neutrality, the maps, and 2 steps forwards per map, infill and image.
    """
    if len(infills) < 2:
        bad_value("infill_study", "infills", "at least two to compare", len(infills))
    if not generators:
        bad_value("infill_study", "generators", "at least one method that has an infill", "none")
    require_integer("infill_study", "steps", steps, 1, 2**16)
    safe = {name: fault_tolerant(infill) for name, infill in infills.items()}
    study_inputs = StudyInputs.of(model, inputs, target, truth, max_batch)
    engine = Engine(model, max_batch=max_batch)
    neutral = neutrality(model, inputs, study_inputs.target, safe, truth=truth, steps=steps, seed=seed, engine=engine)
    for name, statuses in zip(neutral.names, neutral.status, strict=True):
        study_inputs.statuses.update((f"infill {name}", status) for status in statuses)

    groups: dict[str, Similarities] = {}
    maps: dict[str, Tensor] = {}
    for name, make in generators.items():
        own = {label: study_inputs.maps(f"{name}@{label}", make(infill, seed)) for label, infill in safe.items()}
        again = None
        if name in seeded:
            again = {
                label: study_inputs.maps(f"{name}@{label}, another seed", make(infill, seed + 1))
                for label, infill in safe.items()
            }
        groups[name] = pairwise_similarity(own, again=again, measures=_measures(inputs))
        maps |= {f"{name}@{label}": saliency for label, saliency in own.items()}
    maps |= {name: study_inputs.maps(name, method) for name, method in (others or {}).items()}
    metrics = {name: Fidelity(infill, EqualFractions(steps), score=score, seed=seed) for name, infill in safe.items()}
    scores = study_inputs.scores(maps, metrics, out)

    findings = [neutral_finding(neutral), *(maps_finding(name, result) for name, result in groups.items())]
    findings += order_findings(scores, list(safe), list(maps))
    findings += [advantage_finding(name, scores, list(safe), list(maps)) for name in generators]
    tables: dict[str, list[dict[str, Any]]] = {
        "neutrality": [
            {"infill": name, "measure": measure, "image": image, "value": value, "status": neutral.status[row][image]}
            for measure in NEUTRALITY
            for row, name in enumerate(neutral.names)
            for image, value in enumerate(neutral.values[measure][row].tolist())
        ],
        "similarity": [row for name, result in groups.items() for row in similarity_rows(name, result)],
        "scores": score_rows(scores, list(safe), list(maps)),
    }
    to_text = {name: f"{what}; neutral: {neutral}" for name, (what, neutral) in NEUTRALITY.items()}
    return Findings("Do infills matter?", findings, tables, {**(facts or {}), **to_text}, study_inputs.missing())


def _measures(inputs: Tensor) -> list[str]:
    """The measures that maps of this size allow."""
    height, width = inputs.shape[2:]
    smallest, small = min(height, width), {"ssim": usual_window(height, width), "hog": BLOCK * CELL}
    return [name for name in ("spearman", "pearson", "kendall", "ssim", "iou_10", "hog") if smallest >= small.get(name, 1)]


def neutral_finding(result: Neutrality) -> Finding:
    """Which infill changes least in context."""
    means = result.values["N6"].nanmean(1)
    numbers: dict[str, float | Summary] = {
        f"{measure} {name}": result.summary(measure, name) for measure in NEUTRALITY for name in result.names
    }
    rows = [[result.summary(measure, name).mean for measure in NEUTRALITY] for name in result.names]
    matrix = Matrix("N1 to N8, explained under parameters (means over images)", result.names, tuple(NEUTRALITY), rows, 0.0, 1.0)
    question = "Which infill is most neutral?"
    if not bool(means.isfinite().any()):
        return Finding(question, "Not measured: no infill has values.", numbers, [matrix], [_reliability(result)])
    order = means.nan_to_num(math.inf).argsort().tolist()
    best = result.names[order[0]]
    verdict = (
        f"In context {best}: a square of it away from the object moves the "
        f"probability by {format_value(result.summary('N6', best), 3)}"
    )
    gap = result.values["N6"][order[1]] - result.values["N6"][order[0]]
    apart = summarise(gap[gap.isfinite()], len(gap))
    if apart.images:
        unsure = "which is not significant"
        significance = verdict_text(apart, above="a significant difference", below=unsure, neither=unsure)
        verdict += f"; next is {result.names[order[1]]}, by {format_value(apart, 3)} more, {significance}."
    else:
        verdict += "; no other infill has values on the same images."
    flattest = result.names[int(result.values["N3"].nanmean(1).nan_to_num(-1.0).argmax())]
    verdict += f" On the infill alone, the model's prediction is least certain for {flattest}."
    return Finding(question, verdict, numbers, [matrix], [_reliability(result)])


def _reliability(neutral: Neutrality) -> CurveTrace:
    lines = {}
    for name, curves in zip(neutral.names, neutral.curves, strict=True):
        known = curves[curves.isfinite().all(1)]
        mean = known.mean(0)
        low, high = interval(bootstrap_means(known), len(known)) if len(known) >= fewest_images() else (mean, mean)
        lines[name] = (mean.tolist(), low.tolist(), high.tolist())
    title = "Largest probability while random pixels are filled (N7)"
    return CurveTrace(title, "share of pixels filled", "largest probability", neutral.fractions.tolist(), lines)


def maps_finding(name: str, similarities: Similarities) -> Finding:
    """Does the infill change the maps more than the seed does?"""
    between, chance = similarities.summary(_SHOWN), similarities.reference(_SHOWN, "chance")
    floor = similarities.reference(_SHOWN, "noise_floor")
    verdict = (
        f"Two infills give maps with a rank correlation of {format_value(between)}; "
        f"an unrelated image gives {format_value(chance)}"
    )
    if math.isfinite(floor.mean):
        verdict += f", the same infill with another seed {format_value(floor)}. "
    else:
        verdict += "; no noise floor was measured. "
    verdict += _beyond_noise(between, floor)
    numbers: dict[str, float | Summary] = {}
    for measure in similarities.values:
        kinds = {"between infills": similarities.summary(measure)}
        kinds |= {kind.replace("_", " "): similarities.reference(measure, kind) for kind in ("noise_floor", "chance")}
        numbers |= {f"{measure}, {kind}": value for kind, value in kinds.items()}
    matrices = [
        correlation_matrix(f"{name}: {measure} of the maps of two infills", similarities.names, similarities.matrix(measure))
        for measure in similarities.values
        if measure in (_SHOWN, "ssim")
    ]
    return Finding(f"Do maps of {name} depend on the infill?", verdict, numbers, matrices)


def _beyond_noise(between: Summary, floor: Summary) -> str:
    """Whether two infills differ more than two seeds, or at all where there is no noise floor."""
    measured = math.isfinite(floor.mean)
    if not math.isfinite(between.low) or (measured and not math.isfinite(floor.low)):
        return f"{TOO_FEW.capitalize()}."
    if not measured:
        return "The infill changes the maps." if between.high < _SAME else "The infill hardly matters."
    if between.high < floor.low:
        return "The infill changes the maps more than the seed does."
    return "That is not clearly below the noise floor of the seed."


def order_findings(scores: Mapping[str, Tensor], settings: list[str], maps: list[str]) -> list[Finding]:
    """Flips, stability of the difference, disagreement of the two orders."""
    result = {area: rank_agreement(scores[area], settings, maps) for area in AREAS}
    flips, names = result["fidelity"].flips, tuple(settings)
    images_alone, decided = format_value(result["fidelity"].flips_other_images), format_value(result["fidelity"].decided_flips)
    first = Finding(
        "Does the order of two maps survive another metric infill?",
        f"Under Fidelity {format_value(flips)} of the pairs of maps change their order when only the metric's "
        f"infill changes; other "
        f"images of the kind would flip {images_alone}, and {decided} flip although both orders are significant. "
        f"Under MIF alone it is {format_value(result['mif'].flips)}.",
        {
            f"{area}, {kind}": value
            for area, each in result.items()
            for kind, value in (
                ("flips", each.flips),
                ("decided flips", each.decided_flips),
                ("flips with other images", each.flips_other_images),
            )
        },
        [
            correlation_matrix(f"Kendall's tau of the rankings under two infills: {area}", names, each.tau)
            for area, each in result.items()
        ],
    )
    tau, rho = more_stable(scores["fidelity"], scores["mif"])
    stability = verdict_text(rho, above="more stable", below="less stable", neither="no significant difference in stability")
    each_rho = ", ".join(f"{area} {format_value(result[area].mean_rho)}" for area in ("mif", "lif", "fidelity"))
    second = Finding(
        "Does Fidelity rank methods more stably across infills than MIF alone?",
        f"Mean rank correlation of the rankings under two infills: {each_rho}. Fidelity less MIF: {format_value(rho)}: "
        f"{stability}.",
        {
            f"{area}, {kind}": value
            for area, each in result.items()
            for kind, value in (("rho", each.mean_rho), ("tau", each.mean_tau))
        }
        | {"fidelity - mif, rho": rho, "fidelity - mif, tau": tau},
        [
            Matrix(
                f"Mean score of each map (rows) under each metric infill: {area}",
                tuple(maps),
                names,
                means.T.tolist(),
                *_range(means),
            )
            for area, means in ((area, sign * scores[area].nanmean(2)) for area, sign in AREAS.items())
        ],
    )
    rates = [disagreement(scores["mif"][row], scores["lif"][row]) for row in range(len(settings))]
    alphas = {area: each.alpha for area, each in result.items()}
    measured = [row for row, rate in enumerate(rates) if math.isfinite(rate.mean)] or [0]
    low, high = (pick(measured, key=lambda row: rates[row].mean) for pick in (min, max))
    third = Finding(
        "Do MIF and LIF agree which map of an image is better?",
        f"They disagree about {format_value(rates[low])} of the pairs with {settings[low]}, "
        f"{format_value(rates[high])} with {settings[high]}. "
        f"Images agree on the ranking with an alpha of {format_value(alphas['mif'][low])} "
        f"(MIF) and {format_value(alphas['fidelity'][low])} "
        f"(Fidelity) under {settings[low]}.",
        {f"disagreement, {name}": rate for name, rate in zip(settings, rates, strict=True)}
        | {f"alpha of {area}, {name}": value for area, own in alphas.items() for name, value in zip(settings, own, strict=True)},
    )
    return [first, second, third]


def advantage_finding(generator: str, scores: Mapping[str, Tensor], settings: list[str], maps: list[str]) -> Finding:
    """Does a map gain when its own infill judges it?"""
    columns = [maps.index(f"{generator}@{label}") for label in settings]
    result = {area: self_advantage(scores[area][:, columns].transpose(0, 1)) for area in AREAS}
    gain = result["fidelity"]
    verdict = verdict_text(gain, above="it is favoured", below="it is put at a disadvantage", neither="no clear advantage")
    text = (
        f"Matched less unmatched infill, Fidelity: {format_value(gain, 3)}: {verdict}. "
        f"MIF alone, sign turned: {format_value(result['mif'], 3)}."
    )
    return Finding(f"Is {generator} favoured when its own infill judges it?", text, dict(result))


def _range(values: Tensor) -> tuple[float, float]:
    known = values[values.isfinite()]
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
