"""Base of metrics that explain further inputs and therefore need the attribution method, not only its maps."""

from dataclasses import dataclass

from ..checks import bad_type
from ..perturbation import Outputs
from ..protocols import Explainer
from .base import ModelMetric
from .context import MetricContext
from .result import MetricResult


@dataclass(frozen=True)
class ExplainerMetric(ModelMetric):
    """A metric that calls the explainer and requests no perturbed inputs: `request` computes the result, `compute` returns it.

    The explainer is called with all images of the context, in their order. So methods with random draws keyed by sample ids
    draw the same numbers in each call, and a NaN in one map invalidates the value of that image alone.
    """

    def explainer(self, context: MetricContext) -> Explainer:
        """The attribution method that made the map."""
        if context.explain is None:
            remedy = "pass the method itself, a callable (inputs, target) -> (N, H, W)"
            bad_type(
                type(self).__name__, "the map", "to be made by a method, which explains other inputs too", "a tensor", remedy
            )
        return context.explain

    def compute(self, outputs: Outputs, requested: MetricResult) -> MetricResult:
        """The result."""
        return requested
