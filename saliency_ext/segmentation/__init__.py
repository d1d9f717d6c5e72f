"""Segmentations of images. A segmenter maps inputs (N, C, H, W) to labels (N, H, W).

Labels are int64, 0 .. K_n - 1 without gaps in each image, on the inputs' device; -1 marks pixels of no segment. They depend on
each image alone and are deterministic. Memory is linear in pixels, whatever the number of segments.
"""

from .labels import Segmenter, atoms, given, grid, segmenter_name, segments_of
from .sums import painted, segment_counts, segment_sizes, segment_sums
from .superpixels import felzenszwalb, quickshift, slic

__all__ = [
    "Segmenter",
    "atoms",
    "felzenszwalb",
    "given",
    "grid",
    "painted",
    "quickshift",
    "segment_counts",
    "segment_sizes",
    "segment_sums",
    "segmenter_name",
    "segments_of",
    "slic",
]
