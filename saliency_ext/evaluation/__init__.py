"""`evaluate`: many saliency maps under many metrics in one deduplicated pass over the model; results in memory."""

from .artifacts import ArtifactBound, artifact_bound
from .evaluate import evaluate
from .maps import TargetMaps
from .proxies import Proxy, controlled_means
from .results import Comparison, Results

__all__ = [
    "ArtifactBound",
    "Comparison",
    "Proxy",
    "Results",
    "TargetMaps",
    "artifact_bound",
    "controlled_means",
    "evaluate",
]
