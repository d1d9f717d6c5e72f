"""One entity or two? For two labels of a model: are they driven by two things in the picture, or are they names of one?

`PairFinder` searches sets of segments whose redaction tells, for all pairs of the top labels at once; a `Proof` holds what it
found.
"""

from .finder import PairFinder
from .pair import PairResult
from .proof import Proof, Shown
from .rules import Rules, preset
from .segments import Partition, mask_partition, partition

__all__ = [
    "PairFinder",
    "PairResult",
    "Partition",
    "Proof",
    "Rules",
    "Shown",
    "mask_partition",
    "partition",
    "preset",
]
