"""The study of infills: how neutral they are, what they change about maps, and whether verdicts survive another one."""

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
from ._fault_tolerant_infill import fault_tolerant
from ._hog import BLOCK, CELL
from ._infill_findings import advantage_finding, maps_finding, neutral_finding, order_findings
from ._ssim import usual_window
from ._study_inputs import StudyInputs, score_rows, similarity_rows
from .findings import Findings
from .neutrality import NEUTRALITY, neutrality
from .similarity import Similarities, pairwise_similarity

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
