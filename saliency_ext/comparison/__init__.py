"""Do the choices matter? How neutral an infill is, how alike maps are, how far rankings of methods agree."""

from .guarded import Guarded, guarded
from .learned import LearnedImage, learn_neutral_image
from .measures import MEASURES
from .neutrality import NEUTRALITY, Neutrality, neutrality
from .similarity import Similarities, pairwise_similarity

__all__ = [
    "MEASURES",
    "NEUTRALITY",
    "Guarded",
    "LearnedImage",
    "Neutrality",
    "Similarities",
    "guarded",
    "learn_neutral_image",
    "neutrality",
    "pairwise_similarity",
]
