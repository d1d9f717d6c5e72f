"""How differently scattered and solid masks of one size disturb a model: what no difference of curves can cancel."""

from dataclasses import dataclass
from typing import ClassVar

from ..checks import require_choice, require_integer
from ..perturbation import Outputs
from ..perturbation.outputs import average
from ..protocols import MetricInfo
from .context import Keys, MetricContext
from .curve_metric import CurveMetric
from .result import MetricResult


@dataclass(frozen=True)
class GeometryGap(CurveMetric):
    """Mean over fractions of |score under scattered masks - score under one square of the same area|.

    gap(t) = |mean over draws of f(random t n pixels removed) - mean over draws of f(a square of t n pixels removed)|; the value
    is the area under gap. The square grows from a centre drawn uniformly in the image. Lower: the assumption behind `Fidelity`
    (artifacts depend on how many pixels are gone, not on which) is less in doubt for this model and infill. Unit: that of the
    score. It does not read the map: it is a property of model, image and infill, the same for every map.

    Traps: real maps lie between scattered and solid, so it is a bound in spirit, not in proof.

    Args:
        draws: masks of either kind per image and fraction.

    curves: gap, scattered, block.
    """

    draws: int = 4

    info: ClassVar[MetricInfo] = MetricInfo(
        name="geometry_gap",
        direction="none",
        unit="area under the difference of scores",
        measures="what mask shape alone does to the model",
        reference="this library",
        role="model",
        meaning="How differently scattered and solid masks of one size disturb the model: a doubt that no curve can remove. "
        "The same for every map.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("GeometryGap", "draws", self.draws, 1, 2**16)
        require_choice("GeometryGap", "unit", self.unit, ("pixel",))

    @property
    def parameters(self) -> dict[str, object]:
        """All parameters, as plain values."""
        return {**super().parameters, "draws": self.draws}

    def request(self, context: MetricContext) -> tuple[list[Keys], list[Keys], int]:
        """Removals of scattered pixels and of squares."""
        scattered = [context.random_order(self.seed, draw) for draw in range(self.draws)]
        blocks = [context.block_order(self.seed, draw) for draw in range(self.draws)]
        return (
            [self.request_most_relevant_removed(context, order) for order in scattered],
            [self.request_most_relevant_removed(context, order) for order in blocks],
            context.pixels,
        )

    def compute(self, outputs: Outputs, requested: tuple[list[Keys], list[Keys], int]) -> MetricResult:
        """Values per image, from the model's outputs."""
        fractions = self.fractions(requested[2])
        scattered, block = (average([self.read(outputs, keys) for keys in kind]) for kind in requested[:2])
        gap = (scattered - block).abs()
        curves = {"gap": gap, "scattered": scattered, "block": block}
        return MetricResult(
            self.info, self.summarise(gap, fractions, requested[2]), self.parameters, fractions=fractions, curves=curves
        )
