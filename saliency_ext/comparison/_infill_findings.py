"""Sentences and numbers of the study of infills: one question each."""

import math
from collections.abc import Mapping

from torch import Tensor

from ..stats.agreement import disagreement, more_stable, rank_agreement, self_advantage
from ..stats.intervals import Summary, bootstrap_means, fewest_images, interval, summarise
from ._study_inputs import AREAS
from .findings import TOO_FEW, CurveTrace, Finding, Matrix, format_value, verdict_text
from .neutrality import NEUTRALITY, Neutrality
from .similarity import Similarities

_SHOWN = "spearman"
_SAME = 0.999  # a rank correlation from which maps are as good as equal


def neutral_finding(found: Neutrality) -> Finding:
    """Which infill changes least in context."""
    means = found.values["N6"].nanmean(1)
    numbers: dict[str, float | Summary] = {
        f"{measure} {name}": found.summary(measure, name) for measure in NEUTRALITY for name in found.names
    }
    rows = [[found.summary(measure, name).mean for measure in NEUTRALITY] for name in found.names]
    matrix = Matrix("N1 to N8, explained under parameters (means over images)", found.names, tuple(NEUTRALITY), rows, 0.0, 1.0)
    question = "Which infill is most neutral?"
    if not bool(means.isfinite().any()):
        return Finding(question, "Not measured: no infill has values.", numbers, [matrix], [_reliability(found)])
    order = means.nan_to_num(math.inf).argsort().tolist()
    best = found.names[order[0]]
    verdict = (
        f"In context {best}: a square of it away from the object moves the "
        f"probability by {format_value(found.summary('N6', best), 3)}"
    )
    gap = found.values["N6"][order[1]] - found.values["N6"][order[0]]
    apart = summarise(gap[gap.isfinite()], len(gap))
    if apart.images:
        unsure = "which cannot be told apart"
        to_text = verdict_text(apart, above="which can be told apart", below=unsure, neither=unsure)
        verdict += f"; next is {found.names[order[1]]}, by {format_value(apart, 3)} more, {to_text}."
    else:
        verdict += "; no other infill has values on the same images."
    flattest = found.names[int(found.values["N3"].nanmean(1).nan_to_num(-1.0).argmax())]
    verdict += f" Alone, the model is least decided about {flattest}."
    return Finding(question, verdict, numbers, [matrix], [_reliability(found)])


def _reliability(found: Neutrality) -> CurveTrace:
    lines = {}
    for name, curves in zip(found.names, found.curves, strict=True):
        known = curves[curves.isfinite().all(1)]
        mean = known.mean(0)
        low, high = interval(bootstrap_means(known), len(known)) if len(known) >= fewest_images() else (mean, mean)
        lines[name] = (mean.tolist(), low.tolist(), high.tolist())
    title = "Largest probability while random pixels are filled (N7)"
    return CurveTrace(title, "share of pixels filled", "largest probability", found.fractions.tolist(), lines)


def maps_finding(name: str, found: Similarities) -> Finding:
    """Does the infill change the maps more than the seed does?"""
    between, chance = found.summary(_SHOWN), found.reference(_SHOWN, "chance")
    floor = found.reference(_SHOWN, "noise_floor")
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
    for measure in found.values:
        kinds = {"between infills": found.summary(measure)}
        kinds |= {kind.replace("_", " "): found.reference(measure, kind) for kind in ("noise_floor", "chance")}
        numbers |= {f"{measure}, {kind}": value for kind, value in kinds.items()}
    matrices = [
        Matrix(
            f"{name}: {measure} of the maps of two infills", found.names, found.names, found.matrix(measure).tolist(), -1.0, 1.0
        )
        for measure in found.values
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
        f"images of the kind would flip {images_alone}, and {decided} flip although both orders are beyond doubt. "
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
        [square(f"Kendall's tau of the rankings under two infills: {area}", names, each.tau) for area, each in result.items()],
    )
    tau, rho = more_stable(scores["fidelity"], scores["mif"])
    said_so = verdict_text(rho, above="more stable", below="less stable", neither="not told apart in stability")
    each_rho = ", ".join(f"{area} {format_value(result[area].mean_rho)}" for area in ("mif", "lif", "fidelity"))
    second = Finding(
        "Does Fidelity rank methods more stably across infills than MIF alone?",
        f"Mean rank correlation of the rankings under two infills: {each_rho}. Fidelity less MIF: {format_value(rho)}: "
        f"{said_so}.",
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


def square(title: str, names: tuple[str, ...], values: Tensor) -> Matrix:
    """A matrix of correlations."""
    return Matrix(title, names, names, values.tolist(), -1.0, 1.0)


def _range(values: Tensor) -> tuple[float, float]:
    known = values[values.isfinite()]
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
