"""Do the choices matter? How neutral an infill is, how alike maps are, how far rankings of methods agree."""

from .measures import MEASURES
from .similarity import Similarities, pairwise_similarity

__all__ = [
    "MEASURES",
    "Similarities",
    "pairwise_similarity",
]
