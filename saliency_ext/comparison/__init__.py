"""Studies of choices: neutrality of infills, similarity of maps, agreement of rankings."""

from ._fault_tolerant_infill import FaultTolerantInfill, fault_tolerant
from ._neutral_image import NeutralImage, learn_neutral_image
from .findings import CurveTrace, Finding, Findings, Matrix
from .hyperparameter_study import hyperparameter_study
from .infill_study import infill_study
from .measures import MEASURES
from .neutrality import NEUTRALITY, Neutrality, neutrality
from .similarity import Similarities, pairwise_similarity

__all__ = [
    "MEASURES",
    "NEUTRALITY",
    "CurveTrace",
    "FaultTolerantInfill",
    "Finding",
    "Findings",
    "Matrix",
    "NeutralImage",
    "Neutrality",
    "Similarities",
    "fault_tolerant",
    "hyperparameter_study",
    "infill_study",
    "learn_neutral_image",
    "neutrality",
    "pairwise_similarity",
]
