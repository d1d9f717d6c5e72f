"""`rank_methods`: sequential pairwise comparison of attribution methods, from as few images as it takes."""

from .ranking import rank_methods

__all__ = ["rank_methods"]
