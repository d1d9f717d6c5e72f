"""Average drop, increase and gain: the target's probability when the image is multiplied by its min-max normalised map."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..checks import require_choice
from ..perturbation import DenseMasks, Outputs
from ..protocols import MetricInfo
from ._perturbation_metric import PerturbationMetric, min_max
from .context import Keys, MetricContext
from .result import MetricResult

# What is added to the divisor of drop and gain; None: nothing is divided.
DEFINITIONS: dict[str, float | None] = {"difference": None, "relative": 1e-7, "relative_magnitude": 1e-8}


@dataclass(frozen=True)
class _SeenThroughTheMap(PerturbationMetric):
    """The image seen through its map, and the probability p of the target before, o after.

    keep = (map - min) / (max - min) per image, in [0, 1];  seen = keep * inputs + (1 - keep) * infill
    p = probability of the target on inputs, o on seen

    Args:
        infill: what shows where the map is lowest. Published codes multiply the normalised inputs by the map: `Constant(0.0)`.
        score: "probability", nothing else.
        definition: three are in use, and their numbers differ:
            "difference" drop = max(0, p - o), gain = max(0, o - p): not divided
            "relative" divided by p + 1e-7, gain by 1 - p + 1e-7
            "relative_magnitude" divided by p + 1e-8, gain by 1 - p + 1e-8, and the keep-mask is made of |map|
    """

    definition: str = "relative"

    scores: ClassVar[tuple[str, ...]] = ("probability",)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice(type(self).__name__, "definition", self.definition, tuple(DEFINITIONS))

    def request(self, context: MetricContext) -> Keys:
        """One masked input per image; metrics with the same masks share it."""
        saliency = context.saliency.abs() if self.definition == "relative_magnitude" else context.saliency
        return context.request(DenseMasks(min_max(saliency).to(context.inputs.dtype)[:, None]), self.infill)

    def probabilities(self, outputs: Outputs, keys: Keys) -> tuple[Tensor, Tensor]:
        """p and o, (N,) each."""
        return self.clean(outputs)[:, 0], outputs.mean_score(keys, self.score)[:, 0]

    def divided(self, change: Tensor, by: Tensor) -> Tensor:
        """The change as this definition states it."""
        floor = DEFINITIONS[self.definition]
        return change if floor is None else change / (by + floor)

    def result(self, info: MetricInfo, values: Tensor, clean: Tensor, seen: Tensor) -> MetricResult:
        """Values, with both probabilities."""
        return MetricResult(info, values, self.parameters, extras={"clean": clean, "seen": seen})


@dataclass(frozen=True)
class AverageDrop(_SeenThroughTheMap):
    """Share of the target's probability that is lost when the image is seen through its map [Chattopadhay 2018].

    seen = keep * inputs + (1 - keep) * infill,  keep = map, min-max normalised per image
    drop = max(0, p - o) / (p + 1e-7), with p the probability of the target on the image and o on what is seen

    Averaged over images. Direction: lower is better. Unit: share of the probability, not percent; with definition="difference"
    probability. Range: [0, 1]. Polarity: larger saliency = more relevant; a negated map shows what the map hides. A positive
    factor or a shift of the map changes nothing.

    Args:
        infill: what shows where the map is lowest; published codes: `Constant(0.0)` in normalised space.
        score: "probability".
        definition: "relative" (above), "difference" (max(0, p - o), not divided), or "relative_magnitude" (divided by p + 1e-8,
            and the mask is that of |map|: right for maps whose sign means nothing, wrong for signed ones).

    extras: clean (p), seen (o).

    Note:
        Cost: one masked input per image, map and draw of the infill, shared with `AverageIncrease` and `AverageGain`. Memory: one
        mask per image. Deterministic. A constant map shows nothing (keep = 0), status degenerate_map.
        Traps: a map that is high everywhere hides nothing and has no drop: read it beside `AverageGain`, `Complexity` and a
        control such as the grey level or a constant. A mask of half-tones is no image the model knows. One extreme pixel
        darkens all others, as the minimum and the maximum decide the scale.

    Example:
        >>> import torch
        >>> from saliency_ext.evaluation import evaluate
        >>> from saliency_ext.infill import Constant
        >>> model = lambda x: torch.stack([x[:, 0, 0, 0], torch.zeros(len(x))], 1)  # the first pixel is the evidence
        >>> image = torch.tensor([[[[2.0, 1.0]]]])
        >>> maps = {"right": torch.tensor([[[5.0, 1.0]]]), "wrong": torch.tensor([[[0.0, 1.0]]])}
        >>> results = evaluate(model, image, 0, maps, [AverageDrop(Constant(0.0))])
        >>> [round(results[name, "average_drop"].values.item(), 4) for name in maps]  # 0.8808 falls to 0.5
        [0.0, 0.4323]

    References:
        Chattopadhay, Sarkar, Howlader, Balasubramanian. Grad-CAM++. WACV 2018 (arXiv 1710.11063).
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="average_drop",
        direction="lower",
        unit="share of the probability",
        measures="evidence lost outside the map",
        reference="Chattopadhay 2018",
        role="pair",
        meaning="Share of the probability that is lost when the image is seen through its map. A map that hides nothing loses "
        "nothing: read it beside average gain and complexity.",
    )

    def compute(self, outputs: Outputs, requested: Keys) -> MetricResult:
        """Values per image, from the model's outputs."""
        p, o = self.probabilities(outputs, requested)
        return self.result(self.info, self.divided((p - o).clamp(min=0), p), p, o)


