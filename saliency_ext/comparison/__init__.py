"""Do the choices matter? How neutral an infill is, how alike maps are, how far rankings of methods agree."""

from .agreement import Agreement, disagreement, krippendorff_alpha, more_stable, rank_agreement, self_advantage
from .findings import Finding, Findings, Matrix, Trace
from .guarded import Guarded, guarded
from .hyperparameter_study import hyperparameter_study
from .infill_study import infill_study
from .learned import LearnedImage, learn_neutral_image
from .measures import MEASURES
from .neutrality import NEUTRALITY, Neutrality, neutrality
from .similarity import Similarities, pairwise_similarity

__all__ = [
    "MEASURES",
    "NEUTRALITY",
    "Agreement",
    "Finding",
    "Findings",
    "Guarded",
    "LearnedImage",
    "Matrix",
    "Neutrality",
    "Similarities",
    "Trace",
    "disagreement",
    "guarded",
    "hyperparameter_study",
    "infill_study",
    "krippendorff_alpha",
    "learn_neutral_image",
    "more_stable",
    "neutrality",
    "pairwise_similarity",
    "rank_agreement",
    "self_advantage",
]
