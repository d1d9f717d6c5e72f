"""Every metric by name: how it is made from common choices, what role it plays in a verdict, what it says in plain words.

To add one: a row below. Its name is that of its `info`, so a report finds the words by the name of a result.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ..checks import bad_value, require_choice
from ..infill import NoisyLinear
from ..perturbation import EqualFractions
from ..protocols import Infill, MaskedInfill
from ._registry_entry import ROLES as ROLES
from ._registry_entry import MetricChoices as MetricChoices
from ._registry_entry import MetricEntry as MetricEntry
from .average_drop import AverageDrop, AverageGain, AverageIncrease
from .completeness import Completeness
from .complexity import Complexity
from .deletion import Deletion
from .fidelity import Fidelity
from .geometry_gap import GeometryGap
from .infidelity import Infidelity
from .insertion import Insertion
from .mask_agreement import MaskAgreement
from .mask_detectability import MaskDetectability
from .max_sensitivity import MaxSensitivity
from .model_randomisation import ModelRandomisation
from .morf import LeRF, MoRF
from .percentile_gap import PercentileGap
from .pointing_game import PointingGame
from .relevance_mass import RelevanceMass
from .relevance_rank import RelevanceRank
from .road import ROAD, ROADCombined
from .sensitivity_n import SensitivityN
from .soundness import Soundness
from .sparseness import Sparseness
from .symmetric_relevance_gain import SymmetricRelevanceGain
from .target_minus_distractor import TargetMinusDistractor


def _curve(kind: Callable[..., Any]) -> Callable[[MetricChoices], Any]:
    return lambda c: kind(c.infill, EqualFractions(c.steps), score=c.score, seed=c.seed)


def _labels(kind: Callable[..., Any]) -> Callable[[MetricChoices], Any]:
    return lambda c: kind(c.infill, EqualFractions(c.steps), seed=c.seed, labels="top-3")


def _imputing(choices: MetricChoices) -> Infill:
    return choices.infill if isinstance(choices.infill, MaskedInfill) else NoisyLinear(seed=choices.seed)


_ENTRIES = (
    MetricEntry(
        "fidelity",
        "order",
        "Pixels are removed least relevant first, and again most relevant first; the value is the area between the two curves. "
        "A score also falls because a damaged image looks strange; that part is alike in both orders and cancels. A random map "
        "has 0, a map turned upside down has minus its value.",
        _curve(Fidelity),
    ),
    MetricEntry(
        "deletion",
        "order",
        "The most relevant pixels are removed first. The faster the score falls, the smaller the area under its curve. "
        "Part of the fall is due to damage, not to lost evidence: look at fidelity and at the controls.",
        _curve(Deletion),
    ),
    MetricEntry(
        "insertion",
        "order",
        "The most relevant pixels are put first into an image without content. The sooner the score rises, the larger the area.",
        _curve(Insertion),
    ),
    MetricEntry("morf", "order", "Most relevant first: the curve of deletion.", _curve(MoRF)),
    MetricEntry("lerf", "order", "Least relevant first: pixels that do not matter may go without harm.", _curve(LeRF)),
    MetricEntry(
        "symmetric_relevance_gain",
        "order",
        "Fidelity on superpixels instead of pixels: the image stays closer to what the model knows.",
        lambda c: SymmetricRelevanceGain(c.infill, c.score, seed=c.seed),
    ),
    MetricEntry(
        "percentile_gap",
        "order",
        "Half the gap between keeping what is relevant and what is not.",
        lambda c: PercentileGap(c.infill, c.score),
    ),
    MetricEntry(
        "road",
        "order",
        "Fidelity at a few fractions, removed pixels imputed from those around, so that the mask's shape hardly shows.",
        lambda c: ROAD(_imputing(c), score=c.score, seed=c.seed),
    ),
    MetricEntry(
        "road_combined",
        "order",
        "Half the gap between keeping what is relevant and what is not, the rest imputed from the pixels around.",
        lambda c: ROADCombined(_imputing(c), c.score),
    ),
    MetricEntry(
        "sensitivity_n",
        "order",
        "Does the map's sum over a random set of pixels predict how much the score falls without them?",
        lambda c: SensitivityN(c.infill, c.score, seed=c.seed),
    ),
    MetricEntry(
        "infidelity",
        "order",
        "Does its sum over a square say how much the score falls without it? 0: perfectly; 1: no better than a blank map.",
        lambda c: Infidelity(c.infill, c.score, seed=c.seed),
    ),
    MetricEntry(
        "completeness",
        "pair",
        "How much of the model's probability comes back when only the most relevant pixels are kept, for its worst label. "
        "A map that keeps everything is complete: read it beside soundness.",
        _labels(Completeness),
    ),
    MetricEntry(
        "soundness",
        "pair",
        "Can the map of a label that the model does not believe be used to prove it? A random map proves nothing and is sound: "
        "read it beside completeness.",
        _labels(Soundness),
    ),
    MetricEntry(
        "average_drop",
        "pair",
        "Share of the probability that is lost when the image is seen through its map. A map that hides nothing loses nothing: "
        "read it beside average gain and complexity.",
        lambda c: AverageDrop(c.infill),
    ),
    MetricEntry(
        "average_gain", "pair", "Share of the missing probability won by the map alone.", lambda c: AverageGain(c.infill)
    ),
    MetricEntry("average_increase", "pair", "Is the model surer of what the map shows?", lambda c: AverageIncrease(c.infill)),
    MetricEntry(
        "pointing_game",
        "truth",
        "Is the most relevant pixel on the object? A map that only finds bright spots may hit too: own minus other tells.",
        lambda c: PointingGame(),
        "truth",
    ),
    MetricEntry(
        "relevance_mass", "truth", "How much of the positive relevance lies on the object?", lambda c: RelevanceMass(), "truth"
    ),
    MetricEntry(
        "relevance_rank",
        "truth",
        "Of as many most relevant pixels as the object has, how many lie on it?",
        lambda c: RelevanceRank(c.seed),
        "truth",
    ),
    MetricEntry(
        "mask_agreement",
        "truth",
        "How well the most relevant pixels overlap the object, over several sizes.",
        lambda c: MaskAgreement(seed=c.seed),
        "truth",
    ),
    MetricEntry(
        "max_sensitivity",
        "sanity",
        "How much the map changes under a little noise. Low is not good by itself: a map that ignores the image has 0.",
        lambda c: MaxSensitivity(seed=c.seed),
        "method",
    ),
    MetricEntry(
        "model_randomisation",
        "sanity",
        "How like the map is to that of the same model with random weights. High: the map does not show what was learned.",
        lambda c: ModelRandomisation(seed=c.seed),
        "method",
    ),
    MetricEntry("sparseness", "form", "On how few pixels the relevance is. A wrong map can be sparse.", lambda c: Sparseness()),
    MetricEntry("complexity", "form", "Over how many pixels the relevance is spread.", lambda c: Complexity()),
    MetricEntry(
        "mask_detectability",
        "form",
        "Can the removed region be told from the filled picture by its detail alone? Then a model may answer to the mask. It "
        "judges the infill under the map's masks, not the map.",
        lambda c: MaskDetectability(c.infill, seed=c.seed),
    ),
    MetricEntry(
        "geometry_gap",
        "model",
        "How differently scattered and solid masks of one size disturb the model: a doubt that no curve can remove. The same for "
        "every map.",
        _curve(GeometryGap),
    ),
)

METRICS = {entry.name: entry for entry in _ENTRIES}

TARGET_MINUS_DISTRACTOR = "_target_minus_distractor"


def make_metrics(names: Sequence[str], choices: MetricChoices, *, others: Tensor | None = None) -> list[Any]:
    """Metrics by name, for `evaluate` and `Study`.

    Args:
        names: keys of METRICS; with "_target_minus_distractor" appended, a metric with a truth, target less distractor.
        choices: what they share.
        others: (M, H, W) bool, where the other object is, for sample ids 0 .. M - 1.

    Raises:
        ValueError: an unknown name; own minus other of a metric without a truth, or without others.

    Example:
        >>> [metric.info.name for metric in make_metrics(["fidelity", "sparseness"], MetricChoices(steps=5))]
        ['fidelity', 'sparseness']
    """
    return [_made(name, choices, others) for name in names]


def _made(name: str, choices: MetricChoices, others: Tensor | None) -> Any:
    plain = name.removesuffix(TARGET_MINUS_DISTRACTOR)
    if plain == name:
        require_choice("make_metrics", "names", name, tuple(METRICS))
        return METRICS[name].make(choices)
    require_choice("make_metrics", f"names ({name!r})", plain, [each.name for each in _ENTRIES if each.needs == "truth"])
    if others is None:
        bad_value("make_metrics", "others", f"masks of the other object, for {name!r}", None)
    return TargetMinusDistractor(METRICS[plain].make(choices), others)


def role_of(name: str) -> str:
    """The role of a metric by the name of its result: "truth" for own minus other, "order" for one that is not listed."""
    if name.endswith(TARGET_MINUS_DISTRACTOR):
        return "truth"
    return METRICS[name].role if name in METRICS else "order"


def meaning_of(name: str) -> str:
    """What a metric says, in plain words, by the name of its result; empty for one that is not listed."""
    if name.endswith(TARGET_MINUS_DISTRACTOR):
        own = meaning_of(name.removesuffix(TARGET_MINUS_DISTRACTOR)).split("?")[0]
        about = (
            "The score on the object that is asked about minus that on the other one. 0: the map finds objects, not the class."
        )
        return f"{about} The score: {own[:1].lower()}{own[1:]}." if own else about
    return METRICS[name].meaning if name in METRICS else ""
