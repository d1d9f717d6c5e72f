"""What metrics share that explain more than the given images: they need the method itself."""

from dataclasses import dataclass

from ..checks import bad_type
from ..perturbation import Outputs
from ..protocols import Explainer
from .base import ModelMetric
from .context import MetricContext
from .result import MetricResult


@dataclass(frozen=True)
class ExplainerMetric(ModelMetric):
    """A metric that asks no probes but calls the explainer. Its work is done in `request`; `compute` hands the result on.

    The explainer is called with as many images as the case has, in their order: image i is sample i. So methods that are keyed by
    sample ids draw alike in each call, and a map that is NaN spoils the value of its own image alone.
    """

    def explainer(self, context: MetricContext) -> Explainer:
        """The method of the case."""
        if context.explain is None:
            remedy = "pass the method itself, a callable (inputs, target) -> (N, H, W)"
            bad_type(
                type(self).__name__, "the map", "to be made by a method, which explains other inputs too", "a tensor", remedy
            )
        return context.explain

    def compute(self, outputs: Outputs, requested: MetricResult) -> MetricResult:
        """The result."""
        return requested
