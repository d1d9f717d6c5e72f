"""ROAD: both perturbation orders under an infill that does not betray the mask, and the combined score of the CAM libraries."""

from dataclasses import dataclass, field
from typing import ClassVar, Self

from ..infill.imputed import NoisyLinear
from ..perturbation import GivenFractions, Outputs, Schedule
from ..protocols import Infill, MetricInfo
from .base import MetricOptions
from .context import Keys, MetricContext
from .curve_metric import CurveMetric
from .percentile_gap import PercentileGap
from .result import MetricResult

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)  # the published ones


@dataclass(frozen=True)
class ROAD(CurveMetric):
    """Mean over fractions of LeRF - MoRF, removed pixels imputed from those around [Rong 2022].

    morf(t) = f(image without its t n most relevant pixels),   lerf(t) = f(image without its t n least relevant pixels)
    value = mean over t of (lerf(t) - morf(t))

    Both orders on one axis, the fraction REMOVED; the published code's LeRF at p keeps p (preset `road` reproduces it). One
    colour for removed pixels lets a model read the mask's shape, so that the two orders rank methods differently; imputed
    pixels hide it, and the orders agree without training anew. Higher is better. Unit: a difference of the score. 0 for a random
    map in expectation, minus its value for a map turned upside down (without ties).

    Args:
        infill: default `NoisyLinear()`, whose noise is 0.01 in model input space; published is 0.01 of a range of [0, 1].
        schedule: fractions removed, default 0.1 0.2 0.3 0.4 0.5 0.7 0.9; neither end, as published.
        score: of the value; "accuracy" as published. The curves of accuracy and probability are given with any
            (of a model with one output, that of "sigmoid", which then is the score to ask for).
        ties, seed, area, unit: as in `CurveMetric`.

    curves: morf_accuracy, lerf_accuracy, morf_probability, lerf_probability; of one output, morf_sigmoid, lerf_sigmoid.
    extras: auc_morf, auc_lerf.

    Note:
        Cost: two masked inputs per fraction and draw of the infill, and one imputation each. Deterministic. Traps: connected
        regions become visible blurs, which `MaskDetectability` measures; the fractions have no ends, so what the first 10 % hold
        counts in one point.

    References:
        Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods, ICML 2022.
    """

    infill: Infill = field(default_factory=NoisyLinear)
    schedule: Schedule = field(default_factory=lambda: GivenFractions(FRACTIONS))
    score: str = "accuracy"
    area: str = "mean"

    info: ClassVar[MetricInfo] = MetricInfo(
        name="road",
        direction="higher",
        unit="mean difference of scores",
        measures="order of relevance, mask shape hidden",
        reference="Rong 2022",
        role="order",
        meaning="Fidelity at a few fractions, removed pixels imputed from those around, so that the mask's shape hardly shows.",
        curve_labels=tuple(
            (f"{order.lower()}_{kind}", f"{words} relevant first ({order}), {kind}")
            for order, words in (("MoRF", "most"), ("LeRF", "least"))
            for kind in ("accuracy", "probability", "sigmoid")
        ),
    )

    @classmethod
    def from_options(cls, options: MetricOptions) -> Self:
        """The metric with those of the shared options that apply to it."""
        return cls(options.imputing_infill, score=options.score, seed=options.seed)

    def request(self, context: MetricContext) -> tuple[Keys, Keys, int]:
        """Both orders."""
        order = self.order(context)
        morf, lerf = self.request_most_relevant_removed(context, order), self.request_least_relevant_removed(context, order)
        return morf, lerf, self.places(context)

    def compute(self, outputs: Outputs, requested: tuple[Keys, Keys, int]) -> MetricResult:
        """Values per image, from the model's outputs."""
        keys, fractions = {"morf": requested[0], "lerf": requested[1]}, self.fractions(requested[2])
        areas = {name: self.summarise(self.read(outputs, own), fractions, requested[2]) for name, own in keys.items()}
        shown = ("sigmoid",) if outputs.num_classes == 1 else ("accuracy", "probability")
        curves = {f"{name}_{kind}": outputs.mean_score(own, kind) for kind in shown for name, own in keys.items()}
        extras = {f"auc_{name}": area for name, area in areas.items()}
        values = areas["lerf"] - areas["morf"]
        return MetricResult(self.info, values, self.parameters, fractions=fractions, curves=curves, extras=extras)


@dataclass(frozen=True)
class ROADCombined(PercentileGap):
    """Mean over percentiles of (LeRF - MoRF) / 2, p % of the pixels KEPT in both orders, the rest imputed [Gildenblat 2021].

    value = mean over p of (lerf(p) - morf(p)) / 2

    `PercentileGap`, with `NoisyLinear()` unless another infill is given: all its choices, and its quirks, are described there.
    Traps: as there, and as `ROAD`.
    """

    infill: Infill = field(default_factory=NoisyLinear)

    info: ClassVar[MetricInfo] = MetricInfo(
        name="road_combined",
        direction="higher",
        unit="half a mean difference of scores",
        measures="order of relevance, mask shape hidden",
        reference="Gildenblat 2021",
        role="order",
        meaning="Half the gap between keeping what is relevant and what is not, the rest imputed from the pixels around.",
        horizontal="share of pixels kept",
        curve_labels=(("morf", "least relevant kept (MoRF)"), ("lerf", "most relevant kept (LeRF)")),
    )

    @classmethod
    def from_options(cls, options: MetricOptions) -> Self:
        """The metric with those of the shared options that apply to it."""
        return cls(options.imputing_infill, options.score)
