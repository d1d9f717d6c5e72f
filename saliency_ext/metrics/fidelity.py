"""Fidelity: the gap between removing the least and the most relevant pixels, in which shared artifacts cancel."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..checks import bad_value, require_integer
from ..perturbation import AdaptiveSteps, Outputs
from ..perturbation.masks import WholeImage
from ..perturbation.outputs import average
from ..protocols import MetricInfo
from .context import Keys, MetricContext, RequestedPoints
from .perturbation_curve import Curve, RefinableMetric
from .result import OK, UNDEFINED, MetricResult


@dataclass(frozen=True)
class _Requested:
    mif: Curve
    lif: Curve
    clean: Keys
    references: list[tuple[Keys, Keys]]
    places: int


@dataclass(frozen=True)
class Fidelity(RefinableMetric):
    """F = AUC_LIF - AUC_MIF, per image [Brocki 2022; the same quantity as the symmetric relevance gain of Bluecher 2024].

    A score falls because information goes and because the image leaves what the model was trained on. Where the second part
    depends on how many pixels are gone, not on which, it is the same in both orders and cancels exactly in F. Higher is better;
    a random order has F = 0 in expectation; F of the negated map is -F (without ties). In [-1, 1] for probability and accuracy.

    With D_o(t) = clean score - score after removing the share t in order o, and random reference orders R:
        F = MRG + LRG,   MRG = AUC_R - AUC_MIF,   LRG = AUC_LIF - AUC_R
        artifact(t) = max(0, D_LIF(t)): an upper bound on the artifact at t if what is removed carries no counter-evidence; it
        fails for signed maps, whose least relevant pixels speak against the target, and it is loose beyond small t.

    Args:
        references: random orders per image, shared by all maps of the image; each is read forwards and backwards, and F does
            not depend on them. 0: no MRG and LRG.
        relative: divide each curve by its clean value, as the published logit ratio. An image whose clean score is <= 0 has
            no value then: a ratio to it would turn the order round.

    extras: auc_mif, auc_lif; `normalised` = F / clean score; `artifact_half` = artifact at the last fraction <= 1/2; with
    references auc_random, mrg, lrg. curves: mif, lif, artifact; with references random (their mean).

    Note:
        With `AdaptiveSteps` the tolerance is that of F, and both curves share it.
        Traps: F cannot correct that scattered and solid masks of one size may disturb the model differently; `GeometryGap` shows
        how much. References cost 2 S further masked inputs per image each, whatever the number of maps.
    """

    references: int = 0
    relative: bool = False

    info: ClassVar[MetricInfo] = MetricInfo(
        name="fidelity",
        direction="higher",
        unit="difference of areas under the score",
        measures="order of relevance, artifacts cancelled",
        reference="Brocki 2022",
        role="order",
        range=(-1.0, 1.0),
        meaning="Pixels are removed least relevant first, and again most relevant first; the value is the area between the "
        "two curves. A score also falls because a damaged image looks strange; that part is alike in both orders and "
        "cancels. A random map has 0, a map turned upside down has minus its value.",
        curve_labels=(
            ("mif", "most relevant first (MIF)"),
            ("lif", "least relevant first (LIF)"),
            ("random", "random order"),
            (
                "artifact",
                "loss that can be an artifact: what the model loses when the least relevant pixels are removed; an "
                "upper bound, if these hold no evidence against the target",
            ),
        ),
        loss_band="artifact",
        conformance="fidelity",
        default=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("Fidelity", "references", self.references, 0, 2**16)
        if self.references and self.unit != "pixel":
            bad_value("Fidelity", "references", "0 where the unit is a channel value", self.references)
        if self.references and isinstance(self.schedule, AdaptiveSteps):
            remedy = "use a schedule such as EqualFractions"
            bad_value("Fidelity", "references", "0 where steps are adaptive", self.references, remedy)

    @property
    def value_range(self) -> tuple[float, float] | None:
        """That of the curves; none for ratios to the clean score."""
        return None if self.relative else super().value_range

    @property
    def parameters(self) -> dict[str, object]:
        """All parameters, as plain values."""
        return {**super().parameters, "references": self.references, "relative": self.relative}

    def request(self, context: MetricContext) -> _Requested:
        """Both orders, and those of the references."""
        order = self.order(context)
        mif, lif = self.curve_most_removed(context, order), self.curve_least_removed(context, order)
        drawn = [context.random_order(self.seed, draw) for draw in range(self.references)]
        references = [
            (self.request_most_relevant_removed(context, o), self.request_least_relevant_removed(context, o)) for o in drawn
        ]
        return _Requested(mif, lif, context.request(WholeImage(), self.infill), references, self.places(context))

    def refine(self, outputs: Outputs, requested: _Requested) -> list[RequestedPoints]:
        """Points that images still ask for: the tolerance is that of F, and both curves share it."""
        return self.more(outputs, [requested.mif, requested.lif], self._unit(self.read(outputs, requested.clean)))

    def _unit(self, clean: Tensor) -> Tensor:
        """(N, 1) what a score is divided by; NaN where there is no ratio."""
        return torch.where(clean > 0, clean, torch.nan) if self.relative else torch.ones_like(clean)

    def compute(self, outputs: Outputs, requested: _Requested) -> MetricResult:
        """Values per image, from the model's outputs."""
        fractions = self.fractions(requested.places)
        clean = self.read(outputs, requested.clean)
        unit = self._unit(clean)
        (mif, lif), certificate = self.read_curves(outputs, [requested.mif, requested.lif], unit)
        auc_mif, auc_lif = (self.summarise(curve, fractions, requested.places) for curve in (mif, lif))
        values = auc_lif - auc_mif
        artifact = (clean / unit - lif).clamp(min=0)
        curves = {"mif": mif, "lif": lif, "artifact": artifact}
        extras = {"auc_mif": auc_mif, "auc_lif": auc_lif, "normalised": values * (unit / clean)[:, 0], **certificate}
        early = (fractions <= 0.5).nonzero()
        if len(early):
            extras["artifact_half"] = artifact[:, int(early[-1])]
        if requested.references:
            random = average([self.read(outputs, keys) for pair in requested.references for keys in pair]) / unit
            auc_random = self.summarise(random, fractions, requested.places)
            curves["random"] = random
            extras |= {"auc_random": auc_random, "mrg": auc_random - auc_mif, "lrg": auc_lif - auc_random}
        status = [UNDEFINED if self.relative and score <= 0 else OK for score in clean[:, 0].tolist()]
        return MetricResult(self.info, values, self.parameters, status, fractions, curves, extras)
