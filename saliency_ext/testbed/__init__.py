"""Offline scenes with known truth, made from pictures inside installed packages."""

from .mosaic import Mosaic, WindowClassifier, make_mosaic

__all__ = ["Mosaic", "WindowClassifier", "make_mosaic"]