@dataclass(frozen=True)
class AverageIncrease(_SeenThroughTheMap):
    """1 where the model is surer of the target when it sees the image through its map, else 0 [Chattopadhay 2018].

    increase = 1 if o > p else 0, with p, o and arguments as in `AverageDrop`; of the definition only the mask matters.

    Averaged over images: the share of images whose probability rises. Direction: higher is better. Unit: share. Polarity: larger
    saliency = more relevant. Traps: does not say how much; near p = 1 rounding decides it.

    extras: clean (p), seen (o).

    Note:
        Cost, memory, determinism, constant maps: as `AverageDrop`, with which the masked input is shared.

    Example:
        >>> import torch
        >>> from saliency_ext.evaluation import evaluate
        >>> from saliency_ext.infill import Constant
        >>> model = lambda x: torch.stack([x[:, 0, 0, 0] - x[:, 0, 0, 1], torch.zeros(len(x))], 1)
        >>> image, saliency = torch.tensor([[[[2.0, 1.0]]]]), torch.tensor([[[5.0, 1.0]]])  # hides the counter-evidence
        >>> evaluate(model, image, 0, saliency, [AverageIncrease(Constant(0.0))])["map", "average_increase"].values.item()
        1.0

    References:
        Chattopadhay, Sarkar, Howlader, Balasubramanian. Grad-CAM++. WACV 2018 (arXiv 1710.11063).
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="average_increase",
        direction="higher",
        unit="share of images",
        measures="the map hides what speaks against the target",
        reference="Chattopadhay 2018",
        role="pair",
        meaning="Is the model surer of what the map shows?",
    )

    def compute(self, outputs: Outputs, requested: Keys) -> MetricResult:
        """Values per image, from the model's outputs."""
        p, o = self.probabilities(outputs, requested)
        rises = torch.where(p.isnan() | o.isnan(), torch.nan, (o > p).double())
        return self.result(self.info, rises, p, o)


@dataclass(frozen=True)
class AverageGain(_SeenThroughTheMap):
    """Share of the missing probability that is won when the image is seen through its map [Zhang 2023].

    gain = max(0, o - p) / (1 - p), with p, o and arguments as in `AverageDrop`. Divided by 1 - p + 1e-7 (definition="relative")
    or 1 - p + 1e-8 ("relative_magnitude"), so that p = 1 has gain 0; not divided with "difference".

    The counterpart of `AverageDrop`: where one is positive the other is 0, and a map that hides nothing has neither. Direction:
    higher is better. Unit: share of the missing probability; with "difference" probability. Range: [0, 1]. Polarity: larger
    saliency = more relevant. Traps: where p is near 1 a gain of rounding size counts fully: see the extras.

    extras: clean (p), seen (o).

    Note:
        Cost, memory, determinism, constant maps: as `AverageDrop`, with which the masked input is shared.

    Example:
        >>> import torch
        >>> from saliency_ext.evaluation import evaluate
        >>> from saliency_ext.infill import Constant
        >>> model = lambda x: torch.stack([x[:, 0, 0, 0] - x[:, 0, 0, 1], torch.zeros(len(x))], 1)
        >>> image, saliency = torch.tensor([[[[2.0, 1.0]]]]), torch.tensor([[[5.0, 1.0]]])  # from 0.7311 to 0.8808
        >>> gain = evaluate(model, image, 0, saliency, [AverageGain(Constant(0.0))])["map", "average_gain"]
        >>> round(gain.values.item(), 4)
        0.5568

    References:
        Zhang, Torres, Sicre, Avrithis, Ayache. Opti-CAM. arXiv 2301.07002, 2023.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="average_gain",
        direction="higher",
        unit="share of the missing probability",
        measures="certainty won by seeing the map alone",
        reference="Zhang 2023",
        role="pair",
        meaning="Share of the missing probability won by the map alone.",
    )

    def compute(self, outputs: Outputs, requested: Keys) -> MetricResult:
        """Values per image, from the model's outputs."""
        p, o = self.probabilities(outputs, requested)
        return self.result(self.info, self.divided((o - p).clamp(min=0), 1 - p), p, o)
